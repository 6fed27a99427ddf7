//! KTO: the policy learns from single answers with a binary label, good or bad
//! ([Ethayarajh et al. 2024](https://arxiv.org/abs/2402.01306)).
//!
//! With `x = log pi - log ref` of an answer, the loss is the mean of `w (1 - s(beta (x - kl)))` over good answers and
//! of `w (1 - s(beta (kl - x)))` over bad ones; each kind has its own weight. `kl` estimates the KL of the policy from
//! its reference: the mean of `x` over prompts paired with answers to other prompts, at least 0, without a gradient.
//! It is a statistic of the whole batch of a step, which the loop adds up over the parts before their losses are taken.

use std::sync::Arc;

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::preference::{Objective, Reading};
use super::{LearnerConfig, LearnsFromPreferences, Loss, PreferenceKinds, Sum};
use crate::Result;
use crate::batch::{PreferenceBatch, TextRow};
use palestra_model::math::preference::{kto, mismatched_kl};

/// Hyperparameters of KTO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KtoConfig {
    /// Strength of the pull towards the reference, above 0: smaller values let the policy move further from it.
    pub beta: f32,
    /// Weight of good answers, at least 0. The paper recommends that this weight times the number of good answers be 1
    /// to 4/3 times the same product of the bad answers.
    pub desirable_weight: f32,
    /// Weight of bad answers, at least 0.
    pub undesirable_weight: f32,
}

impl Default for KtoConfig {
    fn default() -> Self {
        Self { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

impl LearnerConfig for KtoConfig {
    fn check(&self) -> Result<()> {
        Ok(check_ranges(
            "kto",
            &[
                ("beta", &self.beta, Range::POSITIVE),
                ("desirable_weight", &self.desirable_weight, Range::AT_LEAST_ZERO),
                ("undesirable_weight", &self.undesirable_weight, Range::AT_LEAST_ZERO),
            ],
        )?)
    }
}

impl LearnsFromPreferences for KtoConfig {
    fn kinds(&self) -> PreferenceKinds {
        PreferenceKinds::Labels
    }

    fn has_reference(&self) -> bool {
        true
    }

    fn objective(&self, _: Vec<TextRow>) -> Arc<dyn Objective> {
        Arc::new(Kto(self.clone()))
    }
}

/// Objective of KTO.
pub struct Kto(pub KtoConfig);

impl Objective for Kto {
    fn reading(&self) -> Reading {
        Reading::LogProb
    }

    fn rewards(&self, log_probs: Tensor<1>, references: Option<Tensor<1>>, _: Tensor<1>) -> Tensor<1> {
        (log_probs - references.expect(KNOWN)).mul_scalar(self.0.beta)
    }

    fn statistics(&self, mismatched: Option<Tensor<1>>, batch: &PreferenceBatch) -> Vec<Sum> {
        let mismatched = mismatched.expect("a prompt of labels has answers to others");
        let log_ratios = mismatched - batch.mismatched_references.clone().expect(KNOWN);
        let count = log_ratios.dims()[0] as f64;
        vec![Sum::of(log_ratios, count)]
    }

    fn loss(&self, log_probs: Tensor<1>, statistics: &[Tensor<1>], batch: &PreferenceBatch) -> Loss {
        let KtoConfig { beta, desirable_weight, undesirable_weight } = self.0;
        let labels = batch.labels.as_ref().expect("a prompt of labels has one");
        let kl = mismatched_kl(statistics[0].clone());
        let log_ratios = labels.gather(&(log_probs.clone() - batch.references.clone().expect(KNOWN)));
        let is_good = labels.values.clone().greater_elem(0.5);
        let undesirable = labels.weights.clone().mul_scalar(undesirable_weight);
        let desirable = labels.weights.clone().mul_scalar(desirable_weight);
        let weights = undesirable.mask_where(is_good.clone(), desirable);
        let losses = kto(log_ratios.clone(), labels.values.clone(), kl.clone(), beta) * weights;
        let total = Sum::of(losses, (batch.totals.good + batch.totals.bad).into());

        let mut metrics = vec![("loss/kto", total.clone().detach()), ("objective/kl", Sum { sum: kl, count: 1.0 })];
        let rewards = log_ratios.detach().mul_scalar(beta);
        let log_probs = labels.gather(&log_probs.detach());
        let none = || labels.weights.zeros_like();
        let of_good = labels.weights.clone().mask_where(is_good.clone().bool_not(), none());
        let of_bad = labels.weights.clone().mask_where(is_good, none());
        // A step without answers of one kind has no metrics for that kind.
        let kinds = [
            (["rewards/chosen", "logps/chosen"], of_good, batch.totals.good),
            (["rewards/rejected", "logps/rejected"], of_bad, batch.totals.bad),
        ];
        for ([reward, log_prob], weights, total) in kinds {
            if total > 0.0 {
                let mean = |values: Tensor<1>| Sum::of(values * weights.clone(), total.into());
                metrics.extend([(reward, mean(rewards.clone())), (log_prob, mean(log_probs.clone()))]);
            }
        }
        Loss { total, metrics }
    }
}

const KNOWN: &str = "the log-probabilities of the reference are computed before training";

#[cfg(test)]
mod tests;
