//! Direct preference optimisation and its variants: the policy is its own reward model and learns from preference
//! pairs.
//!
//! The implicit reward of an answer is `beta (log pi - log ref)`: its log-probability under the policy less that under
//! the policy that the run started from. Without a reference it is `beta` times the mean log-probability of the
//! answer's tokens. The loss of a pair depends on `loss`:
//! - `sigmoid`: `-(1 - e) log s(beta D) - e log s(-beta D)` ([Rafailov et al. 2023](https://arxiv.org/abs/2305.18290)),
//!   with `e` the label smoothing;
//! - `ipo`: `(D - 1 / (2 beta))^2` ([Azar et al. 2023](https://arxiv.org/abs/2310.12036));
//! - `hinge`: `max(0, 1 - beta D)` ([Zhao et al. 2023](https://arxiv.org/abs/2305.10425));
//! - `simpo`: `-log s(beta (mean_chosen - mean_rejected) - gamma)` ([Meng et al. 2024](https://arxiv.org/abs/2405.14734));
//! - `orpo`: `nll_chosen - beta log s(difference of log odds)` ([Hong et al. 2024](https://arxiv.org/abs/2403.07691)).

use std::sync::Arc;

use burn::tensor::Tensor;
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::preference::{Objective, Reading, pair_metrics};
use super::{LearnerConfig, LearnsFromPreferences, Loss, PreferenceKinds, Sum};
use crate::batch::{PreferenceBatch, TextRow};
use crate::{Error, Result};
use palestra_model::math::preference::{hinge, implicit_difference, ipo, orpo, preference_nll, simpo};

/// Hyperparameters of direct preference optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoConfig {
    /// Loss function of a pair.
    pub loss: PairLoss,
    /// Strength of the pull towards the reference, above 0: smaller values let the policy move further from it. SimPO
    /// needs a larger value, about 2.
    pub beta: f32,
    /// Label smoothing of the loss `sigmoid`, 0 to 1/2: the fraction of preference labels assumed to be wrong.
    pub label_smoothing: f32,
    /// Target reward margin of SimPO between the chosen and the rejected answer, at least 0.
    pub gamma: f32,
    /// True if IPO averages the log-probabilities over the tokens of an answer, false if it sums them.
    pub length_normalised: bool,
    /// Weight of the chosen answer's negative log-likelihood per token, at least 0. It keeps the chosen answers from
    /// becoming less likely along with the rejected ones ([Pang et al. 2024](https://arxiv.org/abs/2404.19733)).
    pub nll_coefficient: f32,
}

/// Loss function of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairLoss {
    /// DPO.
    Sigmoid,
    /// IPO.
    Ipo,
    /// Hinge loss of SLiC.
    Hinge,
    /// SimPO, without a reference.
    Simpo,
    /// ORPO, without a reference.
    Orpo,
}

impl Default for DpoConfig {
    fn default() -> Self {
        Self {
            loss: PairLoss::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            gamma: 0.5,
            length_normalised: false,
            nll_coefficient: 0.0,
        }
    }
}

impl DpoConfig {
    /// True if the loss needs the log-probabilities of the policy that the run starts from.
    pub fn has_reference(&self) -> bool {
        !matches!(self.loss, PairLoss::Simpo | PairLoss::Orpo)
    }

    /// True if the loss uses means over the tokens of an answer.
    fn takes_means(&self) -> bool {
        !self.has_reference() || self.length_normalised
    }
}

impl LearnerConfig for DpoConfig {
    fn check(&self) -> Result<()> {
        check_ranges(
            "dpo",
            &[
                ("beta", &self.beta, Range::POSITIVE),
                ("label_smoothing", &self.label_smoothing, Range::between(0.0, 0.5)),
                ("gamma", &self.gamma, Range::AT_LEAST_ZERO),
                ("nll_coefficient", &self.nll_coefficient, Range::AT_LEAST_ZERO),
            ],
        )?;
        if self.label_smoothing > 0.0 && self.loss != PairLoss::Sigmoid {
            return Err(Error::Config("dpo.label_smoothing: only the loss \"sigmoid\" has it; remove it".into()));
        }
        if self.length_normalised && self.loss != PairLoss::Ipo {
            return Err(Error::Config("dpo.length_normalised: only the loss \"ipo\" has it; remove it".into()));
        }
        Ok(())
    }
}

impl LearnsFromPreferences for DpoConfig {
    fn kinds(&self) -> PreferenceKinds {
        PreferenceKinds::Pairs
    }

    fn has_reference(&self) -> bool {
        self.has_reference()
    }

    fn objective(&self, _: Vec<TextRow>) -> Arc<dyn Objective> {
        Arc::new(Dpo(self.clone()))
    }
}

/// Objective of direct preference optimisation.
pub struct Dpo(pub DpoConfig);

impl Objective for Dpo {
    fn reading(&self) -> Reading {
        Reading::LogProb
    }

    fn rewards(&self, log_probs: Tensor<1>, references: Option<Tensor<1>>, lengths: Tensor<1>) -> Tensor<1> {
        let gain = if self.0.has_reference() { log_probs - known(references) } else { log_probs / lengths };
        gain.mul_scalar(self.0.beta)
    }

    fn loss(&self, log_probs: Tensor<1>, _: &[Tensor<1>], batch: &PreferenceBatch) -> Loss {
        let DpoConfig { loss, beta, label_smoothing, gamma, nll_coefficient, .. } = self.0;
        let pairs = batch.pairs.as_ref().expect("a prompt of pairs has one");
        let (chosen, rejected) = pairs.sides(&log_probs);
        let (chosen_length, rejected_length) = pairs.sides(&batch.lengths);
        let means = || (chosen.clone() / chosen_length.clone(), rejected.clone() / rejected_length.clone());
        let difference = || {
            let (chosen_reference, rejected_reference) = pairs.sides(&known(batch.references.clone()));
            if !self.0.takes_means() {
                return implicit_difference(chosen.clone(), rejected.clone(), chosen_reference, rejected_reference);
            }
            let (chosen, rejected) = means();
            let references = (chosen_reference / chosen_length.clone(), rejected_reference / rejected_length.clone());
            implicit_difference(chosen, rejected, references.0, references.1)
        };
        let mut losses = match loss {
            PairLoss::Sigmoid => {
                let logits = difference().mul_scalar(beta);
                let probabilities = logits.full_like(1.0 - label_smoothing).detach();
                preference_nll(logits, probabilities)
            }
            PairLoss::Ipo => ipo(difference(), beta),
            PairLoss::Hinge => hinge(difference(), beta),
            PairLoss::Simpo => simpo(means().0, means().1, beta, gamma),
            PairLoss::Orpo => orpo(means().0, means().1, beta),
        };
        let mean = |values: Tensor<1>| Sum::of(values * pairs.weights.clone(), batch.totals.pairs.into());
        let nll = means().0.neg();
        if nll_coefficient > 0.0 {
            losses = losses + nll.clone().mul_scalar(nll_coefficient);
        }
        let total = mean(losses);
        let mut metrics = vec![
            ("loss/dpo", total.clone().detach()),
            ("loss/nll_chosen", mean(nll).detach()),
            ("logps/chosen", mean(chosen.clone()).detach()),
            ("logps/rejected", mean(rejected.clone()).detach()),
        ];
        let rewards = self.rewards(log_probs.clone().detach(), batch.references.clone(), batch.lengths.clone());
        metrics.extend(pair_metrics(&rewards, batch));
        Loss { total, metrics }
    }
}

fn known(references: Option<Tensor<1>>) -> Tensor<1> {
    references.expect("the log-probabilities of the reference are computed before training")
}

#[cfg(test)]
mod tests;
