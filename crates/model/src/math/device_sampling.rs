//! Sampling of tokens on the device of their logits, for large vocabularies: no row of logits comes to the host.
//!
//! The tokens are those that [`sample_token`](super::sample_token) chooses with the same random numbers, but for rounding.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::Sampling;

/// Tokens whose probabilities are summed together: sums of sums round less than a sum over a whole vocabulary.
const BLOCK: usize = 256;

/// Largest random number. With a larger one, a sum that was rounded could miss the last token.
const BELOW_ONE: f32 = 1.0 - 1e-6;

/// Chooses one token of each row, `[rows, vocabulary]`, by its random number in `0..1`, and returns it with its
/// log-probability under `softmax(logits / temperature)`. Greedy choice (temperature 0) takes the most likely token, and
/// reports its log-probability at temperature 1.
///
/// The token is the first at which the cumulative probability exceeds the random number.
pub fn sample_tokens(logits: Tensor<2>, temperature: f32, uniform: &[f64]) -> Vec<(u32, f32)> {
    let [rows, vocabulary] = logits.dims();
    let device = logits.device();
    let scaled = if temperature > 0.0 { logits.div_scalar(temperature) } else { logits };
    let (max, best) = scaled.clone().max_dim_with_indices(1); // [rows, 1]
    let weights = (scaled.clone() - max.clone()).exp();
    let blocks = vocabulary.div_ceil(BLOCK);
    let weights = match blocks * BLOCK - vocabulary {
        0 => weights,
        missing => Tensor::cat(vec![weights, Tensor::zeros([rows, missing], &device)], 1),
    };
    let sums: Tensor<2> = weights.clone().reshape([rows * blocks, BLOCK]).sum_dim(1).reshape([rows, blocks]);
    let up_to = sums.clone().cumsum(1);
    let total = up_to.clone().narrow(1, blocks - 1, 1); // [rows, 1]
    let token = if temperature > 0.0 {
        let uniform: Vec<f32> = uniform.iter().map(|&uniform| (uniform as f32).min(BELOW_ONE)).collect();
        let sought = total.clone() * Tensor::<2>::from_data(TensorData::new(uniform, [rows, 1]), &device);
        let block = up_to.clone().lower_equal(sought.clone().expand([rows, blocks])).int().sum_dim(1);
        let before = (up_to - sums).gather(1, block.clone());
        let first: Vec<i64> = (0..rows).map(|row| (row * blocks) as i64).collect();
        let first = Tensor::<2, Int>::from_data(TensorData::new(first, [rows, 1]), &device);
        let inside = weights.reshape([rows * blocks, BLOCK]).select(0, (first + block.clone()).reshape([rows]));
        let up_to = inside.cumsum(1);
        let last = up_to.clone().narrow(1, BLOCK - 1, 1).mul_scalar(BELOW_ONE);
        let sought = (sought - before).clamp_min(0.0).min_pair(last); // rounding alone makes it negative
        let at = up_to.lower_equal(sought.expand([rows, BLOCK])).int().sum_dim(1);
        block.mul_scalar(BLOCK as i64) + at
    } else {
        best
    };
    let log_prob = scaled.gather(1, token.clone()) - max - total.log();
    let chosen = Tensor::cat(vec![token.float(), log_prob], 1).into_data();
    let chosen: Vec<f32> = chosen.try_into_vec().expect("the model computes in f32");
    chosen.chunks_exact(2).map(|pair| (pair[0] as u32, pair[1])).collect()
}

/// The likeliest tokens of a row, with what their probabilities need.
pub struct LikelyTokens {
    /// Tokens, the likeliest first; of equally likely ones the smaller first.
    pub tokens: Vec<u32>,
    /// Weight of each, relative to the likeliest: `exp((logit - max) / temperature)`.
    pub weights: Vec<f64>,
    /// Logarithm of the sum of all tokens' weights.
    pub log_total: f32,
}

/// The `count` likeliest tokens of each row of logits, `[rows, vocabulary]`, at a temperature above 0.
pub fn likely_tokens(logits: Tensor<2>, temperature: f32, count: usize) -> Vec<LikelyTokens> {
    let [_, vocabulary] = logits.dims();
    let count = count.min(vocabulary);
    let scaled = logits.div_scalar(temperature);
    let (values, tokens) = scaled.clone().topk_with_indices(count, 1);
    let max = values.clone().narrow(1, 0, 1);
    let log_total = (scaled - max.clone()).exp().sum_dim(1).log();
    let found = Tensor::cat(vec![log_total, values - max, tokens.float()], 1).into_data();
    let found: Vec<f32> = found.try_into_vec().expect("the model computes in f32");
    let row = |row: &[f32]| {
        let (values, tokens) = row[1..].split_at(count);
        let mut likely: Vec<(f32, u32)> =
            values.iter().zip(tokens).map(|(&value, &token)| (value, token as u32)).collect();
        likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        LikelyTokens {
            tokens: likely.iter().map(|(_, token)| *token).collect(),
            weights: likely.iter().map(|(value, _)| f64::from(*value).exp()).collect(),
            log_total: row[0],
        }
    };
    found.chunks_exact(1 + 2 * count).map(row).collect()
}

impl LikelyTokens {
    /// Chooses a token among those that top-k, top-p and min-p keep, and returns it with its log-probability before any
    /// is cut off. `None` if tokens beyond the likeliest may be kept.
    pub fn sample(&self, sampling: &Sampling, vocabulary: usize, uniform: f64) -> Option<(u32, f32)> {
        let total = f64::from(self.log_total).exp();
        let kept = super::sampling::count_kept(&self.weights, total, sampling);
        if kept == self.tokens.len() && kept < vocabulary {
            return None;
        }
        let mut left = uniform * self.weights[..kept].iter().sum::<f64>();
        let chosen = self.weights[..kept].iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        let chosen = chosen.unwrap_or(0);
        Some((self.tokens[chosen], self.weights[chosen].ln() as f32 - self.log_total))
    }
}

/// Logits of given tokens of each row, as many in a row as the longest list has; the rest are those of token 0.
pub fn logits_of(logits: Tensor<2>, tokens: &[&[u32]]) -> Vec<Vec<f32>> {
    let ids = padded(tokens, &logits.device());
    let [_, width] = ids.dims();
    let found: Vec<f32> = logits.gather(1, ids).into_data().try_into_vec().expect("the model computes in f32");
    let rows = found.chunks_exact(width.max(1)).zip(tokens);
    rows.map(|(found, tokens)| found[..tokens.len()].to_vec()).collect()
}

/// [`penalise_repetition`](super::penalise_repetition) of each row of logits; the tokens of a row are distinct.
pub fn penalise_repetitions(logits: Tensor<2>, tokens: &[&[u32]], penalty: f32) -> Tensor<2> {
    let (device, ids) = (logits.device(), padded(tokens, &logits.device()));
    let [rows, width] = ids.dims();
    if width == 0 {
        return logits;
    }
    let is_real = tokens.iter().flat_map(|row| (0..width).map(move |at| f32::from(u8::from(at < row.len()))));
    let is_real = Tensor::<2>::from_data(TensorData::new(is_real.collect::<Vec<_>>(), [rows, width]), &device);
    let old = logits.clone().gather(1, ids.clone());
    let penalised = old.clone().clamp_min(0.0).div_scalar(penalty) + old.clone().clamp_max(0.0).mul_scalar(penalty);
    logits.scatter(1, ids, (penalised - old) * is_real, IndexingUpdateOp::Add)
}

/// Lists as rows of one length, filled up with 0.
fn padded(rows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let mut ids = vec![0i64; rows.len() * width];
    for (ids, row) in ids.chunks_exact_mut(width.max(1)).zip(rows) {
        ids.iter_mut().zip(*row).for_each(|(id, &token)| *id = i64::from(token));
    }
    Tensor::from_data(TensorData::new(ids, [rows.len(), width]), device)
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::math::{penalise_repetition, sample_token};
    use crate::ops::{available_devices, open_device};

    const ROWS: usize = 6;
    const VOCABULARY: usize = 1000;

    /// Rows of logits from flat to peaked.
    fn logits() -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let normal = Normal::new(0.0f32, 1.0).unwrap();
        (0..ROWS * VOCABULARY).map(|i| normal.sample(&mut rng) * (1 + i / VOCABULARY) as f32).collect()
    }

    fn each_device(test: impl Fn(Tensor<2>)) {
        for device in available_devices() {
            test(Tensor::from_data(TensorData::new(logits(), [ROWS, VOCABULARY]), &open_device(device).unwrap()));
        }
    }

    #[test]
    fn the_device_chooses_what_the_host_chooses() {
        each_device(|logits| {
            let host: Vec<f32> = logits.to_data().try_into_vec().unwrap();
            for temperature in [0.0, 0.7, 1.0, 3.0] {
                let sampling = Sampling { temperature, ..Sampling::default() };
                for seed in 0..20 {
                    let mut rngs: Vec<_> =
                        (0..ROWS).map(|row| ChaCha8Rng::seed_from_u64(seed * 10 + row as u64)).collect();
                    let uniform: Vec<f64> = rngs.clone().iter_mut().map(|rng| rng.random()).collect();
                    let found = sample_tokens(logits.clone(), temperature, &uniform);
                    for (row, (token, log_prob)) in found.into_iter().enumerate() {
                        let row_logits = &host[row * VOCABULARY..][..VOCABULARY];
                        let (expected, expected_log_prob) = sample_token(row_logits, None, &sampling, &mut rngs[row]);
                        assert_eq!(token, expected, "row {row} at {temperature}, seed {seed}");
                        assert_close!(log_prob, expected_log_prob, 1e-4);
                    }
                }
            }
        });
    }

    /// The logarithm of the smallest number above 0 is -103.3.
    #[test]
    fn the_ends_of_the_random_numbers_are_tokens_with_probability() {
        each_device(|logits| {
            let rows = logits.dims()[0];
            for uniform in [0.0, 1.0 - f64::EPSILON] {
                let found = sample_tokens(logits.clone(), 0.02, &vec![uniform; rows]);
                assert!(
                    found.iter().all(|(token, log_prob)| (*token as usize) < VOCABULARY && *log_prob > -104.0),
                    "{found:?}"
                );
            }
        });
    }

    #[test]
    fn truncated_sampling_needs_the_likeliest_tokens_alone() {
        let plain = Sampling::default();
        let samplings = [
            Sampling { top_k: 5, ..plain },
            Sampling { top_p: 0.7, temperature: 0.5, ..plain },
            Sampling { min_p: 0.05, ..plain },
            Sampling { top_k: 40, top_p: 0.9, min_p: 0.01, temperature: 0.8, ..plain },
        ];
        each_device(|logits| {
            let host: Vec<f32> = logits.to_data().try_into_vec().unwrap();
            let mut whole = 0;
            for sampling in samplings {
                let likely = likely_tokens(logits.clone(), sampling.temperature, 100);
                for (row, likely) in likely.iter().enumerate() {
                    for seed in 0..20 {
                        let mut rng = ChaCha8Rng::seed_from_u64(seed);
                        let Some((token, log_prob)) = likely.sample(&sampling, VOCABULARY, rng.clone().random()) else {
                            whole += 1;
                            continue;
                        };
                        let row_logits = &host[row * VOCABULARY..][..VOCABULARY];
                        let (expected, expected_log_prob) = sample_token(row_logits, None, &sampling, &mut rng);
                        assert_eq!(token, expected, "row {row}, {sampling:?}, seed {seed}");
                        assert_close!(log_prob, expected_log_prob, 1e-4);
                    }
                }
            }
            assert!((1..ROWS * 20).contains(&whole), "the flattest row alone keeps more than 100: {whole}");
        });
    }

    #[test]
    fn given_tokens_are_read_and_penalised() {
        each_device(|logits| {
            let host: Vec<f32> = logits.to_data().try_into_vec().unwrap();
            let tokens: Vec<Vec<u32>> = (0..ROWS as u32).map(|row| (0..row).map(|i| 7 * i + row).collect()).collect();
            let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
            let penalised: Vec<f32> =
                penalise_repetitions(logits.clone(), &tokens, 1.3).to_data().try_into_vec().unwrap();
            let found = logits_of(logits, &tokens);
            for (row, tokens) in tokens.iter().enumerate() {
                let mut expected = host[row * VOCABULARY..][..VOCABULARY].to_vec();
                assert_eq!(found[row], tokens.iter().map(|&token| expected[token as usize]).collect::<Vec<_>>());
                penalise_repetition(&mut expected, tokens.iter().copied(), 1.3);
                assert_close!(&penalised[row * VOCABULARY..][..VOCABULARY], expected, 1e-5);
            }
        });
    }
}
