use burn::tensor::Tensor;

use super::tensors::{change, take};

/// [`add_product`](crate::ops::add_product) in the sum's own memory.
pub(in crate::ops) fn add_product(sum: Tensor<2>, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let (left, right) = (take(left), take(right));
    change(sum, |mut sum| sum.addmm_(&left, &right), |sum| sum.addmm(&left, &right))
}
