use burn::tensor::Tensor;

use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory, recomputed_with_gradient_rule};

/// `x / sqrt(mean(x^2) + eps) * weight`, row by row ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)).
///
/// `input` is `[rows, width]`, `weight` `[width]`; returns `[rows, width]`. Differentiable in both. On a CPU and on
/// libtorch nothing but the input is kept for the backward pass, neither here nor by operations of burn that use the result.
///
/// # Panics
/// If the two differ in width.
pub fn rms_norm(input: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    assert_eq!([input.dims()[1]], weight.dims(), "input and weight differ in width");
    if memory::holds(&input) && memory::holds(&weight) {
        return ruled(input, weight, eps, in_memory, gradients_in_memory);
    }
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&input.device()) {
        return ruled(input, weight, eps, super::libtorch::rms_norm, super::libtorch::rms_norm_gradients);
    }
    rms_norm_composed(input, weight, eps)
}

/// Gradients of input and, if it is wanted, weight, given those two, the gradient of the output and the number added.
type Gradients = fn(Tensor<2>, Tensor<1>, Tensor<2>, f64, bool) -> (Tensor<2>, Option<Tensor<1>>);

/// The result of `forward`, whose gradients are those of `gradients`.
fn ruled(
    input: Tensor<2>,
    weight: Tensor<1>,
    eps: f64,
    forward: fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>,
    gradients: Gradients,
) -> Tensor<2> {
    if !input.is_autodiff() && !weight.is_autodiff() {
        return forward(input, weight, eps);
    }
    let inputs = [input.clone(), weight.clone().unsqueeze()];
    let (input, weight) = (input.inner(), weight.inner());
    let compute = move |[input, weight]: [Tensor<2>; 2]| forward(input, weight.squeeze_dim(0), eps);
    let rule = move |gradient: Tensor<2>, [_, of_weight]: [bool; 2]| {
        let (of_input, of_weight) = gradients(input, weight, gradient, eps, of_weight);
        [Some(of_input), of_weight.map(Tensor::unsqueeze)].into()
    };
    recomputed_with_gradient_rule(inputs, Box::new(compute), Box::new(rule))
}

fn in_memory(input: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let (shape, device) = (input.dims(), input.device());
    let mut output = OwnNumbers::new(shape[0] * shape[1], &device);
    loops::rms_norm(&Numbers::of(input), &Numbers::of(weight), &mut output, eps as f32, memory::threads(&device));
    output.tensor(shape)
}

/// Gradients of input and weight: one loop makes both.
fn gradients_in_memory(
    input: Tensor<2>,
    weight: Tensor<1>,
    gradient: Tensor<2>,
    eps: f64,
    _: bool,
) -> (Tensor<2>, Option<Tensor<1>>) {
    let (shape, device) = (input.dims(), input.device());
    let mut gradient = OwnNumbers::of(gradient);
    let (input, weight) = (Numbers::of(input), Numbers::of(weight));
    let of_weight = loops::rms_norm_gradients(&input, &weight, &mut gradient, eps as f32, memory::threads(&device));
    (gradient.tensor(shape), Some(Tensor::from_data(of_weight.as_slice(), &device)))
}

/// [`rms_norm`] in its portable form.
pub fn rms_norm_composed(input: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let mean_square = input.clone().square().mean_dim(1); // [rows, 1]
    let scale = mean_square.add_scalar(eps).sqrt().recip();
    input * scale * weight.unsqueeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    type Form = fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>;
    const FORMS: [Form; 2] = [rms_norm, rms_norm_composed];

    const EPS: f64 = 0.5;
    const INPUT: [[f64; 3]; 2] = [[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]];
    const WEIGHT: [f64; 3] = [1.0, 0.5, -2.0];
    /// Weight of each number of the output in the loss.
    const COUNTED: [[f64; 3]; 2] = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]];

    #[test]
    fn values_and_gradients_follow_the_formula() {
        let (expected, input_grad, weight_grad) = by_hand();
        for_every_device(|device, form| {
            let [input, counted] = [INPUT, COUNTED].map(|rows| matrix(rows, device));
            let weight = Tensor::<1>::from_data(WEIGHT.map(|x| x as f32), device);
            assert_close!(numbers(form(input.clone(), weight.clone(), EPS)), expected, 1e-6);

            let (input, weight) = (input.autodiff().require_grad(), weight.autodiff().require_grad());
            let grads = (form(input.clone(), weight.clone(), EPS) * counted.autodiff()).sum().backward();
            assert_close!(numbers(input.grad(&grads).unwrap()), input_grad, 1e-6);
            assert_close!(numbers(weight.grad(&grads).unwrap().unsqueeze()), weight_grad, 1e-6);
        });
    }

    #[test]
    fn a_frozen_weight_leaves_the_gradient_of_the_input() {
        let (_, input_grad, _) = by_hand();
        for_every_device(|device, form| {
            let [input, counted] = [INPUT, COUNTED].map(|rows| matrix(rows, device).autodiff());
            let weight = Tensor::<1>::from_data(WEIGHT.map(|x| x as f32), device).autodiff();
            let input = input.require_grad();
            let grads = (form(input.clone(), weight, EPS) * counted).sum().backward();
            assert_close!(numbers(input.grad(&grads).unwrap()), input_grad, 1e-6);
        });
    }

    /// Returns the output and the gradients of input and weight. With `n = x s`, `s = 1 / sqrt(mean(x^2) + eps)`,
    /// `g = counted w`, these are `s (g - n mean(g n))` and the sum over rows of `counted n`.
    fn by_hand() -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut output, mut input_grad, mut weight_grad) = (Vec::new(), Vec::new(), vec![0.0; 3]);
        for (x, counted) in INPUT.iter().zip(&COUNTED) {
            let s = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / 3.0 + EPS).sqrt();
            let n = x.map(|x| x * s);
            let mean: f64 = (0..3).map(|i| counted[i] * WEIGHT[i] * n[i]).sum::<f64>() / 3.0;
            for i in 0..3 {
                output.push(n[i] * WEIGHT[i]);
                input_grad.push(s * (counted[i] * WEIGHT[i] - n[i] * mean));
                weight_grad[i] += counted[i] * n[i];
            }
        }
        (output, input_grad, weight_grad)
    }

    fn for_every_device(test: impl Fn(&Device, Form)) {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for form in FORMS {
                test(&device, form);
            }
        }
    }

    fn matrix(rows: [[f64; 3]; 2], device: &Device) -> Tensor<2> {
        let numbers: Vec<f32> = rows.concat().iter().map(|x| *x as f32).collect();
        Tensor::from_data(TensorData::new(numbers, [2, 3]), device)
    }

    fn numbers(tensor: Tensor<2>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
}
