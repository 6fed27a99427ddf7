//! Learners: each is a loss on batches, and has its own file.
//!
//! A learner knows models and batches. It knows neither environments nor the source of its batches.

#[cfg(test)]
pub(crate) mod check;
mod config;
pub mod dpo;
pub mod group;
pub mod kto;
pub mod offline;
mod on_policy;
pub mod ppo;
pub mod preference;
pub mod reward_model;
pub mod supervised;
mod table;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor};

use crate::Result;
use crate::batch::ActionBatch;
pub use config::{
    AnyConfig, Data, LearnerConfig, LearnsFromLog, LearnsFromPlay, LearnsFromPreferences, LearnsFromText,
    PreferenceKinds, ReturnToGo, TextLearner,
};
pub use on_policy::{OnPolicy, Passes};
use palestra_model::ops::selected_log_probs;
use palestra_model::optim::GradientSum;
use palestra_model::{Hidden, Placement, Policy};
use palestra_report::Metrics;
pub use table::{LEARNERS, LearnerKind, NamedLearner};

/// A loss and its metrics, each `[1]`. All of them add up over the parts of a batch.
pub struct Loss {
    /// The minimised loss.
    pub total: Tensor<1>,
    /// Metrics by name.
    pub metrics: Vec<(&'static str, Tensor<1>)>,
}

/// A learning algorithm.
pub trait Learner {
    /// The trained model.
    type Model: Module;
    /// The batch of one optimiser step, or a part of it.
    type Batch;

    /// Sets the fraction of the run that is done, 0 to 1, before each update. The learner's own schedules depend on it.
    fn set_progress(&mut self, _fraction: f64) {}

    /// Computes the loss of one part of a batch.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Loss;

    /// Adds the gradients of one part of a batch to `sum`, and returns the metrics.
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

    /// Changes the model after each optimiser step: updates without a gradient, such as moving averages of weights.
    fn after_step(&self, model: Self::Model) -> Self::Model {
        model
    }

    /// Changes the model once, after the last update of a run.
    fn finish(&self, model: Self::Model) -> Self::Model {
        model
    }

    /// Adds metrics that are computed from the means of an update, such as perplexity.
    fn sum_up(&self, _means: &mut Metrics) {}

    /// State that a resumed run needs, besides the model and the optimiser.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Restores the state of [`Learner::state`].
    ///
    /// # Errors
    /// The state is not this learner's.
    fn restore(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

impl<L: Learner + ?Sized> Learner for Box<L> {
    type Model = L::Model;
    type Batch = L::Batch;

    fn set_progress(&mut self, fraction: f64) {
        (**self).set_progress(fraction);
    }

    fn loss(&self, model: &L::Model, batch: L::Batch) -> Loss {
        (**self).loss(model, batch)
    }

    fn gradients(&self, model: &L::Model, batch: L::Batch, sum: &mut GradientSum) -> Vec<(&'static str, Tensor<1>)> {
        (**self).gradients(model, batch, sum)
    }

    fn after_step(&self, model: L::Model) -> L::Model {
        (**self).after_step(model)
    }

    fn finish(&self, model: L::Model) -> L::Model {
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

/// Policy outputs at the action tokens of a batch.
pub struct ActionEvaluation {
    /// Log-probability of each action token, `[tokens]`.
    pub log_probs: Tensor<1>,
    /// Log-probabilities of the whole vocabulary at each action token, `[tokens, vocab]`, if requested.
    pub all_log_probs: Option<Tensor<2>>,
    /// Values of the states in which the tokens were written, `[tokens]`; `None` without a value head.
    pub values: Option<Tensor<1>>,
}

/// Evaluates the log-probabilities of a batch's action tokens in one full forward pass, at the sampling temperature and
/// over the tokens that were allowed. The log-probabilities of the whole vocabulary take several times the memory; they
/// are returned only if requested or if they are computed anyway.
pub fn evaluate_actions(policy: &Policy, batch: &ActionBatch, temperature: f32, wants_all: bool) -> ActionEvaluation {
    let hidden = policy.read(batch.tokens.clone(), &Placement::causal(), None);
    let hidden = hidden.select(&batch.predicted_at); // [tokens, width]
    let values = policy.values(hidden.actor.clone());
    if !wants_all && batch.forbidden.is_none() && temperature > 0.0 {
        let mut scores = policy.scores(hidden);
        if temperature != 1.0 {
            scores = scores.div_scalar(temperature);
        }
        return ActionEvaluation {
            log_probs: selected_log_probs(scores, batch.targets.clone()),
            all_log_probs: None,
            values,
        };
    }
    let all_log_probs = token_log_probs(policy, hidden, batch.forbidden.clone(), temperature);
    let log_probs = all_log_probs.clone().gather(1, batch.targets.clone().unsqueeze_dim(1)).squeeze_dim(1);
    ActionEvaluation { log_probs, all_log_probs: Some(all_log_probs), values }
}

/// True if a learner computes the policy's entropy: when it is part of the loss, or costs little.
fn wants_entropy(policy: &Policy, coefficient: f32) -> bool {
    /// Vocabulary size from which the log-probabilities of all tokens take more memory than the model.
    const MANY: usize = 4096;
    coefficient != 0.0 || policy.transformer.config().vocab_size < MANY
}

/// Log-probabilities of all tokens, `[rows, width]` to `[rows, vocab]`, at a temperature and over the tokens that are
/// not forbidden. At temperature 0 the most likely token has probability 1. A token of probability 0 has the
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

/// Sets the scores of forbidden tokens to -1e9, `[rows, vocab]`.
fn masked(scores: Tensor<2>, forbidden: Option<Tensor<2, Bool>>) -> Tensor<2> {
    match forbidden {
        Some(forbidden) => scores.mask_fill(forbidden, -1e9),
        None => scores,
    }
}
