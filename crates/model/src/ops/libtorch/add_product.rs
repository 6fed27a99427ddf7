use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::Tensor;

/// [`add_product`](crate::ops::add_product) in the sum's own memory.
pub(in crate::ops) fn add_product(sum: Tensor<2>, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as AddProduct>::add_product(
        sum.into_dispatch(),
        left.into_dispatch(),
        right.into_dispatch(),
    ))
}

#[backend_extension(LibTorch)]
trait AddProduct: Backend {
    fn add_product(sum: FloatTensor<Self>, left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl AddProduct for LibTorch {
    fn add_product(sum: TchTensor, left: TchTensor, right: TchTensor) -> TchTensor {
        let (left, right) = (&left.tensor, &right.tensor);
        sum.unary_ops(|mut sum| sum.addmm_(left, right), |sum| sum.addmm(left, right))
    }
}
