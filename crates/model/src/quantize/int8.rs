//! 8-bit integers by row: `w ~ code * scale / 127`, where the scale is the row's largest magnitude
//! ([Dettmers et al. 2022](https://arxiv.org/abs/2208.07339), without the outliers kept apart).

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::ops::MatrixNumbers;

/// Largest code.
const MOST: f32 = 127.0;

/// A matrix, `[output, input]`.
#[derive(Debug, Clone)]
pub(super) struct Int8 {
    /// `[output, input]`, 8 bits each.
    codes: Tensor<2, Int>,
    /// Difference between two codes of a row, `[output, 1]`.
    steps: Tensor<2>,
}

/// Bytes of a matrix of this shape.
pub(super) fn bytes([output, input]: [usize; 2]) -> usize {
    output * input + 4 * output
}

impl Int8 {
    pub(super) fn new(numbers: &[f32], [output, input]: [usize; 2], device: &Device) -> Self {
        let (codes, steps) = quantized(numbers, input);
        let codes = TensorData::new(codes, [output, input]);
        let steps = TensorData::new(steps, [output, 1]);
        Self { codes: Tensor::from_data(codes, (device, DType::I8)), steps: Tensor::from_data(steps, device) }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        self.codes.dims()
    }

    pub(super) fn dequantized(&self) -> Tensor<2> {
        self.codes.clone().float() * self.steps.clone()
    }

    pub(super) fn in_memory(&self) -> Option<MatrixNumbers> {
        MatrixNumbers::of_int8(&self.codes, &self.steps)
    }

    /// Bytes of the tensors on the device.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let Self { codes, steps } = self;
        codes.dtype().size() * codes.shape().num_elements() + steps.dtype().size() * steps.shape().num_elements()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // libtorch brings all integers to the host in 64 bits.
        let codes: Vec<u8> = self.codes.to_data().iter::<i8>().map(i8::cast_unsigned).collect();
        [&codes, self.steps.to_data().as_bytes()].concat()
    }
}

/// Codes of all rows, and each row's difference between two codes. Halves are rounded to the even code.
fn quantized(numbers: &[f32], input: usize) -> (Vec<i8>, Vec<f32>) {
    let rows = numbers.chunks_exact(input);
    let most = rows.clone().map(|row| row.iter().fold(0.0f32, |most, number| most.max(number.abs())));
    let most: Vec<f32> = most.collect();
    let code = |number: &f32, most: f32| if most > 0.0 { (number * (MOST / most)).round_ties_even() as i8 } else { 0 };
    let codes = rows.zip(&most).flat_map(|(row, &most)| row.iter().map(move |number| code(number, most))).collect();
    (codes, most.into_iter().map(|most| most / MOST).collect())
}
