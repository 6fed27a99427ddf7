use macerator::Simd;

use super::functions::dot;
use super::{PART, Threads};
use crate::ops::AdamWStep;

/// One step of [`AdamW`](crate::ops::adamw_step) in place: of a parameter and the averages of its gradient and its square.
pub(in crate::ops) fn adamw_step(
    param: &mut [f32],
    gradient: &[f32],
    exp_avg: &mut [f32],
    exp_avg_sq: &mut [f32],
    settings: &AdamWStep,
    threads: Threads,
) {
    let factors = Factors::new(settings);
    let averages = exp_avg.chunks_mut(PART).zip(exp_avg_sq.chunks_mut(PART));
    let parts = param.chunks_mut(PART).zip(gradient.chunks(PART)).zip(averages);
    threads.for_each(parts, |((param, gradient), (exp_avg, exp_avg_sq))| {
        part(param, gradient, exp_avg, exp_avg_sq, factors);
    });
}

/// Sum of the squares of all numbers.
pub(in crate::ops) fn sum_of_squares(numbers: &[f32], threads: Threads) -> f32 {
    let mut parts = vec![0.0; numbers.len().div_ceil(PART)];
    threads.for_each(parts.iter_mut().zip(numbers.chunks(PART)), |(sum, part)| *sum = square(part));
    parts.into_iter().map(f64::from).sum::<f64>() as f32
}

/// Factors of a step in 32 bits.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    beta1: f32,
    beta2: f32,
    decay: f32,
    eps: f32,
    /// Of the average of squares, before its root is taken.
    square: f32,
    /// Step size over the bias correction of the average of gradients.
    step: f32,
}

impl Factors {
    fn new(settings: &AdamWStep) -> Self {
        let (correction1, correction2) = settings.bias_corrections();
        Self {
            gradient: settings.gradient_scale as f32,
            beta1: settings.beta1 as f32,
            beta2: settings.beta2 as f32,
            decay: settings.decay() as f32,
            eps: settings.eps as f32,
            square: (1.0 / correction2) as f32,
            step: (settings.lr / correction1) as f32,
        }
    }
}

#[macerator::with_simd]
fn part<S: Simd>(param: &mut [f32], gradient: &[f32], exp_avg: &mut [f32], exp_avg_sq: &mut [f32], factors: Factors) {
    let Factors { gradient: scale, beta1, beta2, decay, eps, square, step } = factors;
    let (rest1, rest2) = (1.0 - beta1, 1.0 - beta2);
    let count = param.len();
    let (gradient, exp_avg, exp_avg_sq) = (&gradient[..count], &mut exp_avg[..count], &mut exp_avg_sq[..count]);
    for i in 0..count {
        let gradient = gradient[i] * scale;
        let mean = beta1 * exp_avg[i] + rest1 * gradient;
        let mean_square = beta2 * exp_avg_sq[i] + rest2 * gradient * gradient;
        exp_avg[i] = mean;
        exp_avg_sq[i] = mean_square;
        param[i] = param[i] * decay - step * mean / ((mean_square * square).sqrt() + eps);
    }
}

#[macerator::with_simd]
fn square<S: Simd>(numbers: &[f32]) -> f32 {
    dot(numbers, numbers)
}
