//! The sections of a run file that say how to play, learn and save.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How episodes are played to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Episodes for each update, at least 1. More give a steadier gradient and cost as much more time.
    pub episodes: usize,
    /// Environments played side by side, at least 1. More are faster up to the device's limit and take more
    /// memory; they do not change what is sampled.
    pub environments: usize,
    /// What the model reads before it acts.
    pub context: Context,
    /// What logits are divided by, above 0. Higher explores more. Learning scores with the same temperature.
    pub temperature: f64,
    /// Whether only the actions that the environment lists as legal can be sampled.
    pub legal_actions_only: bool,
    /// The most tokens of one action, at least 1; beyond them the action is cut off.
    pub max_new_tokens: usize,
    /// Sample from the `top_k` likeliest tokens only; 0 means from all, and PPO takes no other.
    pub top_k: usize,
}

/// What the model reads before it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    /// The present observation alone.
    Observation,
    /// The whole episode so far, actions included.
    Transcript,
}

/// Proximal policy optimisation ([Schulman et al. 2017](https://arxiv.org/abs/1707.06347)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Passes over the episodes of one update, at least 1. More learn more from them, and move further from the
    /// policy that played them.
    pub epochs: usize,
    /// Gradient steps in a pass, at least 1 and no more than `rollout.episodes`.
    pub minibatches: usize,
    /// Discount from one turn to the next, from 0 to 1.
    pub gamma: f64,
    /// Discount from one token to the next inside an action, from 0 to 1.
    pub gamma_token: f64,
    /// GAE's lambda, from 0 (one-step, biased) to 1 (whole returns, noisy).
    pub lambda: f64,
    /// How far the probability ratio may move from 1 before its gradient is cut, above 0.
    pub clip: f64,
    /// How far the value may move from that of the rollout before its gradient is cut, above 0.
    pub value_clip: f64,
    /// Weight of the value loss, 0 or more: about 0.5 for games, 0.1 for text.
    pub value_coefficient: f64,
    /// Weight of the entropy bonus, 0 or more. Higher explores longer.
    pub entropy_coefficient: f64,
    /// Weight of the divergence from the starting model in the reward, 0 or more; 0 keeps no reference model.
    pub kl_coefficient: f64,
    /// Whether advantages are brought to mean 0 and deviation 1 over the rollout.
    pub whiten_advantages: bool,
}

/// AdamW ([Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101)) and its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The greatest learning rate, above 0.
    pub learning_rate: f64,
    /// Decay of the running means of the gradient and of its square, from 0 up to but not 1.
    pub betas: [f64; 2],
    /// Added to the root of the mean square, above 0.
    pub eps: f64,
    /// Decay of the matrices towards 0, 0 or more; vectors do not decay.
    pub weight_decay: f64,
    /// The norm that a whole gradient is scaled down to, above 0.
    pub max_grad_norm: f64,
    /// Gradient steps over which the learning rate rises from 0.
    pub warmup_steps: usize,
    /// How the learning rate falls afterwards.
    pub schedule: Schedule,
    /// The fraction of the learning rate that is left at the end, from 0 to 1.
    pub final_fraction: f64,
}

/// How the learning rate falls over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// In a straight line.
    Linear,
    /// As half a cosine wave.
    Cosine,
}

/// How long to train, and what to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// How many times to play and learn, at least 1.
    pub updates: usize,
    /// Updates from one checkpoint to the next, at least 1. The last update always makes one.
    pub checkpoint_every: usize,
    /// How many checkpoints to keep, the newest, at least 1.
    pub keep_checkpoints: usize,
    /// Updates from one evaluation to the next, at least 1; absent, only the finished model is evaluated.
    pub evaluate_every: Option<usize>,
    /// Threads to compute with, at least 1; absent, one for each core. Another number gives other roundings.
    pub threads: Option<usize>,
}

/// How a model is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Episodes to play, at least 1.
    pub episodes: usize,
    /// Whether the likeliest token is taken, rather than one sampled as in the rollouts.
    pub greedy: bool,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            episodes: 64,
            environments: 64,
            context: Context::Observation,
            temperature: 1.0,
            legal_actions_only: false,
            max_new_tokens: 16,
            top_k: 0,
        }
    }
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            epochs: 4,
            minibatches: 4,
            gamma: 0.99,
            gamma_token: 1.0,
            lambda: 0.95,
            clip: 0.2,
            value_clip: 0.2,
            value_coefficient: 0.5,
            entropy_coefficient: 0.0,
            kl_coefficient: 0.0,
            whiten_advantages: true,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            betas: [0.9, 0.95],
            eps: 1e-5,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            warmup_steps: 0,
            schedule: Schedule::Linear,
            final_fraction: 0.0,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self { updates: 100, checkpoint_every: 50, keep_checkpoints: 2, evaluate_every: None, threads: None }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { episodes: 100, greedy: true }
    }
}

impl RolloutConfig {
    /// # Errors
    /// Names the field, its value and what would be right; so do the other sections' `check`.
    pub fn check(&self) -> Result<()> {
        at_least_one("rollout.episodes", self.episodes)?;
        at_least_one("rollout.environments", self.environments)?;
        at_least_one("rollout.max_new_tokens", self.max_new_tokens)?;
        above_zero("rollout.temperature", self.temperature)
    }
}

impl PpoConfig {
    /// # Errors
    /// As [`RolloutConfig::check`]; also where the rollouts are none that PPO can learn from.
    pub fn check(&self, rollout: &RolloutConfig) -> Result<()> {
        if rollout.top_k != 0 {
            return Err(Error::Config(format!(
                "rollout.top_k: {} cannot be used with PPO, which scores actions with the whole distribution; it must be 0",
                rollout.top_k
            )));
        }
        at_least_one("ppo.epochs", self.epochs)?;
        at_least_one("ppo.minibatches", self.minibatches)?;
        if self.minibatches > rollout.episodes {
            return Err(Error::Config(format!(
                "ppo.minibatches: {} is more than rollout.episodes = {}",
                self.minibatches, rollout.episodes
            )));
        }
        for (field, value) in [("gamma", self.gamma), ("gamma_token", self.gamma_token), ("lambda", self.lambda)] {
            fraction(&format!("ppo.{field}"), value)?;
        }
        above_zero("ppo.clip", self.clip)?;
        above_zero("ppo.value_clip", self.value_clip)?;
        not_negative("ppo.value_coefficient", self.value_coefficient)?;
        not_negative("ppo.entropy_coefficient", self.entropy_coefficient)?;
        not_negative("ppo.kl_coefficient", self.kl_coefficient)
    }
}

impl OptimizerConfig {
    /// # Errors
    /// As [`RolloutConfig::check`].
    pub fn check(&self) -> Result<()> {
        above_zero("optimizer.learning_rate", self.learning_rate)?;
        for (index, beta) in self.betas.into_iter().enumerate() {
            let field = format!("optimizer.betas[{index}]");
            check(&field, beta, (0.0..1.0).contains(&beta), "at least 0 and less than 1")?;
        }
        above_zero("optimizer.eps", self.eps)?;
        not_negative("optimizer.weight_decay", self.weight_decay)?;
        above_zero("optimizer.max_grad_norm", self.max_grad_norm)?;
        fraction("optimizer.final_fraction", self.final_fraction)
    }
}

impl TrainConfig {
    /// # Errors
    /// As [`RolloutConfig::check`].
    pub fn check(&self) -> Result<()> {
        at_least_one("train.updates", self.updates)?;
        at_least_one("train.checkpoint_every", self.checkpoint_every)?;
        at_least_one("train.keep_checkpoints", self.keep_checkpoints)?;
        at_least_one("train.evaluate_every", self.evaluate_every.unwrap_or(1))?;
        at_least_one("train.threads", self.threads.unwrap_or(1))
    }
}

impl EvaluationConfig {
    /// # Errors
    /// As [`RolloutConfig::check`].
    pub fn check(&self) -> Result<()> {
        at_least_one("evaluation.episodes", self.episodes)
    }
}

fn check(field: &str, value: impl Display, right: bool, range: &str) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Config(format!("{field}: {value} is out of range; it must be {range}"))) }
}

fn at_least_one(field: &str, value: usize) -> Result<()> {
    check(field, value, value >= 1, "at least 1")
}

fn above_zero(field: &str, value: f64) -> Result<()> {
    check(field, value, value > 0.0 && value.is_finite(), "above 0")
}

fn not_negative(field: &str, value: f64) -> Result<()> {
    check(field, value, value >= 0.0 && value.is_finite(), "0 or more")
}

fn fraction(field: &str, value: f64) -> Result<()> {
    check(field, value, (0.0..=1.0).contains(&value), "from 0 to 1")
}
