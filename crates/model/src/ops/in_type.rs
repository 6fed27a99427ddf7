use burn::tensor::{DType, Tensor};

/// The tensor with numbers of this type: itself if it has them, else a copy. Differentiable.
pub(crate) fn in_type<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype { tensor } else { tensor.cast(dtype) }
}
