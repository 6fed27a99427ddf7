use burn::backend::LibTorch;
use burn::tensor::{Int, Tensor};

use super::tensors::{change, take};

/// [`put_rows`](crate::ops::put_rows) in the matrix's own memory, which burn's `select_assign` copies every time.
pub(in crate::ops) fn put_rows(target: Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) -> Tensor<2> {
    let rows = rows.try_into_primitive::<LibTorch>().expect("a libtorch tensor").tensor.to_kind(tch::Kind::Int64);
    let values = take(values);
    let put = |mut target: tch::Tensor| target.index_copy_(0, &rows, &values);
    change(target, put, |target| target.index_copy(0, &rows, &values))
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
