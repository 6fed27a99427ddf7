use burn::tensor::{Tensor, module};

use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory, with_gradient_rule};

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias`, row by row
/// ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)).
///
/// `input` is `[rows, width]`, `weight` and `bias` are `[width]`; returns `[rows, width]`. Differentiable in all. On a
/// CPU nothing but the input is kept for the backward pass.
///
/// # Panics
/// If they differ in width.
pub fn layer_norm(input: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<2> {
    assert_eq!(([input.dims()[1]], weight.dims()), (weight.dims(), bias.dims()), "the parts of a norm differ in width");
    if !memory::holds(&input) || !memory::holds(&weight) {
        return layer_norm_composed(input, weight, bias, eps);
    }
    if !input.is_autodiff() {
        return forward(input, weight, bias, eps);
    }
    let inputs = [input.clone(), weight.clone().unsqueeze(), bias.clone().unsqueeze()];
    let (input, weight) = (input.inner(), weight.inner());
    let output = forward(input.clone(), weight.clone(), bias.inner(), eps);
    let rule = move |gradient: Tensor<2>, _| gradients(input, weight, gradient, eps).map(Some).into();
    with_gradient_rule(inputs, output, Box::new(rule))
}

fn forward(input: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<2> {
    let (shape, device) = (input.dims(), input.device());
    let mut output = OwnNumbers::new(shape[0] * shape[1], &device);
    let (input, weight, bias) = (Numbers::of(input), Numbers::of(weight), Numbers::of(bias));
    loops::layer_norm(&input, [&weight, &bias], &mut output, eps as f32, memory::threads(&device));
    output.tensor(shape)
}

/// Gradients of input, weight and bias.
fn gradients(input: Tensor<2>, weight: Tensor<1>, gradient: Tensor<2>, eps: f64) -> [Tensor<2>; 3] {
    let (shape, device) = (input.dims(), input.device());
    let mut gradient = OwnNumbers::of(gradient);
    let (input, weight) = (Numbers::of(input), Numbers::of(weight));
    let threads = memory::threads(&device);
    let parameters = loops::layer_norm_gradients(&input, &weight, &mut gradient, eps as f32, threads);
    let [of_weight, of_bias] = parameters.map(|found| Tensor::<1>::from_data(found.as_slice(), &device).unsqueeze());
    [gradient.tensor(shape), of_weight, of_bias]
}

/// [`layer_norm`] in its portable form.
pub fn layer_norm_composed(input: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<2> {
    module::layer_norm(input, weight, Some(bias), eps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    const EPS: f64 = 0.5;
    type Form = fn(Tensor<2>, Tensor<1>, Tensor<1>, f64) -> Tensor<2>;
    const FORMS: [Form; 2] = [layer_norm, layer_norm_composed];

    /// Compares with loops in 64 bits, for a width that fills whole vectors and for one that does not.
    #[test]
    fn values_and_gradients_follow_the_formula() {
        for (rows, width) in [(2, 3), (5, 16), (700, 35)] {
            let of = |factor: usize, count: usize| -> Vec<f64> {
                (0..count).map(|i| ((factor * i) % 23) as f64 / 8.0 - 1.0).collect()
            };
            let (input, counted) = (of(7, rows * width), of(5, rows * width));
            let (weight, bias) = (of(3, width), of(11, width));
            let (mut output, mut of_input) = (Vec::new(), Vec::new());
            let (mut of_weight, mut of_bias) = (vec![0.0; width], vec![0.0; width]);
            for (x, counted) in input.chunks(width).zip(counted.chunks(width)) {
                let mean = |f: &dyn Fn(usize) -> f64| (0..width).map(f).sum::<f64>() / width as f64;
                let center = mean(&|i| x[i]);
                let scale = 1.0 / (mean(&|i| (x[i] - center).powi(2)) + EPS).sqrt();
                let n = |i: usize| (x[i] - center) * scale;
                let (all, along) = (mean(&|i| counted[i] * weight[i]), mean(&|i| counted[i] * weight[i] * n(i)));
                for i in 0..width {
                    output.push(n(i) * weight[i] + bias[i]);
                    of_input.push(scale * (counted[i] * weight[i] - all - n(i) * along));
                    of_weight[i] += counted[i] * n(i);
                    of_bias[i] += counted[i];
                }
            }
            for name in available_devices() {
                let device = open_device(name).unwrap();
                for form in FORMS {
                    let matrix = |numbers: &[f64]| matrix(numbers, [rows, width], &device);
                    let vector = |numbers: &[f64]| self::matrix(numbers, [width], &device);
                    let plain = form(matrix(&input), vector(&weight), vector(&bias), EPS);
                    assert_close!(numbers(plain), output, 2e-5);
                    let x = matrix(&input).autodiff().require_grad();
                    let [w, b] = [&weight, &bias].map(|part| vector(part).autodiff().require_grad());
                    let found = form(x.clone(), w.clone(), b.clone(), EPS);
                    assert_close!(numbers(found.clone().inner()), output, 2e-5);
                    let grads = (found * matrix(&counted).autodiff()).sum().backward();
                    assert_close!(numbers(x.grad(&grads).unwrap()), of_input, 2e-5);
                    let tolerance = 1e-5 * rows as f64;
                    assert_close!(numbers(w.grad(&grads).unwrap()), of_weight, tolerance);
                    assert_close!(numbers(b.grad(&grads).unwrap()), of_bias, tolerance);
                }
            }
        }
    }

    fn matrix<const D: usize>(numbers: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
        let numbers: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
}
