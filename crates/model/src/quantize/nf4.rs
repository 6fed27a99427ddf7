//! 4-bit NormalFloat with double quantisation ([Dettmers et al. 2023](https://arxiv.org/abs/2305.14314), QLoRA), with
//! the codes, blocks and bytes of bitsandbytes.
//!
//! A block of 64 numbers is divided by its largest magnitude, the scale, and each number becomes the nearest of 16 levels.
//! The scales less their mean are quantised in turn: blocks of 256, each with a 32-bit scale of its own, and 8-bit
//! codes of floating-point numbers with an exponent of dynamic length.

use std::sync::LazyLock;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::table;
use crate::ops::MatrixNumbers;

/// Numbers that share a scale.
const BLOCK: usize = 64;

/// Scales that share a scale.
const SCALES: usize = 256;

/// Quantiles of a normal distribution, of which one is exactly 0, scaled to [-1, 1]: the paper's appendix E.
pub(super) const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The 256 numbers that codes of scales stand for, in ascending order
/// ([Dettmers 2015](https://arxiv.org/abs/1511.04561), dynamic tree).
pub(super) static SCALE_LEVELS: LazyLock<Vec<f32>> = LazyLock::new(scale_levels);

/// The two numbers that a byte stands for, the first in the high bits.
static PAIRS: LazyLock<[[f32; 2]; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| [byte >> 4, byte & 15].map(|code| LEVELS[code])));

/// A matrix, `[output, input]`.
#[derive(Debug, Clone)]
pub(super) struct Nf4 {
    shape: [usize; 2],
    /// Two codes a byte, the first in the high bits, `[blocks * 32]`.
    codes: Tensor<1, Int>,
    scales: Scales,
}

/// Scales of blocks, in 8 bits.
#[derive(Debug, Clone)]
struct Scales {
    /// `[blocks]`
    codes: Tensor<1, Int>,
    /// Scales of these numbers, `[blocks / 256, 1]`.
    scales: Tensor<2>,
    /// The mean, which is added to all.
    mean: f32,
}

/// Bytes of a matrix of `count` numbers.
pub(super) fn bytes(count: usize) -> usize {
    let blocks = count.div_ceil(BLOCK);
    blocks * BLOCK / 2 + blocks + 4 * blocks.div_ceil(SCALES) + 4
}

impl Nf4 {
    pub(super) fn new(numbers: &[f32], shape: [usize; 2], device: &Device) -> Self {
        let scales: Vec<f32> = numbers.chunks(BLOCK).map(largest).collect();
        let codes = packed(numbers, &scales);
        Self { shape, codes: bytes_on(codes, device), scales: Scales::new(scales, device) }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(super) fn dequantized(&self) -> Tensor<2> {
        let [output, input] = self.shape;
        let pairs = table(PAIRS.as_flattened().to_vec(), 2, &self.codes.device());
        let levels = pairs.select(0, self.codes.clone().cast(DType::I64)); // [bytes, 2]
        let [bytes, _] = levels.dims();
        let blocks = levels.reshape([2 * bytes / BLOCK, BLOCK]) * self.scales.dequantized();
        match 2 * bytes == output * input {
            true => blocks.reshape([output, input]),
            false => blocks.reshape([2 * bytes]).narrow(0, 0, output * input).reshape([output, input]),
        }
    }

    /// `None` too where a block has numbers of two outputs.
    pub(super) fn in_memory(&self) -> Option<MatrixNumbers> {
        let [_, input] = self.shape;
        let is_whole = input.is_multiple_of(BLOCK);
        is_whole.then(|| MatrixNumbers::of_nf4(&self.codes, self.scales.dequantized(), &LEVELS)).flatten()
    }

    /// Bytes of the tensors on the device, and of the mean.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let Scales { codes, scales, .. } = &self.scales;
        let codes = [&self.codes, codes].map(|codes| codes.dtype().size() * codes.shape().num_elements());
        codes.iter().sum::<usize>() + scales.dtype().size() * scales.shape().num_elements() + size_of::<f32>()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Scales { codes, scales, mean, .. } = &self.scales;
        // libtorch brings all integers to the host in 64 bits.
        let codes = [&self.codes, codes].map(|codes| codes.to_data().iter::<u8>().collect::<Vec<u8>>()).concat();
        [&codes, scales.to_data().as_bytes(), &mean.to_le_bytes()].concat()
    }
}

impl Scales {
    fn new(mut numbers: Vec<f32>, device: &Device) -> Self {
        let mean = (numbers.iter().map(|&number| f64::from(number)).sum::<f64>() / numbers.len() as f64) as f32;
        numbers.iter_mut().for_each(|number| *number -= mean);
        let scales: Vec<f32> = numbers.chunks(SCALES).map(largest).collect();
        let blocks = numbers.chunks(SCALES).zip(&scales);
        let codes = blocks.flat_map(|(block, &scale)| block.iter().map(move |&x| nearest(&SCALE_LEVELS, x, scale)));
        Self { codes: bytes_on(codes.collect(), device), scales: table(scales, 1, device), mean }
    }

    /// `[blocks, 1]`
    fn dequantized(&self) -> Tensor<2> {
        let levels = table(SCALE_LEVELS.clone(), 1, &self.codes.device());
        let levels = levels.select(0, self.codes.clone().cast(DType::I64)); // [blocks, 1]
        let ([blocks, _], [groups, _]) = (levels.dims(), self.scales.dims());
        let scales = self.scales.clone().expand([groups, SCALES]).reshape([groups * SCALES, 1]).narrow(0, 0, blocks);
        (levels * scales).add_scalar(self.mean)
    }
}

/// Two codes a byte; the last block is filled up with the code of 0.
fn packed(numbers: &[f32], scales: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0x77; scales.len() * BLOCK / 2];
    for ((block, &scale), bytes) in numbers.chunks(BLOCK).zip(scales).zip(bytes.chunks_mut(BLOCK / 2)) {
        for (pair, byte) in block.chunks(2).zip(bytes) {
            let [first, second] = [0, 1].map(|at| pair.get(at).map_or(7, |&x| nearest(&LEVELS, x, scale)));
            *byte = first << 4 | second;
        }
    }
    bytes
}

/// Index of the level that is nearest to `number / scale`; of two equally near ones, the lower.
fn nearest(levels: &[f32], number: f32, scale: f32) -> u8 {
    let scaled = if scale > 0.0 { number / scale } else { 0.0 };
    let above = levels.partition_point(|&level| level < scaled).min(levels.len() - 1);
    let below = above.saturating_sub(1);
    let index = if scaled - levels[below] <= levels[above] - scaled { below } else { above };
    u8::try_from(index).unwrap_or(u8::MAX)
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |most, number| most.max(number.abs()))
}

fn bytes_on(bytes: Vec<u8>, device: &Device) -> Tensor<1, Int> {
    let count = bytes.len();
    Tensor::from_data(TensorData::new(bytes, [count]), (device, DType::U8))
}

/// 0, 1, and for each of seven exponents the middles of 1, 2, 4, ... 64 equal parts of [0.1, 1], with both signs.
fn scale_levels() -> Vec<f32> {
    let mut levels = vec![0.0, 1.0];
    for exponent in 0..7 {
        let parts = 1 << exponent;
        let border = |at: i32| 0.1 + 0.9 * f64::from(at) / f64::from(parts);
        for at in 0..parts {
            let middle = (border(at) + border(at + 1)) / 2.0;
            let level = (10f64.powi(exponent - 6) * middle) as f32;
            levels.extend([level, -level]);
        }
    }
    levels.sort_by(f32::total_cmp);
    levels
}
