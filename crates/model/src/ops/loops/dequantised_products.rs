use macerator::Simd;

use super::products::{DEPTH, MatrixRows, add_by_columns, add_by_rows, prefetch};

/// Columns of 8 or 4 bits that are dequantised at once, so that they stay in the nearest cache.
const COLUMNS: usize = 4;

/// Numbers of 4 bits that share a scale.
const BLOCK: usize = 64;

/// Adds the product with some columns of a matrix in bfloat16, row after row, to `output`.
pub(super) fn add_by_bf16_rows(x: &[f32], inner: usize, numbers: &[u16], stride: usize, output: &mut [f32]) {
    let width = output.len() / (x.len() / inner);
    let mut rows = vec![0.0; DEPTH * width];
    for from in (0..inner).step_by(DEPTH) {
        let count = DEPTH.min(inner - from);
        for (i, row) in rows.chunks_exact_mut(width).enumerate().take(count) {
            let ahead = &numbers[((from + i + DEPTH) * stride).min(numbers.len())..];
            widen_bf16(&numbers[(from + i) * stride..][..width], ahead, row);
        }
        add_by_rows(x, inner, from, MatrixRows { numbers: &rows, stride: width, count }, output);
    }
}

/// Adds the product with columns of 8-bit integers, each of which has a step, to `output`.
pub(super) fn add_by_int8_columns(x: &[f32], inner: usize, codes: &[i8], steps: &[f32], output: &mut [f32]) {
    add_by_dequantised(x, inner, output, |column, numbers| {
        widen_i8(&codes[column * inner..][..inner], steps[column], numbers);
    });
}

/// Adds the product with columns of 4-bit codes, two a byte, to `output`. `pairs` has the numbers of each byte; a block of codes
/// has a scale.
pub(super) fn add_by_nf4_columns(
    x: &[f32],
    inner: usize,
    (codes, scales): (&[u8], &[f32]),
    pairs: &[[f32; 2]; 256],
    output: &mut [f32],
) {
    add_by_dequantised(x, inner, output, |column, numbers| {
        let codes = &codes[column * inner / 2..][..inner / 2];
        for (pair, &byte) in numbers.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
            *pair = pairs[usize::from(byte)];
        }
        let scales = &scales[column * inner / BLOCK..];
        numbers.chunks_exact_mut(BLOCK).zip(scales).for_each(|(block, scale)| scale_all(block, *scale));
    });
}

/// Adds the product with columns that `dequantise` writes, by their number.
fn add_by_dequantised(x: &[f32], inner: usize, output: &mut [f32], dequantise: impl Fn(usize, &mut [f32])) {
    let width = output.len() / (x.len() / inner);
    let mut columns = vec![0.0; COLUMNS * inner];
    for from in (0..width).step_by(COLUMNS) {
        let count = COLUMNS.min(width - from);
        let columns = &mut columns[..count * inner];
        for (i, numbers) in columns.chunks_exact_mut(inner).enumerate() {
            dequantise(from + i, numbers);
        }
        add_by_columns(x, inner, columns, output, width, from);
    }
}

/// Numbers in a line of the processor's cache.
const LINE: usize = 32;

/// Widens a row, and asks for the one that comes later.
#[macerator::with_simd]
fn widen_bf16<S: Simd>(numbers: &[u16], ahead: &[u16], output: &mut [f32]) {
    let count = numbers.len();
    let output = &mut output[..count];
    for line in 0..count.min(ahead.len()).div_ceil(LINE) {
        prefetch(ahead, line * LINE);
    }
    for i in 0..count {
        output[i] = f32::from_bits(u32::from(numbers[i]) << 16);
    }
}

#[macerator::with_simd]
fn widen_i8<S: Simd>(codes: &[i8], step: f32, output: &mut [f32]) {
    let output = &mut output[..codes.len()];
    for i in 0..codes.len() {
        output[i] = f32::from(codes[i]) * step;
    }
}

#[macerator::with_simd]
fn scale_all<S: Simd>(numbers: &mut [f32], scale: f32) {
    for i in 0..numbers.len() {
        numbers[i] *= scale;
    }
}
