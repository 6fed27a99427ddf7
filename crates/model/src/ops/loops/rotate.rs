use macerator::Simd;

use super::{Threads, rows_of_a_part};

/// Sizes of what is rotated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotated {
    /// Numbers of a row: of all heads of a token.
    pub width: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Numbers of a head that are rotated, the first ones.
    pub dim: usize,
    /// True for the rotation by the negative angles, which is the gradient's.
    pub is_back: bool,
}

/// [`rotate`](crate::ops::rotate()) of rows of heads into `output`. Row `i` has row `i % n` of the `n` cosines and sines.
pub(crate) fn rotate(x: &[f32], [cos, sin]: [&[f32]; 2], output: &mut [f32], size: Rotated, threads: Threads) {
    let Rotated { width, dim, .. } = size;
    let angles = cos.len() / dim;
    let part = rows_of_a_part(width);
    let parts = output.chunks_mut(part).zip(x.chunks(part)).enumerate();
    threads.for_each(parts, |(number, (output, x))| {
        let first = number * (part / width);
        for (row, (output, x)) in (first..).zip(output.chunks_exact_mut(width).zip(x.chunks_exact(width))) {
            let at = row % angles * dim;
            heads(x, &cos[at..at + dim], &sin[at..at + dim], output, size);
        }
    });
}

#[macerator::with_simd]
fn heads<S: Simd>(x: &[f32], cos: &[f32], sin: &[f32], output: &mut [f32], size: Rotated) {
    let Rotated { head_dim, dim, is_back, .. } = size;
    let half = dim / 2;
    let sign = if is_back { -1.0 } else { 1.0 };
    let (cos1, cos2) = cos.split_at(half);
    let (sin1, sin2) = sin.split_at(half);
    let (cos2, sin2) = (&cos2[..half], &sin2[..half]);
    for head in 0..x.len() / head_dim {
        let (x, output) = (&x[head * head_dim..][..head_dim], &mut output[head * head_dim..][..head_dim]);
        let (x1, rest) = x.split_at(half);
        let (x2, kept) = rest.split_at(half);
        let (output1, rest) = output.split_at_mut(half);
        let (output2, output_kept) = rest.split_at_mut(half);
        for i in 0..half {
            output1[i] = x1[i] * cos1[i] - x2[i] * (sign * sin1[i]);
            output2[i] = x2[i] * cos2[i] + x1[i] * (sign * sin2[i]);
        }
        output_kept.copy_from_slice(kept);
    }
}
