//! Weights of frozen linear layers in 16, 8 or 4 bits: small in memory, and dequantised at each use.
//!
//! Knows matrices and their bytes; knows nothing of layers, adapters or training. Quantised matrices are laid out as
//! in PyTorch, `[output, input]`, so that blocks and rows are those that bitsandbytes makes of the same file.

mod int8;
mod nf4;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::ops::{MatrixNumbers, Pulled, has_few_rows, in_type, matmul, multiply_few_rows, with_gradient_rule};
use int8::Int8;
use nf4::Nf4;

/// Form in which weights that are not trained are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// 32-bit numbers, as they are.
    #[default]
    None,
    /// 16-bit numbers (bfloat16): half the memory.
    Bf16,
    /// 8-bit integers, with a scale for each output: about a quarter of the memory of 32 bits.
    Int8,
    /// 4-bit NormalFloat in blocks of 64 with doubly quantised scales
    /// ([Dettmers et al. 2023](https://arxiv.org/abs/2305.14314)): about an eighth.
    Nf4,
}

impl Quantization {
    /// All forms.
    pub const ALL: [Self; 4] = [Self::None, Self::Bf16, Self::Int8, Self::Nf4];

    /// Name in run files and in `adapter_config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        }
    }

    /// Bytes of a matrix with this input and output width.
    pub fn bytes(self, [input, output]: [usize; 2]) -> usize {
        match self {
            Self::None => 4 * input * output,
            Self::Bf16 => 2 * input * output,
            Self::Int8 => int8::bytes([output, input]),
            Self::Nf4 => nf4::bytes(input * output),
        }
    }
}

/// A matrix in 16, 8 or 4 bits. It is no parameter: nothing trains it, and no autodiff graph keeps it dequantised.
#[derive(Module, Debug)]
pub struct FrozenMatrix {
    #[module(skip)]
    codes: Codes,
}

/// Outside autodiff, on the device of the model.
#[expect(clippy::large_enum_variant, reason = "a model has few of them, and tensors beside them are larger")]
#[derive(Debug, Clone)]
enum Codes {
    /// `[output, input]`
    Bf16(Tensor<2>),
    Int8(Int8),
    Nf4(Nf4),
}

impl FrozenMatrix {
    /// Quantises a matrix `[input, output]`; `None` where there is nothing to do. The same numbers give the same bytes
    /// on every device.
    pub fn new(weight: &Tensor<2>, quantization: Quantization) -> Option<Self> {
        let weight = weight.clone().inner();
        let device = weight.device();
        let shape = weight.dims();
        let host = |weight: Tensor<2>| -> Vec<f32> { weight.transpose().into_data().iter::<f32>().collect() };
        let codes = match quantization {
            Quantization::None => return None,
            Quantization::Bf16 => Codes::Bf16(one_after_the_other(weight.transpose().cast(DType::BF16))),
            Quantization::Int8 => Codes::Int8(Int8::new(&host(weight), [shape[1], shape[0]], &device)),
            Quantization::Nf4 => Codes::Nf4(Nf4::new(&host(weight), [shape[1], shape[0]], &device)),
        };
        Some(Self { codes })
    }

    /// Form of the numbers.
    pub fn quantization(&self) -> Quantization {
        match self.codes {
            Codes::Bf16(_) => Quantization::Bf16,
            Codes::Int8(_) => Quantization::Int8,
            Codes::Nf4(_) => Quantization::Nf4,
        }
    }

    /// Input and output width.
    pub fn dims(&self) -> [usize; 2] {
        let [output, input] = match &self.codes {
            Codes::Bf16(numbers) => numbers.dims(),
            Codes::Int8(codes) => codes.shape(),
            Codes::Nf4(codes) => codes.shape(),
        };
        [input, output]
    }

    /// The bytes that stand for the matrix, scales included.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.codes {
            Codes::Bf16(numbers) => numbers.to_data().as_bytes().to_vec(),
            Codes::Int8(codes) => codes.to_bytes(),
            Codes::Nf4(codes) => codes.to_bytes(),
        }
    }

    /// The numbers that the bytes stand for, `[input, output]`, in this type and outside autodiff: new memory at each call,
    /// unless they are of this type.
    pub fn numbers(&self, dtype: DType) -> Tensor<2> {
        let numbers = match &self.codes {
            Codes::Bf16(numbers) => numbers.clone(),
            Codes::Int8(codes) => codes.dequantized(),
            Codes::Nf4(codes) => codes.dequantized(),
        };
        in_type(numbers, dtype).transpose()
    }

    /// The matrix as products of few rows read it, where it is in the program's memory.
    pub(crate) fn in_memory(&self) -> Option<MatrixNumbers> {
        match &self.codes {
            Codes::Bf16(numbers) => MatrixNumbers::of_bf16(numbers),
            Codes::Int8(codes) => codes.in_memory(),
            Codes::Nf4(codes) => codes.in_memory(),
        }
    }

    /// Product of `[rows, input]` with the matrix, `[rows, output]`. A few rows read it as it is. The backward pass dequantises the matrix again.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let few = has_few_rows(&input).then(|| self.in_memory()).flatten();
        if let Some(matrix) = few {
            return multiply_few_rows(&input, &matrix, self.dims()[1], None);
        }
        let dtype = input.dtype();
        let output = matmul(input.clone().inner(), self.numbers(dtype));
        if !input.is_autodiff() {
            return output;
        }
        let matrix = self.clone();
        let rule = move |gradient: Tensor<2>, _: [bool; 1]| {
            Pulled::from([Some(matmul(gradient, matrix.numbers(dtype).transpose()))])
        };
        with_gradient_rule([input], output, Box::new(rule))
    }
}

/// A matrix whose rows stand in memory one after the other.
fn one_after_the_other(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    matrix.reshape([rows * columns]).reshape([rows, columns])
}

/// A table of numbers, `[codes, width]`.
fn table(numbers: Vec<f32>, width: usize, device: &Device) -> Tensor<2> {
    let codes = numbers.len() / width;
    Tensor::from_data(TensorData::new(numbers, [codes, width]), device)
}

#[cfg(test)]
mod tests;
