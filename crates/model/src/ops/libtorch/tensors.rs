//! Tensors of burn that are tensors of libtorch, and back.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;

/// The tensor of libtorch that a tensor outside autodiff is.
pub(super) fn take<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    tensor.try_into_primitive::<LibTorch>().expect("a libtorch tensor without autodiff").tensor
}

/// The tensor that one of libtorch is, outside autodiff.
pub(super) fn give<const D: usize>(tensor: tch::Tensor) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor))
}
