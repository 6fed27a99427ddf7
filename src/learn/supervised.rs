//! Supervised learning of text: pretraining where every token counts, fine-tuning where the answer does.
//!
//! `loss = - sum_t w_t log p(x_t | x_<t) / sum_t w_t` with weights 1 and 0 that the data gives, over all tokens of the
//! optimiser step: however it is cut into parts, they add up to the same loss and gradient.

use std::f64::consts::LN_2;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Learner, Loss};
use crate::batch::TextBatch;
use crate::model::{Placement, Policy};
use crate::observe::Metrics;
use crate::ops::{AttentionMask, selected_log_probs};

/// Supervised learning has no knobs of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedConfig {}

/// The learner.
pub struct Supervised;

impl Learner for Supervised {
    type Model = Policy;
    type Batch = TextBatch;

    fn loss(&self, model: &Policy, batch: TextBatch) -> Loss {
        let nats = text_log_probs(model, &batch).sum().neg();
        let bits = nats.clone().detach().div_scalar(LN_2 * batch.byte_count.max(1) as f64);
        let total = nats.div_scalar(batch.token_count as f32);
        Loss { metrics: vec![("loss/nll", total.clone().detach()), ("text/bits_per_byte", bits)], total }
    }

    fn sum_up(&self, means: &mut Metrics) {
        if let Some(nll) = means.get("loss/nll").copied() {
            means.insert("text/perplexity".into(), nll.exp());
        }
    }
}

/// The log-probability of each counted token, `[tokens]`.
pub fn text_log_probs(policy: &Policy, batch: &TextBatch) -> Tensor<1> {
    let placement = match &batch.texts {
        None => Placement::causal(),
        Some((visible, positions)) => {
            Placement { mask: AttentionMask::from_visible(visible.clone()), positions: Some(positions.clone()) }
        }
    };
    let hidden = policy.transformer.forward(batch.tokens.clone(), &placement, None);
    let hidden = hidden.select(0, batch.predicted_at.clone()); // [tokens, width]
    selected_log_probs(policy.transformer.logits(hidden), batch.targets.clone())
}

#[cfg(test)]
mod tests;
