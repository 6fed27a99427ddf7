//! Likelihood of a text under a language model: mean negative log-likelihood, perplexity, bits per byte.
//!
//! This module knows models and batches; it knows neither files nor runs.

use std::f64::consts::LN_2;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::batch::{TextBatch, TextRow};
use crate::collective::{Collective, gather};
use crate::learners::supervised::text_log_probs;
use palestra_model::Policy;
use palestra_report::Metrics;

/// Likelihood of a text under a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextScore {
    /// Mean negative log-likelihood per token, in nats.
    pub mean_nll: f64,
    /// `exp(mean_nll)`
    pub perplexity: f64,
    /// Negative log-likelihood of all tokens in bits, divided by the bytes of their text; comparable between models
    /// with different tokenizers.
    pub bits_per_byte: f64,
    /// Number of predicted tokens.
    pub tokens: u64,
    /// Number of bytes of their text.
    pub bytes: u64,
}

impl TextScore {
    /// Creates the score from the total negative log-likelihood in nats and the numbers of tokens and bytes.
    pub fn new(nats: f64, tokens: u64, bytes: u64) -> Self {
        let mean_nll = nats / tokens as f64;
        Self { mean_nll, perplexity: mean_nll.exp(), bits_per_byte: nats / LN_2 / bytes.max(1) as f64, tokens, bytes }
    }

    /// Returns the score as metrics of held-out text.
    pub fn metrics(&self) -> Metrics {
        let named = [
            ("validation/mean_nll", self.mean_nll),
            ("validation/perplexity", self.perplexity),
            ("validation/bits_per_byte", self.bits_per_byte),
        ];
        named.map(|(name, value)| (name.to_string(), value)).into()
    }
}

/// Accumulated likelihood of the rows so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Likelihood {
    nats: f64,
    tokens: u64,
    bytes: u64,
}

impl Likelihood {
    /// Adds rows, `batch` at a time.
    pub fn add(&mut self, policy: &Policy, rows: &[TextRow], batch: usize) {
        let log_probs = log_likelihoods(policy, rows, batch);
        self.nats -= log_probs.iter().flatten().map(|&log_prob| f64::from(log_prob)).sum::<f64>();
        self.tokens += rows.iter().map(|row| row.counted.len() as u64).sum::<u64>();
        self.bytes += rows.iter().map(|row| row.bytes as u64).sum::<u64>();
    }

    /// Sum over the ranks, each of which has added its rows.
    ///
    /// # Errors
    /// A rank that takes no part.
    pub fn over_ranks(self, collective: &dyn Collective) -> Result<Self> {
        // As bits, since JSON has no numbers that are not finite.
        let own = (self.nats.to_bits(), self.tokens, self.bytes);
        let add = |sum: Self, (nats, tokens, bytes): (u64, u64, u64)| Self {
            nats: sum.nats + f64::from_bits(nats),
            tokens: sum.tokens + tokens,
            bytes: sum.bytes + bytes,
        };
        Ok(gather(collective, &own)?.into_iter().fold(Self::default(), add))
    }

    /// Score of all rows; `None` if no token was predicted.
    pub fn score(&self) -> Option<TextScore> {
        (self.tokens > 0).then(|| TextScore::new(self.nats, self.tokens, self.bytes))
    }
}

/// Log-probability of each counted token of each row, computed `batch` rows at a time.
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
