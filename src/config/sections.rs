//! Sections of a run file that belong to no other module: how long to train, and how to evaluate.

use std::path::PathBuf;

use palestra_files::Address;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use palestra_learn::rollout::RolloutConfig;
use palestra_model::Precision;
use palestra_model::optim::Shard;

/// Length of training, and the checkpoints to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of updates, at least 1. Each collects or reads data, and learns from it.
    pub updates: u64,
    /// Passes over the data in place of `updates`, above 0. Only for learners of text and of preferences, whose number of
    /// rows is known; the run begins with the number of updates that it comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Updates from one checkpoint to the next, at least 1. The last update always writes one.
    pub checkpoint_every: u64,
    /// Number of checkpoints to keep, at least 1. The newest are kept.
    pub keep_checkpoints: usize,
    /// Metric whose best update keeps a checkpoint of its own, such as `evaluation/return_mean` or `validation/mean_nll`; the
    /// finished run is evaluated and used by it. A lower value of a loss is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<String>,
    /// Updates from one evaluation to the next, at least 1. If absent, only the finished model is evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// True if the backward pass recomputes the blocks of a language model instead of keeping their activations. Takes
    /// less memory and a longer step.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Precision of the blocks' matrix products and of the activations between them: `f32`, or `bf16`, 16-bit numbers, which
    /// take less memory, and less time where the processor multiplies them. Trained weights, the residual stream, norms,
    /// attention, the output layer and the loss have 32 bits in both; matrices that are not trained are held in 16.
    pub precision: Precision,
    /// Number of threads to compute with, at least 1; if absent, one per core, and the ranks on a machine share its cores.
    /// Another number changes the rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory in bytes that the run may plan with, at least 1; if absent, what the machine has. A run that cannot fit is
    /// refused before it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Division of the optimiser's moments among the ranks of a run on several processes: `none`, or `optimizer` for a share of
    /// each on every rank (ZeRO stage 1). Takes 8 bytes a trained parameter divided by the number of ranks, and changes the
    /// rounding alone.
    #[serde(skip_serializing_if = "Sharding::is_none")]
    pub sharding: Sharding,
    /// Seconds that a rank of a run on several processes waits for another, above 0 and at most 1e6; then all ranks are ended.
    /// The others wait while rank 0 saves.
    pub deadline: f64,
    /// Address of a folder of an object store, such as `s3://bucket/run`, to which each checkpoint is sent with the files of the
    /// run beside it; `--resume` brings the newest back where the run's directory is not there. Absent, nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

/// Parts of training that are divided among the ranks of a run, besides the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharding {
    /// Nothing: each rank holds the whole model and the whole optimiser.
    #[default]
    None,
    /// The moments of the optimiser.
    Optimizer,
}

impl Sharding {
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Share of the optimiser that a rank holds.
    pub fn of_optimizer(self, rank: Shard) -> Shard {
        match self {
            Self::None => Shard::WHOLE,
            Self::Optimizer => rank,
        }
    }
}

/// Evaluation of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Number of episodes to play, at least 1.
    pub episodes: usize,
    /// True to take the likeliest token, false to sample as in the rollouts.
    pub greedy: bool,
    /// File of prompts to evaluate by, in place of those of the environment `completion`. Relative to the run file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Share of the prompts of the environment `completion` that is only evaluated by and never learned from, from 0 to
    /// below 1. A hash of the prompt chooses.
    #[serde(skip_serializing_if = "is_zero")]
    pub held_out: f64,
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            updates: 100,
            epochs: None,
            checkpoint_every: 50,
            keep_checkpoints: 2,
            keep_best: None,
            evaluate_every: None,
            gradient_checkpointing: false,
            precision: Precision::F32,
            threads: None,
            memory: None,
            sharding: Sharding::None,
            deadline: 1800.0,
            upload: None,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { episodes: 100, greedy: true, file: None, held_out: 0.0 }
    }
}

impl TrainConfig {
    /// Turns `epochs`, if set, into the updates of at least as many passes over data that takes `steps_per_epoch`
    /// optimiser steps, `steps` of them an update.
    pub fn resolve_epochs(&mut self, steps_per_epoch: f64, steps: usize) {
        if let Some(epochs) = self.epochs.take() {
            self.updates = (epochs * steps_per_epoch / steps as f64).ceil().max(1.0) as u64;
        }
    }

    /// The address of `upload`.
    ///
    /// # Errors
    /// A text that is no address to write to.
    pub fn upload_address(&self) -> Result<Option<Address>> {
        let Some(text) = &self.upload else { return Ok(None) };
        let wrong = |reason: String| Error::Config(format!("train.upload: {reason}"));
        match Address::parse(text) {
            None => Err(wrong(format!("{text:?} is no address; write one like s3://bucket/run"))),
            Some(Ok(address)) if address.scheme.is_web() => {
                Err(wrong(format!("{address}: a web server is only read from; write an address like s3://bucket/run")))
            }
            Some(address) => address.map(|address| Some(address.folder())).map_err(wrong),
        }
    }

    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        self.upload_address()?;
        Ok(check_ranges(
            "train",
            &[
                ("updates", &self.updates, Range::AT_LEAST_ONE),
                ("epochs", &self.epochs, Range::POSITIVE),
                ("checkpoint_every", &self.checkpoint_every, Range::AT_LEAST_ONE),
                ("keep_checkpoints", &self.keep_checkpoints, Range::AT_LEAST_ONE),
                ("evaluate_every", &self.evaluate_every, Range::AT_LEAST_ONE),
                ("threads", &self.threads, Range::AT_LEAST_ONE),
                ("memory", &self.memory, Range::AT_LEAST_ONE),
                ("deadline", &self.deadline, Range::above_to(0.0, 1e6)),
            ],
        )?)
    }
}

impl EvaluationConfig {
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        check_ranges(
            "evaluation",
            &[
                ("episodes", &self.episodes, Range::AT_LEAST_ONE),
                ("episodes", &self.episodes, EPISODES),
                ("held_out", &self.held_out, Range::from_below(0.0, 1.0)),
            ],
        )?;
        match &self.file {
            Some(file) if self.held_out > 0.0 => Err(Error::Config(format!(
                "evaluation.held_out: {} beside evaluation.file = {:?}, which is held out as a whole; remove one of them",
                self.held_out, file
            ))),
            _ => Ok(()),
        }
    }
}

/// Numbers of episodes, which are in memory at once.
const EPISODES: Range = Range::at_most(1e8);

/// Checks the rollout settings. PPO scores each action under the distribution that it was sampled from, so sampling
/// must not be truncated.
pub(super) fn check_rollout(rollout: &RolloutConfig) -> Result<()> {
    const WHOLE: &str = "which is no limit: PPO learns from samples of the whole distribution";
    let sampling = &rollout.sampling;
    check_ranges(
        "rollout",
        &[
            ("episodes", &rollout.episodes, Range::AT_LEAST_ONE),
            ("episodes", &rollout.episodes, EPISODES),
            ("environments", &rollout.environments, Range::AT_LEAST_ONE),
            ("environments", &rollout.environments, EPISODES),
            ("rows", &rollout.rows.unwrap_or(1), Range::AT_LEAST_ONE),
            ("group", &rollout.group, Range::AT_LEAST_ONE),
            ("max_new_tokens", &rollout.max_new_tokens, Range::AT_LEAST_ONE),
            ("missing_end_penalty", &rollout.missing_end_penalty, Range::AT_LEAST_ZERO),
            ("sampling.temperature", &sampling.temperature, Range::POSITIVE),
            ("sampling.top_k", &sampling.top_k, Range::only(0.0, WHOLE)),
            ("sampling.top_p", &sampling.top_p, Range::only(1.0, WHOLE)),
            ("sampling.min_p", &sampling.min_p, Range::only(0.0, WHOLE)),
        ],
    )?;
    if !rollout.episodes.is_multiple_of(rollout.group) {
        return Err(Error::Config(format!(
            "rollout.episodes: {} is not a multiple of rollout.group = {}",
            rollout.episodes, rollout.group
        )));
    }
    Ok(())
}
