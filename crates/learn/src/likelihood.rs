//! How likely a language model finds a text: mean negative log-likelihood, perplexity, bits per byte.
//!
//! Knows models and batches; knows neither files nor runs.

use std::f64::consts::LN_2;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::batch::{TextBatch, TextRow};
use crate::learners::supervised::text_log_probs;
use palestra_model::Policy;
use palestra_report::Metrics;

/// How likely a text is to a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextScore {
    /// Negative log-likelihood of a token in nats, the mean over tokens.
    pub mean_nll: f64,
    /// `exp(mean_nll)`
    pub perplexity: f64,
    /// Negative log-likelihood of all tokens in bits, over the bytes of text that they stand for: this compares models of
    /// different tokenizers.
    pub bits_per_byte: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Bytes of text that they stand for.
    pub bytes: u64,
}

impl TextScore {
    /// The score of so many nats over tokens and bytes.
    pub fn new(nats: f64, tokens: u64, bytes: u64) -> Self {
        let mean_nll = nats / tokens as f64;
        Self { mean_nll, perplexity: mean_nll.exp(), bits_per_byte: nats / LN_2 / bytes.max(1) as f64, tokens, bytes }
    }

    /// The score as metrics of held-out text.
    pub fn metrics(&self) -> Metrics {
        let named = [
            ("validation/mean_nll", self.mean_nll),
            ("validation/perplexity", self.perplexity),
            ("validation/bits_per_byte", self.bits_per_byte),
        ];
        named.map(|(name, value)| (name.to_string(), value)).into()
    }
}

/// The likelihood of what was read so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Likelihood {
    nats: f64,
    tokens: u64,
    bytes: u64,
}

impl Likelihood {
    /// Reads further rows, so many at once.
    pub fn add(&mut self, policy: &Policy, rows: &[TextRow], batch: usize) {
        let log_probs = log_likelihoods(policy, rows, batch);
        self.nats -= log_probs.iter().flatten().map(|&log_prob| f64::from(log_prob)).sum::<f64>();
        self.tokens += rows.iter().map(|row| row.counted.len() as u64).sum::<u64>();
        self.bytes += rows.iter().map(|row| row.bytes as u64).sum::<u64>();
    }

    /// The score of all of it; `None` where nothing was predicted.
    pub fn score(&self) -> Option<TextScore> {
        (self.tokens > 0).then(|| TextScore::new(self.nats, self.tokens, self.bytes))
    }
}

/// The log-probability of each counted token of each row, so many rows at once.
pub fn log_likelihoods(policy: &Policy, rows: &[TextRow], batch: usize) -> Vec<Vec<f32>> {
    let policy = policy.valid();
    let device: Device = policy.transformer.device();
    let mut all = Vec::with_capacity(rows.len());
    for rows in rows.chunks(batch.max(1)) {
        let log_probs = text_log_probs(&policy, &TextBatch::whole(rows, &device)).into_data();
        let mut log_probs = log_probs.iter::<f32>();
        all.extend(rows.iter().map(|row| log_probs.by_ref().take(row.counted.len()).collect()));
    }
    all
}

impl std::fmt::Display for TextScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean_nll, perplexity, bits_per_byte, tokens, .. } = self;
        write!(
            f,
            "mean negative log-likelihood {mean_nll:.4}, perplexity {perplexity:.3}, {bits_per_byte:.4} bits per byte, over \
             {tokens} tokens"
        )
    }
}
