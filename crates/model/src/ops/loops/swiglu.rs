use macerator::Simd;

use super::functions::exp;
use super::{PART, Threads};

/// [`swiglu`](crate::ops::swiglu()) of `gate` and `up` into `output`.
pub(crate) fn swiglu(gate: &[f32], up: &[f32], output: &mut [f32], threads: Threads) {
    let parts = output.chunks_mut(PART).zip(gate.chunks(PART)).zip(up.chunks(PART));
    threads.for_each(parts, |((output, gate), up)| part(gate, up, output));
}

/// Replaces the gradient of the output by that of `up`, and writes that of `gate` into `of_gate`.
pub(in crate::ops) fn swiglu_gradients(
    gate: &[f32],
    up: &[f32],
    gradient: &mut [f32],
    of_gate: &mut [f32],
    threads: Threads,
) {
    let changed = gradient.chunks_mut(PART).zip(of_gate.chunks_mut(PART));
    let parts = changed.zip(gate.chunks(PART)).zip(up.chunks(PART));
    threads.for_each(parts, |(((gradient, of_gate), gate), up)| part_gradients(gate, up, gradient, of_gate));
}

#[macerator::with_simd]
fn part<S: Simd>(gate: &[f32], up: &[f32], output: &mut [f32]) {
    let count = output.len();
    let (gate, up) = (&gate[..count], &up[..count]);
    for i in 0..count {
        output[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
    }
}

/// With `s` the sigmoid of the gate `x`, the slope of `silu(x) = x s` is `s (1 + x (1 - s))`.
#[macerator::with_simd]
fn part_gradients<S: Simd>(gate: &[f32], up: &[f32], gradient: &mut [f32], of_gate: &mut [f32]) {
    let count = gradient.len();
    let (gate, up, of_gate) = (&gate[..count], &up[..count], &mut of_gate[..count]);
    for i in 0..count {
        let sigmoid = 1.0 / (1.0 + exp(-gate[i]));
        of_gate[i] = gradient[i] * up[i] * sigmoid * (1.0 + gate[i] * (1.0 - sigmoid));
        gradient[i] *= gate[i] * sigmoid;
    }
}
