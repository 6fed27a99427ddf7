use burn::tensor::Tensor;

use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory};

/// Settings of one step of [`adamw_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Step size.
    pub lr: f64,
    /// Decay of the average of gradients, in `0..1`.
    pub beta1: f64,
    /// Decay of the average of squared gradients, in `0..1`.
    pub beta2: f64,
    /// Added to the denominator, outside the square root.
    pub eps: f64,
    /// Weight decay: this fraction of the parameter, times `lr`, is subtracted each step; it is never part of the
    /// gradient.
    pub weight_decay: f64,
    /// Number of this step, from 1, for the bias correction.
    pub step: u64,
    /// Factor of the gradient, above 0: of clipping, and of a mean over what the gradient is the sum of.
    pub gradient_scale: f64,
}

impl AdamWStep {
    /// Factor of the parameter before the update.
    pub(super) fn decay(&self) -> f64 {
        1.0 - self.lr * self.weight_decay
    }

    /// `1 - beta^step` for both averages.
    pub(super) fn bias_corrections(&self) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        (correction(self.beta1), correction(self.beta2))
    }
}

/// One step of AdamW on one tensor: `(param, exp_avg, exp_avg_sq)` after it.
///
/// Loshchilov & Hutter 2019, algorithm 2, as PyTorch computes it:
///
/// ```text
/// grad       = grad * gradient_scale
/// param      = param * (1 - lr * weight_decay)
/// exp_avg    = beta1 * exp_avg    + (1 - beta1) * grad
/// exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad^2
/// param      = param - lr / (1 - beta1^step) * exp_avg / (sqrt(exp_avg_sq / (1 - beta2^step)) + eps)
/// ```
///
/// All tensors have one shape and no autodiff; both averages start as zeros. On a CPU and on libtorch, tensors
/// without other owners are changed in place.
pub fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    exp_avg: Tensor<D>,
    exp_avg_sq: Tensor<D>,
    settings: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    if [&param, &grad, &exp_avg, &exp_avg_sq].into_iter().all(memory::holds) {
        let (shape, threads) = (param.dims(), memory::threads(&param.device()));
        let [mut param, mut exp_avg, mut exp_avg_sq] = [param, exp_avg, exp_avg_sq].map(OwnNumbers::of);
        loops::adamw_step(&mut param, &Numbers::of(grad), &mut exp_avg, &mut exp_avg_sq, settings, threads);
        return (param.tensor(shape), exp_avg.tensor(shape), exp_avg_sq.tensor(shape));
    }
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&param.device()) {
        return super::libtorch::adamw_step(param, grad, exp_avg, exp_avg_sq, settings);
    }
    adamw_step_composed(param, grad, exp_avg, exp_avg_sq, settings)
}

/// [`adamw_step`] in its portable form.
pub fn adamw_step_composed<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    exp_avg: Tensor<D>,
    exp_avg_sq: Tensor<D>,
    settings: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let AdamWStep { lr, beta1, beta2, eps, .. } = *settings;
    let (correction1, correction2) = settings.bias_corrections();
    let grad = grad * settings.gradient_scale;
    let exp_avg = exp_avg * beta1 + grad.clone() * (1.0 - beta1);
    let exp_avg_sq = exp_avg_sq * beta2 + grad.square() * (1.0 - beta2);
    let denominator = exp_avg_sq.clone().sqrt() / correction2.sqrt() + eps;
    let param = param * settings.decay() - exp_avg.clone() / denominator * (lr / correction1);
    (param, exp_avg, exp_avg_sq)
}

/// Sum of the squares of a tensor's numbers, `[1]`, outside autodiff.
pub fn sum_of_squares(tensor: Tensor<1>) -> Tensor<1> {
    if !memory::holds(&tensor) {
        return tensor.square().sum();
    }
    let device = tensor.device();
    let sum = loops::sum_of_squares(&Numbers::of(tensor), memory::threads(&device));
    Tensor::from_data([sum], &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    type Form = fn(Tensor<2>, Tensor<2>, Tensor<2>, Tensor<2>, &AdamWStep) -> (Tensor<2>, Tensor<2>, Tensor<2>);
    const FORMS: [Form; 2] = [adamw_step, adamw_step_composed];
    const SETTINGS: AdamWStep =
        AdamWStep { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-3, weight_decay: 0.2, step: 1, gradient_scale: 1.0 };

    #[test]
    fn follows_the_formula() {
        // (gradient, then the parameter and both averages after it); the first is 0.5 * 0.98 - 0.1 / 1.001.
        let steps = [
            (1.0, [0.390_099_9, 0.1, 0.01]),
            (-2.0, [0.418_835_6, -0.11, 0.0499]),
            (0.5, [0.424_126_6, -0.049, 0.051_901]),
        ];
        for_every_device(|device, form| {
            let full = |value: f64| Tensor::<2>::full([2, 3], value, device);
            let (mut param, mut exp_avg, mut exp_avg_sq) = (full(0.5), full(0.0), full(0.0));
            for (step, (grad, expected)) in (1..).zip(steps) {
                let settings = AdamWStep { step, ..SETTINGS };
                (param, exp_avg, exp_avg_sq) = form(param, full(grad), exp_avg, exp_avg_sq, &settings);
                for (tensor, expected) in [&param, &exp_avg, &exp_avg_sq].into_iter().zip(expected) {
                    assert_close!(numbers(tensor), [expected; 6], 1e-6);
                }
            }
        });
    }

    #[test]
    fn forms_agree_on_a_transposed_gradient() {
        let run = |device: &Device, form: Form| {
            let (param, grad, exp_avg, exp_avg_sq) = state(device);
            let transposed = Tensor::<2>::from_data(grad.transpose().to_data(), device).transpose();
            let (a, b, c) = form(param, transposed, exp_avg, exp_avg_sq, &AdamWStep { step: 7, ..SETTINGS });
            [a, b, c].map(|tensor| numbers(&tensor))
        };
        let expected = run(&Device::flex(), adamw_step_composed);
        for_every_device(|device, form| {
            for (found, expected) in run(device, form).iter().zip(&expected) {
                assert_close!(found, expected, 1e-6);
            }
        });
    }

    #[test]
    fn tensors_that_others_hold_stay_as_they_are() {
        for_every_device(|device, form| {
            let (param, grad, exp_avg, exp_avg_sq) = state(device);
            let held = [param.clone(), grad.clone(), exp_avg.clone(), exp_avg_sq.clone()];
            let before = held.each_ref().map(numbers);
            let (after, ..) = form(param, grad, exp_avg, exp_avg_sq, &SETTINGS);
            assert_eq!(held.each_ref().map(numbers), before);
            assert_ne!(numbers(&after), before[0]);
        });
    }

    #[test]
    fn gradients_are_scaled_and_their_squares_summed() {
        for_every_device(|device, form| {
            let (param, grad, exp_avg, exp_avg_sq) = state(device);
            let halved = AdamWStep { gradient_scale: 0.5, ..SETTINGS };
            let (scaled, ..) = form(param.clone(), grad.clone(), exp_avg.clone(), exp_avg_sq.clone(), &halved);
            let (expected, ..) = form(param, grad.clone() * 0.5, exp_avg, exp_avg_sq, &SETTINGS);
            assert_close!(numbers(&scaled), numbers(&expected), 1e-7);
            let sum: Vec<f64> = sum_of_squares(grad.reshape([6])).to_data().iter::<f64>().collect();
            assert_close!(sum, [28.0], 1e-6);
        });
    }

    fn for_every_device(test: impl Fn(&Device, Form)) {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for form in FORMS {
                test(&device, form);
            }
        }
    }

    /// A parameter, its gradient, and both averages.
    fn state(device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<2>, Tensor<2>) {
        let tensor = |values: [f32; 6]| Tensor::from_data(TensorData::new(values.to_vec(), [2, 3]), device);
        (
            tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            tensor([1.0, -1.0, 2.0, -2.0, 3.0, -3.0]),
            tensor([0.1, 0.2, -0.3, 0.4, -0.5, 0.6]),
            tensor([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        )
    }

    fn numbers(tensor: &Tensor<2>) -> Vec<f64> {
        tensor.to_data().iter::<f64>().collect()
    }
}
