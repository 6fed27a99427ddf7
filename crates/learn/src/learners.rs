//! Learners: each is a loss on batches, and one file.
//!
//! A learner knows models and batches. It knows neither environments nor where batches come from.

#[cfg(test)]
pub(crate) mod check;
pub mod dpo;
#[cfg(test)]
mod generate_tests;
pub mod group;
pub mod judged;
pub mod kto;
pub mod offline;
mod on_policy;
pub mod ppo;
pub mod reward_model;
pub mod supervised;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor};

use crate::Result;
use crate::batch::ActionBatch;
use palestra_model::{Hidden, Placement, Policy};
use palestra_report::Metrics;
use palestra_model::ops::selected_log_probs;
use palestra_model::optim::GradientSum;
pub use on_policy::{OnPolicy, Passes};

/// A loss and what was measured on the way, each `[1]`. All of them add up over the parts of a batch.
pub struct Loss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// What is reported, by name.
    pub metrics: Vec<(&'static str, Tensor<1>)>,
}

/// A way of learning.
pub trait Learner {
    /// What learns.
    type Model: Module;
    /// What it learns from at one step, or a part of it.
    type Batch;

    /// Tells how much of the run is over, 0 to 1, before each update: what schedules of the learner's own go by.
    fn set_progress(&mut self, _fraction: f64) {}

    /// The loss of one part of a batch.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Loss;

    /// Adds the gradients of one part of a batch, and tells what was measured on the way.
    fn gradients(
        &self,
        model: &Self::Model,
        batch: Self::Batch,
        sum: &mut GradientSum,
    ) -> Vec<(&'static str, Tensor<1>)> {
        let Loss { total, metrics } = self.loss(model, batch);
        sum.add(model, &mut total.backward());
        metrics
    }

    /// Changes the model after each optimiser step: what moves without a gradient, such as averages of weights.
    fn after_step(&self, model: Self::Model) -> Self::Model {
        model
    }

    /// Changes the model once, after the last update of a run.
    fn finish(&self, model: Self::Model) -> Self::Model {
        model
    }

    /// Adds to what was measured over an update what follows from the means, such as a perplexity.
    fn sum_up(&self, _means: &mut Metrics) {}

    /// State that a resumed run needs, beside the model and the optimiser.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes up the state of [`Learner::state`].
    ///
    /// # Errors
    /// The state is not this learner's.
    fn restore(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

impl<M: Module, B> Learner for Box<dyn Learner<Model = M, Batch = B>> {
    type Model = M;
    type Batch = B;

    fn set_progress(&mut self, fraction: f64) {
        (**self).set_progress(fraction);
    }

    fn loss(&self, model: &M, batch: B) -> Loss {
        (**self).loss(model, batch)
    }

    fn gradients(&self, model: &M, batch: B, sum: &mut GradientSum) -> Vec<(&'static str, Tensor<1>)> {
        (**self).gradients(model, batch, sum)
    }

    fn after_step(&self, model: M) -> M {
        (**self).after_step(model)
    }

    fn finish(&self, model: M) -> M {
        (**self).finish(model)
    }

    fn sum_up(&self, means: &mut Metrics) {
        (**self).sum_up(means);
    }

    fn state(&self) -> serde_json::Value {
        (**self).state()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        (**self).restore(state)
    }
}

/// What a policy says of a batch's action tokens.
pub struct Outlook {
    /// Log-probability of each, `[tokens]`.
    pub log_probs: Tensor<1>,
    /// Log-probabilities of all that they could have been, `[tokens, vocab]`, where they were asked for.
    pub all_log_probs: Option<Tensor<2>>,
    /// Values of the states that they were written in, `[tokens]`; `None` without a value head.
    pub values: Option<Tensor<1>>,
}

/// The log-probabilities of a batch's action tokens at the temperature and among the tokens that they were sampled
/// with, by one full forward pass. Those of all other tokens take several times the memory, and are told only where they are
/// asked for or have to be made anyway.
pub fn look(policy: &Policy, batch: &ActionBatch, temperature: f32, wants_all: bool) -> Outlook {
    let hidden = policy.read(batch.tokens.clone(), &Placement::causal(), None);
    let hidden = hidden.select(&batch.predicted_at); // [tokens, width]
    let values = policy.values(hidden.actor.clone());
    if !wants_all && batch.forbidden.is_none() && temperature > 0.0 {
        let mut scores = policy.scores(hidden);
        if temperature != 1.0 {
            scores = scores.div_scalar(temperature);
        }
        return Outlook { log_probs: selected_log_probs(scores, batch.targets.clone()), all_log_probs: None, values };
    }
    let all_log_probs = token_log_probs(policy, hidden, batch.forbidden.clone(), temperature);
    let log_probs = all_log_probs.clone().gather(1, batch.targets.clone().unsqueeze_dim(1)).squeeze_dim(1);
    Outlook { log_probs, all_log_probs: Some(all_log_probs), values }
}

/// Whether a learner computes the entropy of a policy's choices: where it is part of the loss, or costs little.
fn wants_entropy(policy: &Policy, coefficient: f32) -> bool {
    /// Tokens from which on the log-probabilities of all take more memory than the model.
    const MANY: usize = 4096;
    coefficient != 0.0 || policy.transformer.config().vocab_size < MANY
}

/// The log-probabilities of all tokens that could be written, `[rows, width]` to `[rows, vocab]`: at a temperature, and
/// among those that are not forbidden. At temperature 0 the likeliest token has all the probability. What has none has the
/// log-probability -1e9.
pub fn token_log_probs(
    policy: &Policy,
    hidden: Hidden,
    forbidden: Option<Tensor<2, Bool>>,
    temperature: f32,
) -> Tensor<2> {
    let mut scores = policy.scores(hidden);
    if temperature != 1.0 && temperature != 0.0 {
        scores = scores.div_scalar(temperature);
    }
    scores = masked(scores, forbidden);
    if temperature == 0.0 {
        let tokens = Tensor::<1, Int>::arange(0..scores.dims()[1] as i64, &scores.device());
        let is_best = scores.clone().argmax(1).equal(tokens.unsqueeze());
        return scores.full_like(-1e9).mask_fill(is_best, 0.0);
    }
    log_softmax(scores, 1)
}

/// Makes what is forbidden as good as impossible, `[rows, vocab]`.
fn masked(scores: Tensor<2>, forbidden: Option<Tensor<2, Bool>>) -> Tensor<2> {
    match forbidden {
        Some(forbidden) => scores.mask_fill(forbidden, -1e9),
        None => scores,
    }
}
