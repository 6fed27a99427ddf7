use burn::tensor::Tensor;
use macerator::Simd;
use rayon::prelude::*;

use super::functions::{dot, sum};
use super::{PART, dense, numbers, owned_numbers, tensor};

/// Gradients of the input, `[rows, width]`, the weight and the bias, `[1, width]`, of a layer norm, given that of its output.
pub(in crate::ops) fn layer_norm_gradients(
    input: Tensor<2>,
    weight: Tensor<1>,
    gradient: Tensor<2>,
    eps: f32,
) -> [Tensor<2>; 3] {
    let [rows, width] = input.dims();
    let (input, weight) = (dense(input), dense(weight));
    let mut gradient = owned_numbers(gradient);
    let part = (PART / width).max(1) * width;
    let mut sums = vec![0.0; gradient.len().div_ceil(part) * 2 * width];
    let parts = gradient.par_chunks_mut(part).zip(numbers(&input).par_chunks(part)).zip(sums.par_chunks_mut(2 * width));
    parts.for_each(|((gradient, input), sums)| rows_gradients(input, numbers(&weight), gradient, sums, eps));
    let mut total = vec![0.0; 2 * width];
    for sums in sums.chunks_exact(2 * width) {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    let of_bias = total.split_off(width);
    [tensor(gradient, [rows, width]), tensor(total, [1, width]), tensor(of_bias, [1, width])]
}

/// Replaces the gradient of some rows by that of their input, and adds those of weight and bias, which `sums` has one after
/// the other. With `n` the normalised row and `g` the gradient times the weight, the first is
/// `(g - mean(g) - n mean(g n)) / deviation`.
#[macerator::with_simd]
fn rows_gradients<S: Simd>(input: &[f32], weight: &[f32], gradient: &mut [f32], sums: &mut [f32], eps: f32) {
    let width = weight.len();
    let scale = 1.0 / width as f32;
    let (of_weight, of_bias) = sums.split_at_mut(width);
    let of_bias = &mut of_bias[..width];
    let mut normal = vec![0.0; width];
    for row in 0..input.len() / width {
        let (row, gradient) = (&input[row * width..][..width], &mut gradient[row * width..][..width]);
        let mean = sum(row) * scale;
        for i in 0..width {
            normal[i] = row[i] - mean;
        }
        let inverse_deviation = 1.0 / (dot(&normal, &normal) * scale + eps).sqrt();
        for i in 0..width {
            normal[i] *= inverse_deviation;
            of_weight[i] += gradient[i] * normal[i];
            of_bias[i] += gradient[i];
            gradient[i] *= weight[i];
        }
        let (all, along) = (sum(gradient) * scale, dot(gradient, &normal) * scale);
        for i in 0..width {
            gradient[i] = inverse_deviation * (gradient[i] - all - normal[i] * along);
        }
    }
}
