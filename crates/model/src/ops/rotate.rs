use burn::tensor::Tensor;

use super::loops::{self, Rotated};
use super::memory::{self, Numbers, OwnNumbers};
use super::with_gradient_rule;

/// Rotates the first numbers of each head: `x cos + rotate_half(x) sin`, `rotate_half(x1, x2) = (-x2, x1)`
/// ([Su et al. 2021](https://arxiv.org/abs/2104.09864), in the form of Hugging Face's Llama).
///
/// `x` is `[batch, heads, time, head_dim]`; `cos` and `sin` are `[1 or batch, 1, time, dim]` with the same angles in both
/// halves of `dim`. Returns the shape of `x`, whose numbers stand in the order `[batch, time, heads, head_dim]` on a CPU.
/// Differentiable in `x`.
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    if !memory::holds(&x) || !memory::holds(&cos) {
        return rotate_composed(x, cos, sin);
    }
    let angles = [cos.inner(), sin.inner()];
    if !x.is_autodiff() {
        return in_memory(x, &angles, false);
    }
    let output = in_memory(x.clone().inner(), &angles, false);
    let rule = move |gradient: Tensor<4>, _| [Some(in_memory(gradient, &angles, true))].into();
    with_gradient_rule([x], output, Box::new(rule))
}

/// By the angles, or back by them, which turns the gradient of the output into that of the input.
fn in_memory(x: Tensor<4>, angles: &[Tensor<4>; 2], is_back: bool) -> Tensor<4> {
    let device = x.device();
    let x = x.swap_dims(1, 2); // as linear layers write it
    let [batch, time, heads, head_dim] = x.dims();
    let [_, _, _, dim] = angles[0].dims();
    let size = Rotated { width: heads * head_dim, head_dim, dim, is_back };
    let mut output = OwnNumbers::new(batch * time * heads * head_dim, &device);
    let [cos, sin] = angles.each_ref().map(|table| Numbers::of(table.clone()));
    loops::rotate(&Numbers::of(x), [&cos, &sin], &mut output, size, memory::threads(&device));
    output.tensor([batch, time, heads, head_dim]).swap_dims(1, 2)
}

/// [`rotate`] in its portable form.
pub fn rotate_composed(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [_, _, _, head_dim] = x.dims();
    let [_, _, _, dim] = cos.dims();
    if dim < head_dim {
        let (rotated, kept) = (x.clone().narrow(3, 0, dim), x.narrow(3, dim, head_dim - dim));
        return Tensor::cat(vec![rotate_composed(rotated, cos, sin), kept], 3);
    }
    let first = x.clone().narrow(3, 0, dim / 2);
    let second = x.clone().narrow(3, dim / 2, dim / 2);
    x * cos + Tensor::cat(vec![second.neg(), first], 3) * sin
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    fn tensor(shape: [usize; 4], factor: usize, device: &Device) -> Tensor<4> {
        let count = shape.iter().product();
        let numbers = (0..count).map(|i| ((factor * i) % 19) as f32 / 8.0 - 1.0).collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }

    fn numbers(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    /// With and without tables of each row's own, and of all of a head or a part of it.
    #[test]
    fn values_and_gradients_are_those_of_the_composed_form() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for (tables, dim) in [(1, 6), (2, 6), (2, 4)] {
                // [batch, time, heads, head_dim] in memory, as linear layers write it
                let x = tensor([2, 3, 5, 6], 7, &device).swap_dims(1, 2);
                let table = |factor| {
                    let half = tensor([tables, 1, 3, dim / 2], factor, &device);
                    Tensor::cat(vec![half.clone(), half], 3)
                };
                let (cos, sin, counted) = (table(3), table(11), tensor([2, 5, 3, 6], 13, &device));
                let expected = numbers(rotate_composed(x.clone(), cos.clone(), sin.clone()));
                assert_close!(numbers(rotate(x.clone(), cos.clone(), sin.clone())), expected, 1e-6, "{name}");
                let gradient = |form: fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>| {
                    let x = x.clone().autodiff().require_grad();
                    let [cos, sin, counted] = [&cos, &sin, &counted].map(|tensor| tensor.clone().autodiff());
                    let gradients = (form(x.clone(), cos, sin) * counted).sum().backward();
                    numbers(x.grad(&gradients).unwrap())
                };
                assert_close!(gradient(rotate), gradient(rotate_composed), 1e-6, "{name}");
            }
        }
    }

    #[test]
    fn a_quarter_turn_swaps_the_halves() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            let x = Tensor::<1>::from_data([1.0, 2.0, 3.0, 4.0], &device).reshape([1, 1, 1, 4]);
            let (cos, sin) = (Tensor::zeros([1, 1, 1, 4], &device), Tensor::ones([1, 1, 1, 4], &device));
            assert_close!(numbers(rotate(x, cos, sin)), [-3.0, -4.0, 1.0, 2.0], 1e-6, "{name}");
        }
    }
}
