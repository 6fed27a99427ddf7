use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::{Int, Tensor};

/// [`put_rows`](crate::ops::put_rows) in the matrix's own memory, which burn's `select_assign` copies every time.
pub(in crate::ops) fn put_rows(target: Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as PutRows>::put_rows(
        target.into_dispatch(),
        rows.into_dispatch(),
        values.into_dispatch(),
    ))
}

#[backend_extension(LibTorch)]
trait PutRows: Backend {
    fn put_rows(target: FloatTensor<Self>, rows: IntTensor<Self>, values: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl PutRows for LibTorch {
    fn put_rows(target: TchTensor, rows: TchTensor, values: TchTensor) -> TchTensor {
        let (rows, values) = (&rows.tensor.to_kind(tch::Kind::Int64), &values.tensor);
        target.unary_ops(|mut target| target.index_copy_(0, rows, values), |target| target.index_copy(0, rows, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{open_device, put_rows};

    #[test]
    fn a_matrix_without_other_owners_stays_where_it_is() {
        let device = open_device("libtorch").unwrap();
        let address = |tensor: &Tensor<2>| {
            let tensor = tensor.clone().try_into_primitive::<LibTorch>().unwrap();
            tensor.tensor.data_ptr() as usize
        };
        let mut target = Tensor::<2>::zeros([8, 4], &device);
        let before = address(&target);
        for row in 0..3 {
            let seen = target.clone().reshape([2, 4, 4]).narrow(1, 0, 2); // as attention sees a cache, before the next token
            drop(seen);
            put_rows(&mut target, Tensor::from_data([row], &device), Tensor::ones([1, 4], &device));
        }
        assert_eq!((address(&target), target.sum().into_scalar::<f32>()), (before, 12.0));
    }
}
