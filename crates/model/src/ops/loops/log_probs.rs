use macerator::Simd;

use super::functions::exp;
use super::{PART, Threads};

/// Log of the sum of a row's exponentials, in two parts: of large logits their sum would lose digits.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::ops) struct LogSumExp {
    pub largest: f32,
    /// Of what the exponentials are of the largest one.
    pub log_sum: f32,
}

impl LogSumExp {
    /// Log-probability of a logit of the row.
    #[inline(always)]
    pub fn log_prob(self, logit: f32) -> f32 {
        logit - self.largest - self.log_sum
    }
}

/// That of each row of logits, of which a row has `width`.
pub(in crate::ops) fn log_sum_exp(logits: &[f32], width: usize, threads: Threads) -> Vec<LogSumExp> {
    let mut sums = vec![LogSumExp::default(); logits.len() / width];
    threads.for_each(sums.iter_mut().zip(logits.chunks_exact(width)), |(sum, row)| *sum = log_sum_exp_of_row(row));
    sums
}

/// Replaces logits by the gradient of `sum_row factors[row] log p[row, targets[row]]`, given what [`log_sum_exp`] tells of each row:
/// `factor ((i == target) - p[i])`.
pub(in crate::ops) fn log_probs_gradient(
    logits: &mut [f32],
    width: usize,
    sums: &[LogSumExp],
    targets: &[usize],
    factors: &[f32],
    threads: Threads,
) {
    let rows = logits.chunks_exact_mut(width).zip(sums).zip(targets).zip(factors);
    threads.for_each(rows, |(((row, sum), &target), &factor)| {
        scaled_probabilities(row, *sum, -factor);
        row[target] += factor;
    });
}

fn log_sum_exp_of_row(row: &[f32]) -> LogSumExp {
    let largest = row.chunks(PART).map(largest).fold(f32::NEG_INFINITY, f32::max);
    // Parts are added in 64 bits, so that the error does not grow with the vocabulary.
    let sum: f64 = row.chunks(PART).map(|part| f64::from(sum_of_exponentials(part, largest))).sum();
    LogSumExp { largest, log_sum: sum.ln() as f32 }
}

#[macerator::with_simd]
fn largest<S: Simd>(part: &[f32]) -> f32 {
    let (lanes_of, rest) = part.as_chunks::<32>();
    let mut lanes = [f32::NEG_INFINITY; 32];
    for i in 0..lanes_of.len() {
        for lane in 0..32 {
            lanes[lane] = if lanes_of[i][lane] > lanes[lane] { lanes_of[i][lane] } else { lanes[lane] };
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for lane in 0..32 {
        largest = if lanes[lane] > largest { lanes[lane] } else { largest };
    }
    for i in 0..rest.len() {
        largest = if rest[i] > largest { rest[i] } else { largest };
    }
    largest
}

#[macerator::with_simd]
fn sum_of_exponentials<S: Simd>(part: &[f32], largest: f32) -> f32 {
    let (lanes_of, rest) = part.as_chunks::<32>();
    let mut lanes = [0.0; 32];
    for i in 0..lanes_of.len() {
        for lane in 0..32 {
            lanes[lane] += exp(lanes_of[i][lane] - largest);
        }
    }
    let mut sum = 0.0;
    for lane in 0..32 {
        sum += lanes[lane];
    }
    for i in 0..rest.len() {
        sum += exp(rest[i] - largest);
    }
    sum
}

#[macerator::with_simd]
fn scaled_probabilities<S: Simd>(row: &mut [f32], sum: LogSumExp, factor: f32) {
    for i in 0..row.len() {
        row[i] = factor * exp(sum.log_prob(row[i]));
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    /// A row that ends within a vector, one of many parts, and tokens that are forbidden.
    #[test]
    fn sums_and_gradients_are_those_of_64_bits() {
        for (rows, width) in [(1, 1), (3, 37), (2, 3 * PART + 5)] {
            let logit = |at: usize| if at % 7 == 6 { f32::NEG_INFINITY } else { ((13 * at) % 101) as f32 / 9.0 - 40.0 };
            let mut logits: Vec<f32> = (0..rows * width).map(logit).collect();
            let sum = |row: &[f32]| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            let sums: Vec<f64> = logits.chunks(width).map(sum).collect();
            let targets: Vec<usize> = (0..rows).map(|row| (5 * row) % width).collect();
            let factors: Vec<f32> = (0..rows).map(|row| row as f32 - 0.5).collect();
            let gradient = |at: usize| {
                let (row, column) = (at / width, at % width);
                let p = (f64::from(logit(at)) - sums[row]).exp();
                f64::from(factors[row]) * (f64::from(u8::from(column == targets[row])) - p)
            };
            let expected: Vec<f64> = (0..rows * width).map(gradient).collect();
            for threads in [1, 2].map(Threads::of_rayon) {
                let found = log_sum_exp(&logits, width, threads);
                let whole: Vec<f32> = found.iter().map(|sum| sum.largest + sum.log_sum).collect();
                assert_close!(whole, &sums, 1e-5);
                if threads.count() == 2 {
                    log_probs_gradient(&mut logits, width, &found, &targets, &factors, threads);
                }
            }
            assert_close!(logits, expected, 1e-6);
        }
    }
}
