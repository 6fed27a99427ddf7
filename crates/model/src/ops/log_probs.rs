use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// Log-probability of each row's target: `log_softmax(logits)[row, targets[row]]`.
///
/// `logits` is `[rows, vocab]`, `targets` is `[rows]` with values in `0..vocab`; returns `[rows]`. Differentiable in
/// `logits`. On libtorch the gradient is made in the memory of the log-softmax, where the composed form holds
/// several `[rows, vocab]` buffers from forward to backward.
///
/// # Panics
/// If the two differ in rows.
pub fn selected_log_probs(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&logits.device()) {
        assert_eq!([logits.dims()[0]], targets.dims(), "logits and targets differ in rows");
        return super::libtorch::selected_log_probs(logits, targets);
    }
    selected_log_probs_composed(logits, targets)
}

/// [`selected_log_probs`] in its portable form: a log-softmax and a gather.
pub fn selected_log_probs_composed(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _vocab] = logits.dims();
    assert_eq!([rows], targets.dims(), "logits and targets differ in rows");
    log_softmax(logits, 1).gather(1, targets.reshape([rows, 1])).reshape([rows])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    type Form = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;
    const FORMS: [Form; 2] = [selected_log_probs, selected_log_probs_composed];

    const LOGITS: [[f64; 4]; 3] = [[1.0, 2.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0], [1000.0, -1000.0, 999.0, 0.0]];
    const TARGETS: [usize; 3] = [1, 3, 2];
    /// Weight of each row in the loss.
    const WEIGHTS: [f64; 3] = [1.0, -2.0, 0.5];

    #[test]
    fn values_and_gradients_follow_the_formula() {
        for_every_device(|device, form| {
            let (logits, targets) = inputs(device);
            assert_close!(numbers(form(logits, targets)), expected(), 1e-6);

            let (logits, targets) = inputs(&device.clone().autodiff());
            let logits = logits.require_grad();
            let found = form(logits.clone(), targets);
            assert_close!(numbers(found.clone()), expected(), 1e-6);
            let weights = Tensor::<1>::from_data(WEIGHTS.map(|x| x as f32), device);
            let grads = (found * weights).sum().backward();
            assert_close!(numbers(logits.grad(&grads).unwrap()), expected_grad(), 1e-6);
        });
    }

    #[test]
    fn two_losses_may_share_the_logits() {
        for_every_device(|device, form| {
            let (logits, targets) = inputs(&device.clone().autodiff());
            let logits = logits.require_grad();
            let twice = form(logits.clone(), targets.clone()) + form(logits.clone(), targets);
            let weights = Tensor::<1>::from_data(WEIGHTS.map(|x| x as f32 / 2.0), device);
            let grads = (twice * weights).sum().backward();
            assert_close!(numbers(logits.grad(&grads).unwrap()), expected_grad(), 1e-6);
            assert_close!(numbers(logits), LOGITS.concat(), 1e-6);
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

    fn inputs(device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let logits: Vec<f32> = LOGITS.concat().iter().map(|x| *x as f32).collect();
        let targets: Vec<i64> = TARGETS.iter().map(|x| *x as i64).collect();
        (
            Tensor::from_data(TensorData::new(logits, [3, 4]), device),
            Tensor::from_data(TensorData::new(targets, [3]), device),
        )
    }

    fn log_softmax_of(row: [f64; 4]) -> [f64; 4] {
        let highest = row.into_iter().fold(f64::MIN, f64::max);
        let total: f64 = row.iter().map(|x| (x - highest).exp()).sum();
        row.map(|x| x - highest - total.ln())
    }

    fn expected() -> Vec<f64> {
        LOGITS.into_iter().zip(TARGETS).map(|(row, target)| log_softmax_of(row)[target]).collect()
    }

    fn expected_grad() -> Vec<f64> {
        let mut grad = Vec::new();
        for ((row, target), weight) in LOGITS.into_iter().zip(TARGETS).zip(WEIGHTS) {
            let p = log_softmax_of(row).map(f64::exp);
            grad.extend((0..4).map(|i| weight * (f64::from(u8::from(i == target)) - p[i])));
        }
        grad
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
}
