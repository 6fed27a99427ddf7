//! Supervised learning of text: pretraining counts every token, fine-tuning only the tokens of the answer.
//!
//! `loss = - sum_t w_t log p(x_t | x_<t) / sum_t w_t` with weights 1 and 0 from the data, over all tokens of the
//! optimiser step. Splitting the batch into parts changes neither loss nor gradient.

use std::f64::consts::LN_2;

use burn::tensor::{Gradients, Tensor};
use serde::{Deserialize, Serialize};

use super::{Learner, LearnerConfig, LearnsFromText, Loss, Sum, TextLearner};
use crate::Result;
use crate::batch::TextBatch;
use palestra_model::ops::{AttentionMask, selected_log_probs};
use palestra_model::optim::GradientSum;
use palestra_model::{Placement, Policy, checkpointing};
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
    fn build(&self, gradient_checkpointing: bool) -> TextLearner {
        if gradient_checkpointing { Box::new(Checkpointed) } else { Box::new(Supervised) }
    }
}

/// Learner of supervised learning.
pub struct Supervised;

impl Learner for Supervised {
    type Model = Policy;
    type Batch = TextBatch;

    fn loss(&self, model: &Policy, batch: TextBatch, _: &[Tensor<1>]) -> Loss {
        let hidden = model.transformer.forward(batch.tokens.clone(), &placement(&batch), None);
        loss_of(model, hidden, &batch)
    }

    fn sum_up(&self, means: &mut Metrics) {
        if let Some(nll) = means.get("loss/nll").copied() {
            means.insert("text/perplexity".into(), nll.exp());
        }
    }
}

/// Same as [`Supervised`], with gradient checkpointing: blocks are recomputed in the backward pass, with less memory
/// and more time.
pub struct Checkpointed;

impl Learner for Checkpointed {
    type Model = Policy;
    type Batch = TextBatch;

    fn loss(&self, model: &Policy, batch: TextBatch, statistics: &[Tensor<1>]) -> Loss {
        Supervised.loss(model, batch, statistics)
    }

    fn gradients(&self, model: &Policy, batch: TextBatch, _: &[Tensor<1>], gradients: &mut GradientSum) -> Loss {
        let mut measured = None;
        let loss = |hidden| {
            let Loss { total, metrics } = loss_of(model, hidden, &batch);
            measured = Some(Loss { total: total.clone().detach(), metrics });
            total.sum
        };
        let take = |found: &mut Gradients| gradients.add(model, found);
        checkpointing::backward(&model.transformer, batch.tokens.clone(), &placement(&batch), loss, take);
        measured.expect("the backward pass begins with the loss")
    }

    fn sum_up(&self, means: &mut Metrics) {
        Supervised.sum_up(means);
    }
}

/// Log-probability of each counted token, `[tokens]`.
pub fn text_log_probs(policy: &Policy, batch: &TextBatch) -> Tensor<1> {
    let hidden = policy.transformer.forward(batch.tokens.clone(), &placement(batch), None);
    log_probs_of(policy, hidden, batch)
}

fn placement(batch: &TextBatch) -> Placement {
    match &batch.texts {
        None => Placement::causal(),
        Some((visible, positions)) => {
            Placement { mask: AttentionMask::from_visible(visible.clone()), positions: Some(positions.clone()) }
        }
    }
}

/// Loss, from the hidden states of all tokens, `[rows * time, width]`.
fn loss_of(policy: &Policy, hidden: Tensor<2>, batch: &TextBatch) -> Loss {
    let nats = log_probs_of(policy, hidden, batch).sum().neg();
    let bits = nats.clone().detach().div_scalar(LN_2);
    let total = Sum { sum: nats, count: batch.token_count as f64 };
    let bits = Sum { sum: bits, count: batch.byte_count as f64 };
    Loss { metrics: vec![("loss/nll", total.clone().detach()), ("text/bits_per_byte", bits)], total }
}

fn log_probs_of(policy: &Policy, hidden: Tensor<2>, batch: &TextBatch) -> Tensor<1> {
    let hidden = hidden.select(0, batch.predicted_at.clone()); // [tokens, width]
    selected_log_probs(policy.transformer.logits(hidden), batch.targets.clone())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
