use macerator::Simd;
use rayon::prelude::*;

use super::functions::exp;
use super::{PART, Threads};

/// Log of the sum of the exponentials of each row of logits, of which a row has `width`.
pub(in crate::ops) fn log_sum_exp(logits: &[f32], width: usize, threads: Threads) -> Vec<f32> {
    let share = threads.share(logits.len() / width);
    logits.par_chunks_exact(width).with_min_len(share).map(log_sum_exp_of_row).collect()
}

/// Replaces logits by the gradient of `sum_row factors[row] log p[row, targets[row]]`, given the log of the sum of each row's
/// exponentials: `factor ((i == target) - p[i])`.
pub(in crate::ops) fn log_probs_gradient(
    logits: &mut [f32],
    width: usize,
    log_sums: &[f32],
    targets: &[usize],
    factors: &[f32],
    threads: Threads,
) {
    let share = threads.share(log_sums.len());
    let rows = logits.par_chunks_exact_mut(width).with_min_len(share);
    rows.zip(log_sums).zip(targets).zip(factors).for_each(|(((row, log_sum), &target), &factor)| {
        scaled_probabilities(row, *log_sum, -factor);
        row[target] += factor;
    });
}

fn log_sum_exp_of_row(row: &[f32]) -> f32 {
    let largest = row.chunks(PART).map(largest).fold(f32::NEG_INFINITY, f32::max);
    // Parts are added in 64 bits, so that the error does not grow with the vocabulary.
    let sum: f64 = row.chunks(PART).map(|part| f64::from(sum_of_exponentials(part, largest))).sum();
    largest + sum.ln() as f32
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
fn scaled_probabilities<S: Simd>(row: &mut [f32], log_sum: f32, factor: f32) {
    for i in 0..row.len() {
        row[i] = factor * exp(row[i] - log_sum);
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
            for threads in [1, 2].map(Threads) {
                let found = log_sum_exp(&logits, width, threads);
                assert_close!(found.clone(), &sums, 1e-5);
                if threads.0 == 2 {
                    log_probs_gradient(&mut logits, width, &found, &targets, &factors, threads);
                }
            }
            assert_close!(logits, expected, 1e-6);
        }
    }
}
