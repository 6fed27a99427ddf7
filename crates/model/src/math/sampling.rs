//! Sampling of a token from logits.

use rand::Rng;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Sampling parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Divisor of the logits: below 1 sharpens, above 1 flattens; 0 takes the most likely token.
    pub temperature: f32,
    /// Top-k: keeps only the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Top-p: keeps the fewest most likely tokens whose total probability reaches this
    /// ([Holtzman et al. 2020](https://arxiv.org/abs/1904.09751)); 1 keeps all.
    pub top_p: f32,
    /// Min-p: keeps tokens at least this fraction as likely as the most likely one
    /// ([Nguyen et al. 2024](https://arxiv.org/abs/2407.01082)); 0 keeps all.
    pub min_p: f32,
    /// Repetition penalty: divides the positive logits of the tokens that the text has, and multiplies the negative ones
    /// ([Keskar et al. 2019](https://arxiv.org/abs/1909.05858)); 1 leaves them. No key of run files: a rollout is scored
    /// under the policy's own distribution.
    #[serde(skip)]
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl Sampling {
    /// Greedy choice: always the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 };

    /// True if some tokens are cut off, so that log-probabilities under the full distribution differ from those at
    /// sampling.
    pub fn truncates(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }
}

/// Applies a repetition penalty to the logits of these tokens, which are distinct.
pub fn penalise_repetition(logits: &mut [f32], tokens: impl IntoIterator<Item = u32>, penalty: f32) {
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// Chooses one token and returns it with its log-probability under the softmax of `logits / temperature` over the
/// allowed tokens, before any of them is cut off by top-k, top-p or min-p. Greedy choice reports it at temperature 1.
///
/// `allowed`: token ids in ascending order; `None` allows all. Ties in greedy choice go to the smaller id.
/// One random number is drawn for a token that is sampled, and none for a greedy one.
pub fn sample_token(logits: &[f32], allowed: Option<&[u32]>, sampling: &Sampling, rng: &mut impl Rng) -> (u32, f32) {
    let uniform = if sampling.temperature > 0.0 { rng.random() } else { 0.0 };
    sample_token_by(logits, allowed, sampling, uniform)
}

/// [`sample_token`] by a random number that was drawn from `0..1`.
pub fn sample_token_by(logits: &[f32], allowed: Option<&[u32]>, sampling: &Sampling, uniform: f64) -> (u32, f32) {
    let candidates = Candidates::new(logits, allowed, sampling.temperature);
    let Candidates { count, best, max, .. } = candidates;
    let weights: Vec<f64> = (0..count).map(|i| candidates.weight(i)).collect();
    let weight = |i: usize| weights[i];
    let total: f64 = weights.iter().sum();
    let chosen = if sampling.temperature <= 0.0 {
        best
    } else if sampling.truncates() {
        sample_truncated(count, weight, sampling, uniform)
    } else {
        let mut left = uniform * total;
        (0..count)
            .find(|&i| {
                left -= weight(i);
                left < 0.0
            })
            .unwrap_or(best)
    };
    (candidates.token(chosen), candidates.logit(chosen) - max - total.ln() as f32)
}

/// Log-probability of choosing a token by temperature alone. Greedy choice (temperature 0) has log-probability 0 for
/// the most likely token and minus infinity for any other. A token that is not allowed has minus infinity.
///
/// `allowed`: token ids in ascending order; `None` allows all.
pub fn token_log_prob(logits: &[f32], allowed: Option<&[u32]>, temperature: f32, token: u32) -> f32 {
    let candidates = Candidates::new(logits, allowed, temperature);
    let Some(at) = allowed.map_or(Some(token as usize), |allowed| allowed.binary_search(&token).ok()) else {
        return f32::NEG_INFINITY;
    };
    if temperature <= 0.0 {
        return if at == candidates.best { 0.0 } else { f32::NEG_INFINITY };
    }
    let total: f64 = (0..candidates.count).map(|i| candidates.weight(i)).sum();
    candidates.logit(at) - candidates.max - total.ln() as f32
}

/// Tokens that may be chosen, numbered from 0.
struct Candidates<'a> {
    logits: &'a [f32],
    allowed: Option<&'a [u32]>,
    scale: f32,
    count: usize,
    /// First of the most likely candidates.
    best: usize,
    /// Scaled logit of that candidate.
    max: f32,
}

impl<'a> Candidates<'a> {
    fn new(logits: &'a [f32], allowed: Option<&'a [u32]>, temperature: f32) -> Self {
        let scale = if temperature > 0.0 { 1.0 / temperature } else { 1.0 };
        let count = allowed.map_or(logits.len(), <[u32]>::len);
        let mut candidates = Self { logits, allowed, scale, count, best: 0, max: f32::NEG_INFINITY };
        for i in 0..count {
            let logit = candidates.logit(i);
            if logit > candidates.max {
                (candidates.best, candidates.max) = (i, logit);
            }
        }
        candidates
    }

    fn token(&self, i: usize) -> u32 {
        self.allowed.map_or(i as u32, |allowed| allowed[i])
    }

    fn logit(&self, i: usize) -> f32 {
        self.logits[self.token(i) as usize] * self.scale
    }

    fn weight(&self, i: usize) -> f64 {
        f64::from(self.logit(i) - self.max).exp()
    }
}

/// Probability of each token after temperature, top-k, top-p and min-p, in this order: what [`sample_token`] samples from,
/// and transformers for the same settings. Each step renormalises what the one before left.
pub fn sampling_distribution(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    let candidates = Candidates::new(logits, None, sampling.temperature);
    let mut probabilities = vec![0.0; logits.len()];
    if sampling.temperature <= 0.0 {
        probabilities[candidates.best] = 1.0;
        return probabilities;
    }
    let kept = truncated(candidates.count, |i| candidates.weight(i), sampling);
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    kept.into_iter().for_each(|(token, weight)| probabilities[token] = weight / total);
    probabilities
}

/// The candidates that top-k, top-p and min-p keep, the likeliest first. Top-k keeps all that are as likely as the k-th.
fn truncated(count: usize, weight: impl Fn(usize) -> f64, sampling: &Sampling) -> Vec<(usize, f64)> {
    let mut candidates: Vec<(usize, f64)> = (0..count).map(|i| (i, weight(i))).collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let weights: Vec<f64> = candidates.iter().map(|(_, weight)| *weight).collect();
    candidates.truncate(count_kept(&weights, weights.iter().sum(), sampling));
    candidates
}

/// Number of the likeliest candidates that top-k, top-p and min-p keep: `weights` are theirs, descending, and `total` is
/// that of all candidates.
pub(super) fn count_kept(weights: &[f64], mut total: f64, sampling: &Sampling) -> usize {
    let mut count = weights.len();
    if (1..count).contains(&sampling.top_k) {
        let least = weights[sampling.top_k - 1];
        count = weights.partition_point(|weight| *weight >= least);
        total = weights[..count].iter().sum();
    }
    let floor = weights[0] * f64::from(sampling.min_p);
    let nucleus = f64::from(sampling.top_p) * total;
    let mut before = 0.0;
    for (at, &weight) in weights[..count].iter().enumerate() {
        if at > 0 && (before >= nucleus || weight < floor) {
            return at;
        }
        before += weight;
    }
    count
}

/// Samples among the most likely candidates that top-k, top-p and min-p keep.
fn sample_truncated(count: usize, weight: impl Fn(usize) -> f64, sampling: &Sampling, uniform: f64) -> usize {
    let candidates = truncated(count, weight, sampling);
    let kept: f64 = candidates.iter().map(|(_, weight)| weight).sum();
    let mut left = uniform * kept;
    let drawn = candidates.iter().find(|&&(_, weight)| {
        left -= weight;
        left < 0.0
    });
    drawn.unwrap_or(&candidates[0]).0
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, 2.0];

    fn shares(sampling: Sampling, allowed: Option<&[u32]>) -> [f64; 4] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0.0; 4];
        for _ in 0..20_000 {
            counts[sample_token(&LOGITS, allowed, &sampling, &mut rng).0 as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn repeated_tokens_are_penalised_on_both_sides_of_zero() {
        let mut logits = [2.0, -1.0, 0.5, 3.0];
        penalise_repetition(&mut logits, [1, 3, 9], 2.0);
        assert_close!(logits, [2.0, -2.0, 0.5, 1.5], 0.0);
    }

    #[test]
    fn frequencies_are_the_softmax() {
        assert_close!(shares(Sampling::default(), None), [0.0541, 0.4000, 0.1472, 0.4000], 0.015);
        let cold = Sampling { temperature: 0.5, ..Sampling::default() };
        assert_close!(shares(cold, None), [0.0089, 0.4626, 0.0632, 0.4626], 0.015);
        assert_close!(shares(Sampling::default(), Some(&[0, 2])), [0.2689, 0.0, 0.7311, 0.0], 0.015);
    }

    #[test]
    fn truncation_keeps_the_likely_ones() {
        let sampling = Sampling::default();
        assert_close!(shares(Sampling { top_k: 1, ..sampling }, None), [0.0, 0.5, 0.0, 0.5], 0.015);
        assert_close!(shares(Sampling { top_p: 0.85, ..sampling }, None), [0.0, 0.4223, 0.1554, 0.4223], 0.015);
        assert_close!(shares(Sampling { min_p: 0.5, ..sampling }, None), [0.0, 0.5, 0.0, 0.5], 0.015);
    }

    #[test]
    fn log_probs_are_those_of_the_allowed_tokens() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (token, log_prob) = sample_token(&LOGITS, None, &Sampling::GREEDY, &mut rng);
        assert_eq!(token, 1, "a tie goes to the smaller id");
        assert_close!(log_prob.exp(), 0.3995, 1e-4);
        let (token, log_prob) = sample_token(&LOGITS, Some(&[0, 2]), &Sampling::GREEDY, &mut rng);
        assert_eq!(token, 2);
        assert_close!(log_prob.exp(), 0.7311, 1e-4);
        assert_eq!(sample_token(&LOGITS, Some(&[3]), &Sampling::default(), &mut rng), (3, 0.0));
    }

    #[test]
    fn a_token_is_scored_as_it_is_sampled() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for temperature in [0.5, 1.0, 2.0] {
            for allowed in [None, Some(&[0, 2, 3][..])] {
                let sampling = Sampling { temperature, ..Sampling::default() };
                let (token, log_prob) = sample_token(&LOGITS, allowed, &sampling, &mut rng);
                assert_eq!(token_log_prob(&LOGITS, allowed, temperature, token), log_prob);
            }
        }
        let greedy = |token| token_log_prob(&LOGITS, None, 0.0, token);
        assert_eq!([0, 1, 2, 3].map(greedy), [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert_eq!(token_log_prob(&LOGITS, Some(&[0, 2]), 1.0, 3), f32::NEG_INFINITY);
    }

    #[test]
    fn each_cut_renormalises_what_the_one_before_left() {
        let of = |sampling: Sampling| sampling_distribution(&[0.0, 2.0, 1.0, 2.0], &sampling);
        let close = |found: Vec<f64>, expected: [f64; 4]| assert_close!(found, expected, 1e-6);
        // Softmax .054 .400 .147 .400; of the three likeliest .422 .155 .422. Of these the first two reach .84, which of all
        // four they do not: .800.
        let three = Sampling { top_k: 3, top_p: 0.84, ..Sampling::default() };
        close(of(three), [0.0, 0.5, 0.0, 0.5]);
        close(of(Sampling { top_k: 3, top_p: 0.85, ..three }), [0.0, 0.422319, 0.155362, 0.422319]);
        // A tie with the k-th stays.
        close(of(Sampling { top_k: 1, ..Sampling::default() }), [0.0, 0.5, 0.0, 0.5]);
        close(of(Sampling { top_p: 0.0, ..Sampling::default() }), [0.0, 1.0, 0.0, 0.0]);
        close(of(Sampling::GREEDY), [0.0, 1.0, 0.0, 0.0]);
    }
}
