use macerator::Simd;

use super::functions::{dot, sum};
use super::{Threads, added, rows_of_a_part};

/// [`layer_norm`](crate::ops::layer_norm()) of `input`, `[rows, width]`, into `output`. Weight and bias come as a pair.
pub(crate) fn layer_norm(input: &[f32], [weight, bias]: [&[f32]; 2], output: &mut [f32], eps: f32, threads: Threads) {
    let part = rows_of_a_part(weight.len());
    let parts = output.chunks_mut(part).zip(input.chunks(part));
    threads.for_each(parts, |(output, input)| rows(input, weight, bias, output, eps));
}

/// Replaces the gradient of a layer norm's output, `[rows, width]`, by that of its input. Returns the gradients of weight and
/// bias, `[width]` each.
pub(in crate::ops) fn layer_norm_gradients(
    input: &[f32],
    weight: &[f32],
    gradient: &mut [f32],
    eps: f32,
    threads: Threads,
) -> [Vec<f32>; 2] {
    let width = weight.len();
    let part = rows_of_a_part(width);
    let count = gradient.len().div_ceil(part);
    let mut sums = vec![0.0; count * 2 * width];
    let parts = gradient.chunks_mut(part).zip(input.chunks(part)).zip(sums.chunks_mut(2 * width));
    threads.for_each(parts, |((gradient, input), sums)| rows_gradients(input, weight, gradient, sums, eps));
    let mut of_weight = added(&sums, 2 * width);
    let of_bias = of_weight.split_off(width);
    [of_weight, of_bias]
}

#[macerator::with_simd]
fn rows<S: Simd>(input: &[f32], weight: &[f32], bias: &[f32], output: &mut [f32], eps: f32) {
    let width = weight.len();
    let scale = 1.0 / width as f32;
    let bias = &bias[..width];
    for row in 0..input.len() / width {
        let (row, output) = (&input[row * width..][..width], &mut output[row * width..][..width]);
        let mean = sum(row) * scale;
        for i in 0..width {
            output[i] = row[i] - mean;
        }
        let inverse_deviation = 1.0 / (dot(output, output) * scale + eps).sqrt();
        for i in 0..width {
            output[i] = output[i] * inverse_deviation * weight[i] + bias[i];
        }
    }
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
