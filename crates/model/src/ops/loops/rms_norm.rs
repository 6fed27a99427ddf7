use macerator::Simd;

use super::functions::dot;
use super::{Threads, added, rows_of_a_part};

/// [`rms_norm`](crate::ops::rms_norm()) of `input`, `[rows, width]`, into `output`.
pub(crate) fn rms_norm(input: &[f32], weight: &[f32], output: &mut [f32], eps: f32, threads: Threads) {
    let part = rows_of_a_part(weight.len());
    let parts = output.chunks_mut(part).zip(input.chunks(part));
    threads.for_each(parts, |(output, input)| rows(input, weight, output, eps));
}

/// Replaces the gradient of the output, `[rows, width]`, by that of the input. Returns that of the weight.
pub(in crate::ops) fn rms_norm_gradients(
    input: &[f32],
    weight: &[f32],
    gradient: &mut [f32],
    eps: f32,
    threads: Threads,
) -> Vec<f32> {
    let width = weight.len();
    let part = rows_of_a_part(width);
    let count = gradient.len().div_ceil(part);
    let mut sums = vec![0.0; count * width];
    let parts = gradient.chunks_mut(part).zip(input.chunks(part)).zip(sums.chunks_mut(width));
    threads.for_each(parts, |((gradient, input), sums)| rows_gradients(input, weight, gradient, sums, eps));
    added(&sums, width)
}

#[macerator::with_simd]
fn rows<S: Simd>(input: &[f32], weight: &[f32], output: &mut [f32], eps: f32) {
    let width = weight.len();
    for row in 0..input.len() / width {
        let (row, output) = (&input[row * width..][..width], &mut output[row * width..][..width]);
        let scale = 1.0 / (dot(row, row) / width as f32 + eps).sqrt();
        for i in 0..width {
            output[i] = row[i] * scale * weight[i];
        }
    }
}

/// Replaces the gradient of some rows by that of their input, and adds that of the weight to `sums`. With `s` the row's
/// scale, `n = s x` and `g` the gradient times the weight, the first is `s (g - n mean(g n))`.
#[macerator::with_simd]
fn rows_gradients<S: Simd>(input: &[f32], weight: &[f32], gradient: &mut [f32], sums: &mut [f32], eps: f32) {
    let width = weight.len();
    let sums = &mut sums[..width];
    let mut normal = vec![0.0; width];
    for row in 0..input.len() / width {
        let (row, gradient) = (&input[row * width..][..width], &mut gradient[row * width..][..width]);
        let scale = 1.0 / (dot(row, row) / width as f32 + eps).sqrt();
        for i in 0..width {
            normal[i] = row[i] * scale;
            sums[i] += gradient[i] * normal[i];
            gradient[i] *= weight[i];
        }
        let along = dot(gradient, &normal) / width as f32;
        for i in 0..width {
            gradient[i] = scale * (gradient[i] - normal[i] * along);
        }
    }
}
