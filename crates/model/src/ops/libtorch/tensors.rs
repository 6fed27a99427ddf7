//! Tensors of burn that are tensors of libtorch, and back.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;

/// The tensor of libtorch that a tensor outside autodiff is, with what tells whether it has other owners.
pub(super) fn primitive<const D: usize>(tensor: Tensor<D>) -> TchTensor {
    tensor.try_into_primitive::<LibTorch>().expect("a libtorch tensor without autodiff")
}

/// The tensor of libtorch alone.
pub(super) fn take<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    primitive(tensor).tensor
}

/// The tensor that `in_place` makes in the memory of a tensor outside autodiff, or `anew` if that has other owners.
pub(super) fn change<const D: usize>(
    tensor: Tensor<D>,
    in_place: impl Fn(tch::Tensor) -> tch::Tensor,
    anew: impl Fn(&tch::Tensor) -> tch::Tensor,
) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(primitive(tensor).unary_ops(in_place, anew))
}

/// The tensor that one of libtorch is, outside autodiff.
pub(super) fn give<const D: usize>(tensor: tch::Tensor) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor))
}
