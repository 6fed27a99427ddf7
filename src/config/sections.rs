//! Sections of a run file that belong to no other module: how long to train, and how to evaluate.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use palestra_learn::rollout::RolloutConfig;

/// Length of training, and the checkpoints to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of updates, at least 1. Each collects or reads data, and learns from it.
    pub updates: u64,
    /// Updates from one checkpoint to the next, at least 1. The last update always writes one.
    pub checkpoint_every: u64,
    /// Number of checkpoints to keep, at least 1. The newest are kept.
    pub keep_checkpoints: usize,
    /// Updates from one evaluation to the next, at least 1. If absent, only the finished model is evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// True if the backward pass recomputes the blocks of a language model instead of keeping their activations. Takes
    /// less memory and a longer step. Only for learners of text and of preferences.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Number of threads to compute with, at least 1; if absent, one per core. Another number changes the rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

/// Evaluation of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Number of episodes to play, at least 1.
    pub episodes: usize,
    /// True to take the likeliest token, false to sample as in the rollouts.
    pub greedy: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            updates: 100,
            checkpoint_every: 50,
            keep_checkpoints: 2,
            evaluate_every: None,
            gradient_checkpointing: false,
            threads: None,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { episodes: 100, greedy: true }
    }
}

impl TrainConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        at_least_one("train.updates", self.updates)?;
        at_least_one("train.checkpoint_every", self.checkpoint_every)?;
        at_least_one("train.keep_checkpoints", self.keep_checkpoints as u64)?;
        at_least_one("train.evaluate_every", self.evaluate_every.unwrap_or(1))?;
        at_least_one("train.threads", self.threads.unwrap_or(1) as u64)
    }
}

impl EvaluationConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        at_least_one("evaluation.episodes", self.episodes as u64)
    }
}

/// Checks the rollout settings. PPO scores each action under the distribution that it was sampled from, so sampling
/// must not be truncated.
pub(super) fn check_rollout(rollout: &RolloutConfig) -> Result<()> {
    at_least_one("rollout.episodes", rollout.episodes as u64)?;
    at_least_one("rollout.environments", rollout.environments as u64)?;
    at_least_one("rollout.group", rollout.group as u64)?;
    refuse_unless(
        rollout.episodes.is_multiple_of(rollout.group),
        "rollout.episodes",
        rollout.episodes,
        &format!("a multiple of rollout.group = {}", rollout.group),
    )?;
    at_least_one("rollout.max_new_tokens", rollout.max_new_tokens as u64)?;
    let penalty = rollout.missing_end_penalty;
    refuse_unless(penalty >= 0.0 && penalty.is_finite(), "rollout.missing_end_penalty", penalty, "0 or above")?;
    let sampling = &rollout.sampling;
    let temperature = sampling.temperature;
    refuse_unless(
        temperature > 0.0 && temperature.is_finite(),
        "rollout.sampling.temperature",
        temperature,
        "above 0",
    )?;
    let whole = "which is no limit: PPO learns from samples of the whole distribution";
    refuse_unless(sampling.top_k == 0, "rollout.sampling.top_k", sampling.top_k, &format!("0, {whole}"))?;
    refuse_unless(sampling.top_p >= 1.0, "rollout.sampling.top_p", sampling.top_p, &format!("1, {whole}"))?;
    refuse_unless(sampling.min_p == 0.0, "rollout.sampling.min_p", sampling.min_p, &format!("0, {whole}"))
}

fn at_least_one(field: &str, value: u64) -> Result<()> {
    refuse_unless(value >= 1, field, value, "at least 1")
}

fn refuse_unless(right: bool, field: &str, value: impl Display, range: &str) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Config(format!("{field}: {value} is not {range}"))) }
}
