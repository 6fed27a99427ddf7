use burn::tensor::Tensor;

/// Adds a product of matrices to a sum: `sum + left right`, `[rows, columns] + [rows, inner] [inner, columns]`, outside autodiff.
/// On libtorch the product is nowhere by itself, and the sum stays where it is unless it has other owners.
pub(crate) fn add_product(sum: &mut Tensor<2>, left: Tensor<2>, right: Tensor<2>) {
    #[cfg(feature = "libtorch")]
    if super::libtorch::is_libtorch(&sum.device()) {
        return sum.inplace(|sum| super::libtorch::add_product(sum, left, right));
    }
    sum.inplace(|sum| sum + left.matmul(right));
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;
    use crate::ops::{available_devices, open_device};

    #[test]
    fn products_are_added_and_other_owners_keep_what_they_had() {
        for name in available_devices() {
            let device = open_device(name).unwrap();
            let matrix = |numbers: [[f32; 2]; 2]| Tensor::<2>::from_data(numbers, &device);
            let numbers = |tensor: &Tensor<2>| tensor.to_data().try_into_vec::<f32>().unwrap();
            let (left, right) = (matrix([[1.0, 2.0], [0.0, 1.0]]), matrix([[3.0, 0.0], [1.0, 4.0]]));
            let mut sum = matrix([[10.0, 20.0], [30.0, 40.0]]);
            add_product(&mut sum, left.clone(), right.clone());
            assert_close!(numbers(&sum), [15.0, 28.0, 31.0, 44.0], 1e-6, "{name}");
            let other = sum.clone();
            add_product(&mut sum, left.transpose(), right);
            assert_close!(numbers(&sum), [18.0, 28.0, 38.0, 48.0], 1e-6, "{name}");
            assert_close!(numbers(&other), [15.0, 28.0, 31.0, 44.0], 1e-6, "{name}");
        }
    }
}
