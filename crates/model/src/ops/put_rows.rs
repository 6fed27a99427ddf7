use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Writes rows of a matrix in place: row `rows[i]` of `target` becomes `values[i]`.
///
/// `target` is `[n, width]`, `rows` is `[count]` with distinct values in `0..n`, `values` is `[count, width]`; all outside
/// autodiff. The matrix is copied only if it has other owners.
pub fn put_rows(target: &mut Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&target.device()) {
        return target.inplace(|target| super::libtorch::put_rows(target, rows, values));
    }
    target.inplace(|target| target.select_assign(0, rows, values, IndexingUpdateOp::Assign));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};

    #[test]
    fn rows_are_written_and_other_owners_keep_what_they_had() {
        for device in available_devices() {
            let device = open_device(device).unwrap();
            let mut target = Tensor::<2>::zeros([4, 2], &device);
            let put = |target: &mut Tensor<2>, rows: [i64; 2], values: [[f32; 2]; 2]| {
                put_rows(target, Tensor::from_data(rows, &device), Tensor::from_data(values, &device));
            };
            let numbers = |tensor: &Tensor<2>| tensor.to_data().try_into_vec::<f32>().unwrap();
            put(&mut target, [3, 1], [[1.0, 2.0], [3.0, 4.0]]);
            assert_eq!(numbers(&target), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
            let other = target.clone();
            let view = target.clone().narrow(0, 1, 2);
            put(&mut target, [0, 1], [[5.0, 6.0], [7.0, 8.0]]);
            assert_eq!(numbers(&target), [5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 1.0, 2.0]);
            assert_eq!(numbers(&other), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
            assert_eq!(numbers(&view), [3.0, 4.0, 0.0, 0.0]);
        }
    }
}
