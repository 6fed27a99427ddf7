use burn::tensor::{Int, Tensor};

use super::loops::Matrix;
use super::memory::{self, Bytes, Numbers};

/// A matrix `[inner, columns]` where it is in memory, outside autodiff.
pub(crate) enum MatrixNumbers {
    Rows(Numbers),
    Columns(Numbers),
    Bf16Columns(Bytes),
    Int8Columns { codes: Bytes, steps: Numbers },
    Nf4Columns { codes: Bytes, scales: Vec<f32>, levels: &'static [f32; 16] },
}

impl MatrixNumbers {
    /// Those of a tensor in 32 bits; `None` where neither its rows nor its columns stand in memory one after the other.
    pub fn of(tensor: &Tensor<2>) -> Option<Self> {
        if tensor.is_autodiff() || !memory::holds(tensor) {
            return None;
        }
        if memory::is_dense(tensor) {
            return Some(Self::Rows(Numbers::of(tensor.clone())));
        }
        let transposed = tensor.clone().transpose();
        memory::is_dense(&transposed).then(|| Self::Columns(Numbers::of(transposed)))
    }

    /// Those of a tensor in bfloat16, `[columns, inner]`.
    pub fn of_bf16(tensor: &Tensor<2>) -> Option<Self> {
        Bytes::of_floats(tensor.clone()).map(Self::Bf16Columns)
    }

    /// 8-bit integers, `[columns, inner]`, with the difference between two codes of each column.
    pub fn of_int8(codes: &Tensor<2, Int>, steps: &Tensor<2>) -> Option<Self> {
        let codes = Bytes::of_integers(codes.clone())?;
        Some(Self::Int8Columns { codes, steps: Numbers::of(steps.clone()) })
    }

    /// 4-bit codes, two a byte and column after column, with the scale of each block of 64, which belongs to one column.
    /// `levels` are the numbers of the codes.
    pub fn of_nf4(codes: &Tensor<1, Int>, scales: Tensor<2>, levels: &'static [f32; 16]) -> Option<Self> {
        let codes = Bytes::of_integers(codes.clone())?;
        Some(Self::Nf4Columns { codes, scales: Numbers::of(scales).to_vec(), levels })
    }

    /// The matrix, to multiply with.
    pub fn matrix(&self) -> Matrix<'_> {
        match self {
            Self::Rows(numbers) => Matrix::Rows(numbers),
            Self::Columns(numbers) => Matrix::Columns(numbers),
            Self::Bf16Columns(numbers) => Matrix::Bf16Columns(bytemuck::cast_slice(numbers)),
            Self::Int8Columns { codes, steps } => Matrix::Int8Columns { codes: bytemuck::cast_slice(codes), steps },
            Self::Nf4Columns { codes, scales, levels } => Matrix::Nf4Columns { codes, scales, levels },
        }
    }
}
