//! Learners that compare each completion with others of the same prompt or rollout, and need no values: GRPO
//! ([Shao et al. 2024](https://arxiv.org/abs/2402.03300)), Dr. GRPO, RLOO, DAPO's clipping
//! ([Yu et al. 2025](https://arxiv.org/abs/2503.14476)), GSPO, CISPO and REINFORCE++.
//!
//! `loss = sum_t w_t (surrogate_t + beta k3_t - c_e entropy_t) / count`, where `surrogate` is
//! `max(-A rho, -A clip(rho, 1 - low, 1 + high))` or CISPO's. All tokens of an episode have its advantage; the weights `w` and
//! the count are those of the aggregation, for entropy and KL as for the surrogate.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::on_policy::{Clip, OnPolicy, Passes, clipped_policy, objective, sample, whiten_advantages};
use super::{Learner, LearnerConfig, LearnsFromPlay, Loss, Sum, entropy_use, evaluate_actions};
use crate::Result;
use crate::batch::{ActionBatch, Sample};
use crate::trajectory::Trajectory;
use palestra_model::Policy;
use palestra_model::math::{Aggregation, GroupAdvantage, cispo_loss, kl_k3_tokens, sequence_means, standard_deviation};
use palestra_report::Metrics;

/// Hyperparameters of group learners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// Number of epochs over the collected samples, at least 1; usually 1 to 4.
    pub epochs: usize,
    /// Samples (turns with context `observation`, episodes with `transcript`) per optimiser step, at least 1.
    pub batch: usize,
    /// Samples per forward pass, to save memory; 0: the whole batch.
    pub micro_batch: usize,
    /// Advantage estimator: `grpo`, `dr_grpo`, `rloo`, `reinforce_plus_plus` or `reinforce_plus_plus_baseline`.
    pub advantage: GroupAdvantage,
    /// Aggregation of token losses into one loss: `token_mean`, `sequence_mean_token_mean`, `sequence_mean_token_sum`
    /// or `constant`.
    pub aggregation: Aggregation,
    /// Importance ratio of a token: its own (`token`), or that of its whole sequence (`sequence`, GSPO).
    pub importance_sampling_level: ImportanceLevel,
    /// Surrogate of the policy gradient: PPO's `clip`, or `cispo`, whose clipped weight has no gradient.
    pub surrogate: Surrogate,
    /// True to leave answers out of the loss that reached `rollout.max_new_tokens` without their end. Their scores still count
    /// in the baseline of their group.
    pub mask_truncated_completions: bool,
    /// Lower clip range, above 0 and below 1: the gradient stops when the probability ratio falls below `1 - clip_low`.
    pub clip_low: f32,
    /// Upper clip range, above 0: the gradient stops when the ratio rises above `1 + clip_high`. A value above `clip_low`
    /// lets unlikely tokens grow (DAPO: 0.28).
    pub clip_high: f32,
    /// Weight of the KL (k3) penalty against the policy that the run started from, at least 0; 0 for none.
    pub kl_coefficient: f32,
    /// Weight of the entropy bonus, at least 0; larger values keep the policy exploring.
    pub entropy_coefficient: f32,
}

/// Level of the importance ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportanceLevel {
    /// Ratio of each token.
    Token,
    /// Geometric mean of the ratios of a sequence (GSPO, [Zheng et al. 2025](https://arxiv.org/abs/2507.18071)); clip ranges
    /// of 3e-4 and 4e-4 are customary.
    Sequence,
}

/// Surrogate of the policy gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surrogate {
    /// PPO's clipped ratio.
    Clip,
    /// Clipped importance weight without a gradient ([MiniMax-M1 2025](https://arxiv.org/abs/2506.13585)).
    Cispo,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            epochs: 1,
            batch: 64,
            micro_batch: 0,
            advantage: GroupAdvantage::Grpo,
            aggregation: Aggregation::TokenMean,
            importance_sampling_level: ImportanceLevel::Token,
            surrogate: Surrogate::Clip,
            mask_truncated_completions: false,
            clip_low: 0.2,
            clip_high: 0.2,
            kl_coefficient: 0.0,
            entropy_coefficient: 0.0,
        }
    }
}

impl LearnerConfig for GroupConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "grpo",
            &[
                ("epochs", &self.epochs, Range::AT_LEAST_ONE),
                ("batch", &self.batch, Range::AT_LEAST_ONE),
                ("clip_low", &self.clip_low, Range::OPEN_UNIT),
                ("clip_high", &self.clip_high, Range::POSITIVE.or(f64::INFINITY, "no clipping")),
                ("kl_coefficient", &self.kl_coefficient, Range::AT_LEAST_ZERO),
                ("entropy_coefficient", &self.entropy_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?)
    }
}

impl LearnsFromPlay for GroupConfig {
    fn kl_coefficient(&self) -> f64 {
        self.kl_coefficient.into()
    }

    fn min_group(&self) -> usize {
        if self.advantage.needs_no_group() { 1 } else { 2 }
    }

    fn build(&self, temperature: f32, max_new_tokens: usize) -> Result<Box<dyn OnPolicy>> {
        Ok(Box::new(Group::new(self.clone(), temperature, max_new_tokens)?))
    }
}

/// Group learner.
pub struct Group {
    config: GroupConfig,
    /// Sampling temperature: the logits were divided by it.
    temperature: f32,
    /// Max length of a completion, in tokens.
    longest: usize,
}

impl Group {
    /// Creates a group learner for completions up to the given max length, sampled at the given temperature.
    ///
    /// # Errors
    /// A knob that it cannot work with.
    pub fn new(config: GroupConfig, temperature: f32, longest: usize) -> Result<Self> {
        config.check()?;
        Ok(Self { config, temperature, longest })
    }

    /// Advantage of each episode within its group; `None` if the group has no other episode left to compare with.
    fn advantages(&self, trajectories: &[Trajectory]) -> (Vec<Option<f32>>, Metrics) {
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, trajectory) in trajectories.iter().enumerate() {
            groups.entry(trajectory.group).or_default().push(at);
        }
        let mut advantages = vec![None; trajectories.len()];
        let mut deviations = Vec::new();
        let least = if self.config.advantage.needs_no_group() { 1 } else { 2 };
        for members in groups.values().filter(|members| members.len() >= least) {
            let scores: Vec<f32> = members.iter().map(|&at| trajectories[at].total_reward()).collect();
            deviations.push(f64::from(standard_deviation(&scores)));
            for (&at, advantage) in members.iter().zip(self.config.advantage.of(&scores)) {
                advantages[at] = Some(advantage);
            }
        }
        let count = deviations.len().max(1) as f64;
        let equal = deviations.iter().filter(|deviation| **deviation == 0.0).count() as f64;
        let metrics = [
            ("objective/reward_std", deviations.iter().sum::<f64>() / count),
            ("objective/frac_reward_zero_std", equal / count),
            ("objective/alone_in_group", advantages.iter().filter(|advantage| advantage.is_none()).count() as f64),
        ];
        (advantages, metrics.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }
}

impl Learner for Group {
    type Model = Policy;
    type Batch = ActionBatch;

    fn loss(&self, model: &Policy, batch: ActionBatch, _: &[Tensor<1>]) -> Loss {
        let GroupConfig { clip_low: low, clip_high: high, kl_coefficient, entropy_coefficient, .. } = self.config;
        let evaluation = evaluate_actions(model, &batch, self.temperature, entropy_use(entropy_coefficient));
        let mean = |values: Tensor<1>| Sum::of(values, batch.token_count as f64);
        let count = self.config.aggregation.count(batch.token_count, batch.sample_count);
        let weighted = |values: Tensor<1>| Sum::of(values * batch.weights.clone(), count);

        let mut scored = evaluation.log_probs.clone();
        if self.config.importance_sampling_level == ImportanceLevel::Sequence {
            let log_ratio = scored - batch.log_probs.clone();
            scored = batch.log_probs.clone() + sequence_means(log_ratio, batch.samples.clone(), batch.sample_count);
        }
        let (mut losses, mut metrics) = clipped_policy(scored.clone(), &batch, Clip { low, high, dual: None });
        if self.config.surrogate == Surrogate::Cispo {
            losses = cispo_loss(scored, batch.log_probs.clone(), batch.advantages.clone(), high);
        }
        let mut total = weighted(losses);
        metrics.push(("loss/policy_avg", total.clone().detach()));
        if let Some(reference) = &batch.reference_log_probs {
            let kl = kl_k3_tokens(evaluation.log_probs.clone() - reference.clone());
            metrics.push(("policy/kl_avg", mean(kl.clone().detach())));
            if kl_coefficient > 0.0 {
                total = total + weighted(kl).mul_scalar(kl_coefficient);
            }
        }
        if let Some(entropy) = evaluation.entropy {
            metrics.push(("policy/entropy_avg", mean(entropy.clone().detach())));
            total = total - weighted(entropy).mul_scalar(entropy_coefficient);
        }
        Loss { total, metrics }
    }
}

impl OnPolicy for Group {
    fn prepare(&mut self, trajectories: &[Trajectory]) -> (Vec<Sample>, Metrics) {
        let (advantages, mut metrics) = self.advantages(trajectories);
        metrics.extend(objective(trajectories, self.config.kl_coefficient.into()));
        let is_masked = |trajectory: &Trajectory| self.config.mask_truncated_completions && trajectory.is_cut;
        let masked = trajectories.iter().filter(|trajectory| is_masked(trajectory)).count();
        metrics.insert("objective/truncated_masked".into(), masked as f64);
        let held = trajectories.iter().zip(advantages).filter(|(trajectory, _)| !is_masked(trajectory));
        let held = held.filter_map(|(trajectory, own)| Some((trajectory, own?)));
        let segments = held.flat_map(|(trajectory, own)| trajectory.segments.iter().map(move |segment| (segment, own)));
        let samples = segments.map(|(segment, own)| {
            let count = segment.actions.len();
            let weight = self.config.aggregation.token_weight(count, self.longest);
            sample(segment, &vec![own; count], &vec![0.0; count], weight)
        });
        let mut samples: Vec<Sample> = samples.collect();
        if self.config.advantage.is_normalised_globally() {
            whiten_advantages(&mut samples);
        }
        (samples, metrics)
    }

    fn passes(&self) -> Passes {
        Passes::new(self.config.epochs, self.config.batch, self.config.micro_batch)
    }
}

#[cfg(test)]
mod tests;
