//! Reward models: a score for each answer that agrees with human preferences.
//!
//! A linear head reads the score at the answer's last token. A step's loss is the mean over its preference data:
//! - of pairs, `-log s(r_chosen - r_rejected - margin)`, in a tie that of probability 1/2
//!   ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), eq. 1), and optionally `center_rewards_coefficient (r_chosen + r_rejected)^2`;
//! - of a choice among several, `-log softmax(r)[best]` ([Ziegler et al. 2019](https://arxiv.org/abs/1909.08593), eq. 1);
//! - of labels, `-log s(r)` of a good answer and `-log s(-r)` of a bad one;
//! - of ratings, `(r - rating)^2`.
//!
//! Pairs do not determine the offset of a score, and hardly its scale. After the last update the head is rescaled so
//! that known answers have mean 0 and standard deviation 1, as the training of a policy expects. Adapters are then
//! merged, so that a reward model can be loaded without other files.

use std::sync::Arc;

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::preference::{Objective, Reading, pair_metrics, read_answers};
use super::{HeadStart, LearnerConfig, LearnsFromPreferences, Loss, PreferenceKinds, Sum};
use crate::Result;
use crate::batch::{PreferenceBatch, TextRow};
use palestra_model::math::preference::{best_of_nll, centring, preference_nll, rating_error};
use palestra_model::{Heads, Policy, lora};

/// Hyperparameters of a reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardModelConfig {
    /// Initialisation of a new score head; a score head from a checkpoint is trained further.
    pub head: HeadStart,
    /// Factor of the margins that a file gives, at least 0; 0 ignores them.
    pub margin_scale: f32,
    /// Weight of the term that keeps the mean score at 0, at least 0; 0.01 is customary.
    pub center_rewards_coefficient: f32,
    /// True if the head is rescaled after training, so that held-out answers have scores of mean 0 and standard
    /// deviation 1.
    pub normalise: bool,
}

impl Default for RewardModelConfig {
    fn default() -> Self {
        Self { head: HeadStart::Zero, margin_scale: 1.0, center_rewards_coefficient: 0.0, normalise: true }
    }
}

impl LearnerConfig for RewardModelConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "reward_model",
            &[
                ("margin_scale", &self.margin_scale, Range::AT_LEAST_ZERO),
                ("center_rewards_coefficient", &self.center_rewards_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?)
    }

    fn heads(&self) -> Heads {
        Heads { value: true, critic: None }
    }
}

impl LearnsFromPreferences for RewardModelConfig {
    fn kinds(&self) -> PreferenceKinds {
        PreferenceKinds::All
    }

    fn score_head(&self) -> Option<HeadStart> {
        Some(self.head)
    }

    fn objective(&self, known_answers: Vec<TextRow>) -> Arc<dyn Objective> {
        Arc::new(RewardModelObjective { config: self.clone(), known_answers })
    }
}

/// Objective of a reward model.
pub struct RewardModelObjective {
    /// Hyperparameters.
    pub config: RewardModelConfig,
    /// Answers whose scores are normalised after training.
    pub known_answers: Vec<TextRow>,
}

impl Objective for RewardModelObjective {
    fn reading(&self) -> Reading {
        Reading::Score
    }

    fn rewards(&self, numbers: Tensor<1>, _: Option<Tensor<1>>, _: Tensor<1>) -> Tensor<1> {
        numbers
    }

    fn loss(&self, scores: Tensor<1>, _: &[Tensor<1>], batch: &PreferenceBatch) -> Loss {
        let mut losses = Vec::new();
        if let Some(pairs) = &batch.pairs {
            let (chosen, rejected) = pairs.sides(&scores);
            let margins = pairs.margins.clone().mul_scalar(self.config.margin_scale);
            let logits = chosen.clone() - rejected.clone() - margins;
            let mut loss = preference_nll(logits, pairs.probabilities.clone());
            if self.config.center_rewards_coefficient > 0.0 {
                loss = loss + centring(chosen, rejected).mul_scalar(self.config.center_rewards_coefficient);
            }
            losses.push((loss * pairs.weights.clone()).sum());
        }
        if let Some(choices) = &batch.choices {
            let loss = best_of_nll(choices.gather(&scores), choices.present.clone());
            losses.push((loss * choices.weights.clone()).sum());
        }
        if let Some(labels) = &batch.labels {
            let loss = preference_nll(labels.gather(&scores), labels.values.clone());
            losses.push((loss * labels.weights.clone()).sum());
        }
        if let Some(ratings) = &batch.ratings {
            let loss = rating_error(ratings.gather(&scores), ratings.values.clone());
            losses.push((loss * ratings.weights.clone()).sum());
        }
        let total = Sum::of(Tensor::cat(losses, 0), batch.totals.all.into());
        let mut metrics = vec![("loss/reward_model", total.clone().detach())];
        metrics.extend(pair_metrics(&scores, batch));
        Loss { total, metrics }
    }

    fn finish(&self, mut model: Policy) -> Policy {
        if model.transformer.linears_mut().any(|(_, layer)| layer.adapter.is_some()) {
            model.transformer = lora::merged(model.transformer);
        }
        if !self.config.normalise || self.known_answers.len() < 2 {
            return model;
        }
        let rows: Vec<&TextRow> = self.known_answers.iter().collect();
        let scores = read_answers(&model, Reading::Score, &rows, 8);
        let count = scores.len() as f64;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
        let deviations = scores.iter().map(|&score| (f64::from(score) - mean).powi(2));
        let std = (deviations.sum::<f64>() / count).sqrt();
        if std > 0.0 && std.is_finite() { model.with_scores_normalised(mean, std) } else { model }
    }
}

#[cfg(test)]
mod tests;
