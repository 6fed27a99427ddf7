use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use macerator::Simd;

use super::functions::{erf, exp, tanh};
use super::{PART, Threads};
use crate::ops::GeluForm;

/// [`gelu`](crate::ops::gelu()) of `x` into `output`.
pub(crate) fn gelu(x: &[f32], output: &mut [f32], form: GeluForm, threads: Threads) {
    let part = match form {
        GeluForm::Exact => exact as fn(&[f32], &mut [f32]),
        GeluForm::Tanh => approximate,
    };
    in_parts(x, output, threads, part);
}

/// Replaces the gradient of the output by that of the input.
pub(in crate::ops) fn gelu_gradient(x: &[f32], gradient: &mut [f32], form: GeluForm, threads: Threads) {
    let part = match form {
        GeluForm::Exact => exact_gradient as fn(&[f32], &mut [f32]),
        GeluForm::Tanh => approximate_gradient,
    };
    in_parts(x, gradient, threads, part);
}

fn in_parts(x: &[f32], changed: &mut [f32], threads: Threads, part: fn(&[f32], &mut [f32])) {
    threads.for_each(changed.chunks_mut(PART).zip(x.chunks(PART)), |(changed, x)| part(x, changed));
}

#[macerator::with_simd]
fn exact<S: Simd>(x: &[f32], output: &mut [f32]) {
    let count = x.len().min(output.len());
    let (x, output) = (&x[..count], &mut output[..count]);
    for i in 0..count {
        output[i] = x[i] * normal_cdf(x[i]);
    }
}

#[macerator::with_simd]
fn exact_gradient<S: Simd>(x: &[f32], gradient: &mut [f32]) {
    const INVERSE_ROOT_OF_2_PI: f32 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let count = x.len().min(gradient.len());
    let (x, gradient) = (&x[..count], &mut gradient[..count]);
    for i in 0..count {
        gradient[i] *= normal_cdf(x[i]) + x[i] * INVERSE_ROOT_OF_2_PI * exp(-0.5 * x[i] * x[i]);
    }
}

#[macerator::with_simd]
fn approximate<S: Simd>(x: &[f32], output: &mut [f32]) {
    let count = x.len().min(output.len());
    let (x, output) = (&x[..count], &mut output[..count]);
    for i in 0..count {
        output[i] = x[i] * (0.5 + 0.5 * tanh(angle(x[i])));
    }
}

#[macerator::with_simd]
fn approximate_gradient<S: Simd>(x: &[f32], gradient: &mut [f32]) {
    let count = x.len().min(gradient.len());
    let (x, gradient) = (&x[..count], &mut gradient[..count]);
    for i in 0..count {
        let tangent = tanh(angle(x[i]));
        let slope = ROOT_OF_2_OVER_PI * (1.0 + 3.0 * CUBE * x[i] * x[i]);
        gradient[i] *= 0.5 + 0.5 * tangent + 0.5 * x[i] * (1.0 - tangent * tangent) * slope;
    }
}

const ROOT_OF_2_OVER_PI: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBE: f32 = 0.044_715;

/// Argument of the tangent that stands for the normal distribution.
#[inline(always)]
fn angle(x: f32) -> f32 {
    ROOT_OF_2_OVER_PI * (x + CUBE * x * x * x)
}

/// Probability that a normal number is below `x`.
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}
