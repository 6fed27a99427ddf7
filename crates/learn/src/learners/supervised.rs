//! Supervised learning of text: pretraining counts every token, fine-tuning only the tokens of the answer.
//!
//! `loss = - sum_t w_t log p(x_t | x_<t) / sum_t w_t` with weights 1 and 0 from the data, over all tokens of the
//! optimiser step. Splitting the batch into parts changes neither loss nor gradient.

use std::f64::consts::LN_2;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Learner, LearnerConfig, LearnsFromText, Loss, Sum, TextLearner};
use crate::Result;
use crate::batch::TextBatch;
use palestra_model::Policy;
use palestra_model::ops::{Entropy, TokenDistribution};
use palestra_report::Metrics;

/// Hyperparameters of supervised learning: it has none of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedConfig {}

impl LearnerConfig for SupervisedConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl LearnsFromText for SupervisedConfig {
    fn build(&self) -> TextLearner {
        Box::new(Supervised)
    }
}

/// Learner of supervised learning.
pub struct Supervised;

impl Learner for Supervised {
    type Model = Policy;
    type Batch = TextBatch;

    fn loss(&self, model: &Policy, batch: TextBatch, _: &[Tensor<1>]) -> Loss {
        let hidden = model.transformer.forward(batch.read.tokens.clone(), &batch.read.placement(), None);
        let nats = everywhere(model).log_likelihood(counted(hidden, &batch), batch.targets.clone()).neg();
        let bits = nats.clone().detach().div_scalar(LN_2);
        let total = Sum { sum: nats, count: batch.token_count as f64 };
        let bits = Sum { sum: bits, count: batch.byte_count as f64 };
        Loss { metrics: vec![("loss/nll", total.clone().detach()), ("text/bits_per_byte", bits)], total }
    }

    fn sum_up(&self, means: &mut Metrics) {
        if let Some(nll) = means.get("loss/nll").copied() {
            means.insert("text/perplexity".into(), nll.exp());
        }
    }
}

/// Log-probability of each counted token, `[tokens]`.
pub fn text_log_probs(policy: &Policy, batch: &TextBatch) -> Tensor<1> {
    let hidden = policy.transformer.forward(batch.read.tokens.clone(), &batch.read.placement(), None);
    everywhere(policy).log_probs(counted(hidden, batch), batch.targets.clone(), Entropy::Unused).log_probs
}

/// Distribution over all tokens of the model: a text may hold any.
fn everywhere(policy: &Policy) -> TokenDistribution {
    policy.transformer.next_token()
}

/// Hidden states that counted tokens are predicted from, `[tokens, width]`.
fn counted(hidden: Tensor<2>, batch: &TextBatch) -> Tensor<2> {
    hidden.select(0, batch.predicted_at.clone())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
