use burn::tensor::{DType, Device, Tensor, module};

use super::gradient_rule::{Pulled, with_gradient_rule};
use super::in_type::in_type;
use super::loops::{self, Lines, Product};
use super::matrix_numbers::MatrixNumbers;
use super::memory::{self, Numbers, OwnNumbers};

/// Rows up to which a product outside autodiff is computed by our own loops. With 64, the output layer of 576 x 49,152 takes three
/// quarters of the time of libtorch's product; from about 256 on it takes as long.
const FEW_ROWS: usize = 64;

/// Product of `[rows, inner]` with `[inner, columns]`, both of one number type, which is that of the product.
/// Differentiable.
///
/// A few rows outside autodiff, as in generation, are multiplied by loops that read the matrix once.
///
/// Where a device has no instructions for products of bfloat16, their numbers are multiplied in 32 bits and the product is
/// rounded: libtorch's own product of 256 x 576 with 576 x 1,536 takes 370 ms on a CPU with AVX2, and this one 6 ms. The
/// backward pass keeps the 16-bit numbers.
pub(crate) fn matmul(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    if let Some(product) = few_rows(&left, &right, None) {
        return product;
    }
    if left.dtype() != DType::BF16 || has_bf16(&left.device()) {
        return left.matmul(right);
    }
    let inputs = [left.clone().inner(), right.clone().inner()];
    let [inner_left, inner_right] = inputs.clone();
    let output = in_32_bits(inner_left, inner_right);
    if !left.is_autodiff() && !right.is_autodiff() {
        return output;
    }
    let rule = move |gradient: Tensor<2>, [of_left, of_right]: [bool; 2]| {
        let [left, right] = inputs;
        let of_left = of_left.then(|| in_32_bits(gradient.clone(), right.transpose()));
        let of_right = of_right.then(|| in_32_bits(left.transpose(), gradient));
        Pulled::from([of_left, of_right])
    };
    with_gradient_rule([left, right], output, Box::new(rule))
}

/// `x W + b` in 32 bits: `[rows, inner]` with `[inner, columns]` and `[columns]`. Differentiable.
pub(crate) fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    match few_rows(&input, &weight, bias.as_ref()) {
        Some(product) => product,
        None => module::linear(input, weight, bias),
    }
}

/// The product, if its left matrix has a few rows that are in memory outside autodiff.
fn few_rows(left: &Tensor<2>, right: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
    let is_here = has_few_rows(left) && right.dims()[1] > 0 && bias.is_none_or(|bias| !bias.is_autodiff());
    if !is_here {
        return None;
    }
    let columns = right.dims()[1];
    MatrixNumbers::of(right).map(|right| multiply_few_rows(left, &right, columns, bias))
}

/// True if a matrix has a few rows that are in memory, in 32 bits and outside autodiff.
pub(crate) fn has_few_rows(matrix: &Tensor<2>) -> bool {
    let [rows, inner] = matrix.dims();
    (1..=FEW_ROWS).contains(&rows) && inner > 0 && !matrix.is_autodiff() && memory::holds(matrix)
}

/// Product of a matrix that [`has_few_rows`] with one that is in memory.
pub(crate) fn multiply_few_rows(
    left: &Tensor<2>,
    right: &MatrixNumbers,
    columns: usize,
    bias: Option<&Tensor<1>>,
) -> Tensor<2> {
    let ([rows, inner], device) = (left.dims(), left.device());
    let bias = bias.cloned().map(Numbers::of);
    let mut output = OwnNumbers::new(rows * columns, &device);
    let product = Product { matrix: right.matrix(), bias: bias.as_deref(), output: &mut output };
    loops::multiply(&Numbers::of(left.clone()), inner, [product], &mut Lines::default(), memory::threads(&device));
    output.tensor([rows, columns])
}

fn in_32_bits(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let [left, right] = [left, right].map(|tensor| in_type(tensor, DType::F32));
    in_type(left.matmul(right), DType::BF16)
}

fn has_bf16(device: &Device) -> bool {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(device) {
        return !super::libtorch::is_libtorch_cpu(device) || super::device::cpu_multiplies_bf16();
    }
    let _ = device;
    false
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    #[test]
    fn a_few_rows_have_the_products_of_many_in_every_layout() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            let matrix = |rows: usize, columns: usize| -> Tensor<2> {
                let numbers = (0..rows * columns).map(|i| ((7 * i) % 23) as f32 / 16.0 - 0.6).collect();
                Tensor::from_data(TensorData::new(numbers, [rows, columns]), &device)
            };
            let (left, right, bias) = (matrix(5, 33), matrix(33, 70), matrix(1, 70).reshape([70]));
            let spread = matrix(33, 140).narrow(1, 0, 70); // neither row after row nor column after column
            for right in [right.clone(), matrix(70, 33).transpose(), spread] {
                let host = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
                let expected = left.clone().matmul(right.clone()) + bias.clone().unsqueeze();
                let found = linear(left.clone(), right.clone(), Some(bias.clone()));
                assert_close!(host(found), host(expected), 1e-5, "{name}");
                let transposed_left = left.clone().transpose().reshape([5, 33]);
                let expected = transposed_left.clone().matmul(right.clone());
                assert_close!(host(matmul(transposed_left, right)), host(expected), 1e-5, "{name}");
            }
        }
    }

    #[test]
    fn products_and_gradients_are_those_of_32_bits_rounded() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            // Exact in 16 bits, and so are the products.
            let left = Tensor::<2>::from_data([[1.0, -2.0, 0.5], [3.0, 0.25, 4.0]], &device);
            let right = Tensor::<2>::from_data([[2.0, 1.0], [4.0, -1.0], [8.0, 0.0]], &device);
            let host =
                |tensor: Tensor<2>| -> Vec<f32> { in_type(tensor, DType::F32).into_data().try_into_vec().unwrap() };
            let narrow = |tensor: &Tensor<2>| in_type(tensor.clone(), DType::BF16);
            let product = matmul(narrow(&left), narrow(&right));
            assert_eq!(product.dtype(), DType::BF16);
            assert_close!(host(product), [-2.0, 3.0, 39.0, 2.75], 1e-6, "{name}");

            let leaves = [&left, &right].map(|tensor| tensor.clone().autodiff().require_grad());
            let [left, right] = leaves.clone().map(|leaf| in_type(leaf, DType::BF16));
            let gradients = in_type(matmul(left, right), DType::F32).sum().backward();
            let [of_left, of_right] = leaves.map(|leaf| leaf.grad(&gradients).unwrap());
            assert_eq!((of_left.dtype(), of_right.dtype()), (DType::F32, DType::F32));
            assert_close!(host(of_left), [3.0, 3.0, 8.0, 3.0, 3.0, 8.0], 1e-6, "{name}");
            assert_close!(host(of_right), [4.0, 4.0, -1.75, -1.75, 4.5, 4.5], 1e-6, "{name}");
        }
    }
}
