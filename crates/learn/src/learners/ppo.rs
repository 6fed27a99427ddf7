//! Proximal policy optimisation ([Schulman et al. 2017](https://arxiv.org/abs/1707.06347)) on action tokens.
//!
//! `loss = mean max(-A rho, -A clip(rho)) + c_v mean value_loss - c_e mean entropy`, with means over the action tokens
//! of the batch. Advantages come from GAE over each episode's chain of action tokens, whitened over all collected
//! samples.
//!
//! ```text
//! repeat for each update                                          train.rs
//!     play episodes with the policy                               source/on_policy.rs, rollout.rs
//!         read observations as tokens                             encoder.rs
//!         write actions, keep log-probabilities and values        palestra_model::generate
//!         score whole episodes, put rewards on tokens             rollout/scoring.rs, trajectory.rs
//!     score the tokens by the reference policy                    source/on_policy.rs
//!     take beta KL off each token's reward, compute GAE           ppo.rs (prepare), math/advantage.rs
//!     whiten the advantages                                       on_policy.rs
//!     for each epoch, for each batch of samples                   source/on_policy.rs
//!         pad and mask                                            batch.rs
//!         evaluate the actions: log-probabilities, values         learners.rs (evaluate_actions)
//!         clipped policy loss, value loss, entropy                ppo.rs (loss), math/policy_gradient.rs
//!         add the gradients of the parts, divide, clip, step      learners.rs (batch_gradients), optim.rs
//!         drop the rest where the policy moved too far            source/on_policy.rs
//!     log, evaluate, save                                         palestra::train_run
//! ```

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::on_policy::{Clip, OnPolicy, Passes, clipped_policy, objective, sample, whiten_advantages};
use super::{Learner, LearnerConfig, LearnsFromPlay, Loss, Sum, entropy_use, evaluate_actions};
use crate::batch::{ActionBatch, Sample};
use crate::trajectory::{ActionToken, Trajectory};
use crate::{Error, Result};
use palestra_model::math::{AdaptiveKl, clipped_value_loss, gae, kl_k1};
use palestra_model::{Heads, Policy};
use palestra_report::Metrics;

/// Hyperparameters of PPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Number of epochs over the collected samples, at least 1; usually 3 to 10.
    pub epochs: usize,
    /// Samples (turns with context `observation`, episodes with `transcript`) per optimiser step, at least 1.
    pub batch: usize,
    /// Samples per forward pass, to save memory; 0: the whole batch.
    pub micro_batch: usize,
    /// Discount from turn to turn, 0 to 1.
    pub gamma: f32,
    /// Discount from token to token inside a turn, 0 to 1; 1 makes the horizon independent of the tokenizer.
    pub gamma_token: f32,
    /// Lambda of GAE, 0 to 1: 0 relies on the values, 1 on the returns.
    pub lambda: f32,
    /// Clip range of the probability ratio around 1, above 0, beyond which its gradient stops.
    pub clip: f32,
    /// Bound on the loss of negative advantages, above 1, usually 3; 0 for none.
    pub dual_clip: f32,
    /// Clip range of a value around its value at sampling time, at least 0, beyond which its gradient stops; 0 for no
    /// clipping.
    pub value_clip: f32,
    /// Weight of the value loss, at least 0: 0.1 for text, 0.5 for games.
    pub value_coefficient: f32,
    /// Weight of the entropy bonus, at least 0; larger values keep the policy exploring.
    pub entropy_coefficient: f32,
    /// Final weight of the entropy bonus, at least 0: the weight changes linearly to it over the run.
    pub final_entropy_coefficient: Option<f32>,
    /// Approximate KL from the sampling policy at which the remaining samples are dropped, at least 0; 0 for
    /// never.
    pub target_kl: f32,
    /// True if advantages are whitened over the collected samples.
    pub whiten_advantages: bool,
    /// Weight of the KL penalty against the policy that the run started from, at least 0; 0 for none.
    pub kl_coefficient: f64,
    /// Target KL of an episode, in nats, of the adaptive KL weight, at least 0; 0 keeps the weight fixed.
    pub kl_target: f64,
    /// Episodes over which an adaptive KL weight can change by its own size, above 0.
    pub kl_horizon: f64,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            epochs: 4,
            batch: 512,
            micro_batch: 0,
            gamma: 1.0,
            gamma_token: 1.0,
            lambda: 0.95,
            clip: 0.2,
            dual_clip: 0.0,
            value_clip: 0.2,
            value_coefficient: 0.5,
            entropy_coefficient: 0.0,
            final_entropy_coefficient: None,
            target_kl: 0.0,
            whiten_advantages: true,
            kl_coefficient: 0.0,
            kl_target: 0.0,
            kl_horizon: 10_000.0,
        }
    }
}

impl LearnerConfig for PpoConfig {
    fn check(&self) -> Result<()> {
        check_ranges(
            "ppo",
            &[
                ("epochs", &self.epochs, Range::AT_LEAST_ONE),
                ("batch", &self.batch, Range::AT_LEAST_ONE),
                ("gamma", &self.gamma, Range::UNIT),
                ("gamma_token", &self.gamma_token, Range::UNIT),
                ("lambda", &self.lambda, Range::UNIT),
                ("clip", &self.clip, Range::POSITIVE.or(f64::INFINITY, "no clipping")),
                ("dual_clip", &self.dual_clip, Range::above(1.0).or(0.0, "none")),
                ("kl_horizon", &self.kl_horizon, Range::POSITIVE),
                ("kl_coefficient", &self.kl_coefficient, Range::AT_LEAST_ZERO),
                ("kl_target", &self.kl_target, Range::AT_LEAST_ZERO),
                ("target_kl", &self.target_kl, Range::AT_LEAST_ZERO),
                ("value_clip", &self.value_clip, Range::AT_LEAST_ZERO),
                ("value_coefficient", &self.value_coefficient, Range::AT_LEAST_ZERO),
                ("entropy_coefficient", &self.entropy_coefficient, Range::AT_LEAST_ZERO),
                ("final_entropy_coefficient", &self.final_entropy_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?;
        if self.kl_target > 0.0 && self.kl_coefficient == 0.0 {
            return Err(Error::Config(
                "ppo.kl_coefficient: 0 is not above 0, which ppo.kl_target needs to start from".into(),
            ));
        }
        Ok(())
    }

    fn heads(&self) -> Heads {
        Heads { value: true, critic: None }
    }
}

impl LearnsFromPlay for PpoConfig {
    fn kl_coefficient(&self) -> f64 {
        self.kl_coefficient
    }

    fn build(&self, temperature: f32, _max_new_tokens: usize) -> Result<Box<dyn OnPolicy>> {
        Ok(Box::new(Ppo::new(self.clone(), temperature)?))
    }
}

/// PPO learner: its hyperparameters, and the coefficients that change during the run.
pub struct Ppo {
    config: PpoConfig,
    /// Sampling temperature: the logits were divided by it.
    temperature: f32,
    entropy_coefficient: f32,
    kl: AdaptiveKl,
}

impl Ppo {
    /// Creates a PPO learner for samples drawn at this temperature.
    ///
    /// # Errors
    /// A knob that PPO cannot work with.
    pub fn new(config: PpoConfig, temperature: f32) -> Result<Self> {
        config.check()?;
        let kl = AdaptiveKl { beta: config.kl_coefficient, target: config.kl_target, horizon: config.kl_horizon };
        Ok(Self { entropy_coefficient: config.entropy_coefficient, config, temperature, kl })
    }

    /// Rewards of a trajectory, less the KL penalty of each token.
    fn rewards(&self, trajectory: &Trajectory) -> Vec<f32> {
        let penalty = |log_ratio: f32| (self.kl.beta * f64::from(kl_k1(log_ratio))) as f32;
        let reward = |action: &ActionToken| action.reward - action.log_ratio().map_or(0.0, penalty);
        trajectory.actions().map(reward).collect()
    }
}

impl Learner for Ppo {
    type Model = Policy;
    type Batch = ActionBatch;

    fn set_progress(&mut self, fraction: f64) {
        let (first, last) = (self.config.entropy_coefficient, self.config.final_entropy_coefficient);
        self.entropy_coefficient = last.map_or(first, |last| first + (last - first) * fraction as f32);
    }

    fn loss(&self, model: &Policy, batch: ActionBatch, _: &[Tensor<1>]) -> Loss {
        let PpoConfig { clip, dual_clip, value_clip, value_coefficient, .. } = self.config;
        let evaluation = evaluate_actions(model, &batch, self.temperature, entropy_use(self.entropy_coefficient));
        // Each mean is over the action tokens of the whole batch, so that parts of it add up.
        let mean = |values: Tensor<1>| Sum::of(values, batch.token_count as f64);

        let dual = (dual_clip > 0.0).then_some(dual_clip);
        let (losses, mut metrics) =
            clipped_policy(evaluation.log_probs.clone(), &batch, Clip { low: clip, high: clip, dual });
        let mut total = mean(losses);
        metrics.push(("loss/policy_avg", total.clone().detach()));
        if let Some(entropy) = evaluation.entropy {
            let entropy = mean(entropy);
            metrics.push(("policy/entropy_avg", entropy.clone().detach()));
            total = total - entropy.mul_scalar(self.entropy_coefficient);
        }
        if let Some(values) = evaluation.values {
            let moved = (values.clone().detach() - batch.values.clone()).abs();
            let value_clip = (value_clip > 0.0).then_some(value_clip);
            let value_loss = mean(clipped_value_loss(values, batch.values, batch.returns, value_clip));
            total = total + value_loss.clone().mul_scalar(value_coefficient);
            metrics.push(("loss/value_avg", value_loss.detach()));
            if let Some(epsilon) = value_clip {
                metrics.push(("val/clipfrac_avg", mean(moved.greater_scalar(epsilon).float())));
            }
        }
        Loss { total, metrics }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({ "kl_beta": self.kl.beta })
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        self.kl.beta = state["kl_beta"]
            .as_f64()
            .ok_or_else(|| Error::Training(format!("the learner's state {state} has no number kl_beta")))?;
        Ok(())
    }
}

impl OnPolicy for Ppo {
    fn prepare(&mut self, trajectories: &[Trajectory]) -> (Vec<Sample>, Metrics) {
        let mut samples = Vec::new();
        for trajectory in trajectories {
            let values: Vec<f32> = trajectory.actions().map(|action| action.value).collect();
            let discounts = trajectory.discounts(self.config.gamma, self.config.gamma_token);
            let rewards = self.rewards(trajectory);
            let (advantages, returns) = gae(&rewards, &values, &discounts, trajectory.last_value, self.config.lambda);
            let mut from = 0;
            for segment in &trajectory.segments {
                let to = from + segment.actions.len();
                samples.push(sample(segment, &advantages[from..to], &returns[from..to], 1.0));
                from = to;
            }
        }
        let mut metrics = Metrics::from([("val/explained_variance".to_string(), explained_variance(&samples))]);
        metrics.extend(objective(trajectories, self.kl.beta));
        if let Some(kl) = metrics.get("objective/kl").filter(|_| self.kl.target > 0.0) {
            self.kl.update(*kl, trajectories.len());
        }
        if self.config.whiten_advantages {
            whiten_advantages(&mut samples);
        }
        (samples, metrics)
    }

    fn passes(&self) -> Passes {
        Passes::new(self.config.epochs, self.config.batch, self.config.micro_batch)
    }

    fn has_moved_too_far(&self, step: &Metrics) -> bool {
        let kl = step.get("policy/approxkl_avg").copied().unwrap_or(0.0);
        self.config.target_kl > 0.0 && kl > f64::from(self.config.target_kl)
    }
}

/// Explained variance `1 - Var(R - V) / Var(R)`: 1 if the values predict the returns, 0 if they carry no information.
fn explained_variance(samples: &[Sample]) -> f64 {
    let returns = || samples.iter().flat_map(|sample| &sample.returns).map(|&x| f64::from(x));
    let values = || samples.iter().flat_map(|sample| &sample.values).map(|&x| f64::from(x));
    let variance = |numbers: &mut dyn Iterator<Item = f64>| {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        numbers.for_each(|x| (count, sum, squares) = (count + 1.0, sum + x, squares + x * x));
        squares / count - (sum / count) * (sum / count)
    };
    1.0 - variance(&mut returns().zip(values()).map(|(r, v)| r - v)) / variance(&mut returns()).max(1e-12)
}

#[cfg(test)]
mod tests;
