use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory, recomputed_with_gradient_rule};

/// `silu(gate) * up`, `silu(x) = x / (1 + exp(-x))` ([Shazeer 2020](https://arxiv.org/abs/2002.05202), SwiGLU).
///
/// Both are `[rows, width]`, as is the result. Differentiable in both. On a CPU and on libtorch nothing but the two
/// is kept for the backward pass, neither here nor by operations of burn that use the result.
///
/// # Panics
/// If the two differ in shape.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    assert_eq!(gate.dims(), up.dims(), "gate and up differ in shape");
    if memory::holds(&gate) && memory::holds(&up) {
        return ruled([gate, up], in_memory, gradients_in_memory);
    }
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&gate.device()) {
        return ruled([gate, up], super::libtorch::swiglu, super::libtorch::swiglu_gradients);
    }
    swiglu_composed(gate, up)
}

/// The result of `forward`, whose gradients are those of `gradients`.
fn ruled(
    inputs: [Tensor<2>; 2],
    forward: fn([Tensor<2>; 2]) -> Tensor<2>,
    gradients: fn([Tensor<2>; 2], Tensor<2>) -> [Tensor<2>; 2],
) -> Tensor<2> {
    if inputs.iter().all(|input| !input.is_autodiff()) {
        return forward(inputs);
    }
    let inner = inputs.clone().map(Tensor::inner);
    let rule = move |gradient: Tensor<2>, _| gradients(inner, gradient).map(Some).into();
    recomputed_with_gradient_rule(inputs, Box::new(forward), Box::new(rule))
}

fn in_memory([gate, up]: [Tensor<2>; 2]) -> Tensor<2> {
    let (shape, device) = (gate.dims(), gate.device());
    let mut output = OwnNumbers::new(shape[0] * shape[1], &device);
    loops::swiglu(&Numbers::of(gate), &Numbers::of(up), &mut output, memory::threads(&device));
    output.tensor(shape)
}

/// Gradients of gate and up.
fn gradients_in_memory([gate, up]: [Tensor<2>; 2], gradient: Tensor<2>) -> [Tensor<2>; 2] {
    let (shape, device) = (gate.dims(), gate.device());
    let mut gradient = OwnNumbers::of(gradient);
    let mut of_gate = OwnNumbers::new(gradient.len(), &device);
    let (gate, up) = (Numbers::of(gate), Numbers::of(up));
    loops::swiglu_gradients(&gate, &up, &mut gradient, &mut of_gate, memory::threads(&device));
    [of_gate.tensor(shape), gradient.tensor(shape)]
}

/// [`swiglu`] in its portable form.
pub fn swiglu_composed(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    silu(gate) * up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::{Device, TensorData};
    use palestra_testing::{Tolerance, assert_close};

    type Form = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
    const FORMS: [Form; 2] = [swiglu, swiglu_composed];

    const GATE: [f64; 4] = [0.0, 1.0, -2.0, 30.0];
    const TOLERANCE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-5 };
    const UP: [f64; 4] = [5.0, -1.0, 0.5, 2.0];

    #[test]
    fn values_and_gradients_follow_the_formula() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let silu = |x: f64| x * sigmoid(x);
        let slope = |x: f64| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
        let expected: Vec<f64> = (0..4).map(|i| silu(GATE[i]) * UP[i]).collect();
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for form in FORMS {
                let [gate, up] = [GATE, UP].map(|numbers| matrix(numbers, &device));
                assert_close!(numbers(form(gate.clone(), up.clone())), expected, TOLERANCE);

                let [gate, up] = [gate, up].map(|tensor| tensor.autodiff().require_grad());
                let output = form(gate.clone(), up.clone());
                // The loss is half the squared output, so its gradient is the output itself.
                let grads = (output.clone() * output).sum().mul_scalar(0.5).backward();
                let of_gate: Vec<f64> = (0..4).map(|i| expected[i] * UP[i] * slope(GATE[i])).collect();
                let of_up: Vec<f64> = (0..4).map(|i| expected[i] * silu(GATE[i])).collect();
                assert_close!(numbers(gate.grad(&grads).unwrap()), of_gate, TOLERANCE);
                assert_close!(numbers(up.grad(&grads).unwrap()), of_up, TOLERANCE);
                assert_close!(numbers(gate), GATE, TOLERANCE);
                assert_close!(numbers(up), UP, TOLERANCE);
            }
        }
    }

    fn matrix(numbers: [f64; 4], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(numbers.map(|x| x as f32).to_vec(), [2, 2]), device)
    }

    fn numbers(tensor: Tensor<2>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
}
