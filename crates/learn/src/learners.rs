//! Learners: each is a loss on batches, and has its own file.
//!
//! A learner knows models and batches. It knows neither environments nor the source of its batches.

#[cfg(test)]
pub(crate) mod check;
mod config;
pub mod dpo;
mod gradients;
pub mod group;
pub mod kto;
pub mod offline;
mod on_policy;
pub mod ppo;
pub mod preference;
#[cfg(test)]
mod properties;
pub mod reward_model;
pub mod supervised;
mod table;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

use crate::Result;
use crate::batch::ActionBatch;
pub use config::{
    AnyConfig, Data, HeadStart, LearnerConfig, LearnsFromLog, LearnsFromPlay, LearnsFromPreferences, LearnsFromText,
    PreferenceKinds, ReturnToGo, Returns, TextLearner, TruncatedEpisodes,
};
pub use gradients::{batch_gradients, reduced_gradients};
pub use on_policy::{OnPolicy, Passes};
use palestra_model::ops::{AllowedTokens, Entropy, TokenDistribution, TokenLogProbs};
use palestra_model::optim::GradientSum;
use palestra_model::{Hidden, Policy};
use palestra_report::Metrics;
pub use table::{LEARNERS, LearnerKind, NamedLearner};

/// Sum over one part of a batch, with the count that it is over: tokens, sequences or weights. The parts of a batch (and the
/// ranks of a run) are added first and divided once.
#[derive(Debug, Clone)]
pub struct Sum {
    /// The sum, `[1]`.
    pub sum: Tensor<1>,
    /// The count, known without reading the device.
    pub count: f64,
}

/// Loss of one part of a batch, and the metrics that are measured with it.
pub struct Loss {
    /// The quantity to minimise is the mean that this gives over all parts.
    pub total: Sum,
    /// Metrics by name, each a mean over a count of its own.
    pub metrics: Vec<(&'static str, Sum)>,
}

impl Sum {
    /// Sum of values, `[n]`, over a count.
    pub fn of(values: Tensor<1>, count: f64) -> Self {
        Self { sum: values.sum(), count }
    }

    /// The same sum without a gradient.
    #[must_use]
    pub fn detach(self) -> Self {
        Self { sum: self.sum.detach(), ..self }
    }

    /// The sum times a coefficient.
    #[must_use]
    pub fn mul_scalar(self, coefficient: f32) -> Self {
        Self { sum: self.sum.mul_scalar(coefficient), ..self }
    }

    /// The mean, `[1]`.
    pub fn mean(self) -> Tensor<1> {
        self.sum.div_scalar(self.count)
    }
}

impl std::ops::Add for Sum {
    type Output = Self;

    /// Adds two terms of a loss, which are over the same count.
    fn add(self, other: Self) -> Self {
        debug_assert_eq!(self.count, other.count, "terms of one loss are over the same count");
        Self { sum: self.sum + other.sum, ..self }
    }
}

impl std::ops::Sub for Sum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other.mul_scalar(-1.0)
    }
}

/// A learning algorithm.
pub trait Learner {
    /// The trained model.
    type Model: Module;
    /// The batch of one optimiser step, or a part of it.
    type Batch;

    /// Sets the fraction of the run that is done, 0 to 1, before each update. The learner's own schedules depend on it.
    fn set_progress(&mut self, _fraction: f64) {}

    /// Statistics of a part of a batch that the loss needs as means over the whole batch, without autodiff.
    fn statistics(&self, _model: &Self::Model, _batch: &Self::Batch) -> Vec<Sum> {
        Vec::new()
    }

    /// Loss of one part of a batch, given the means of [`Learner::statistics`] over all parts, each `[1]`.
    fn loss(&self, model: &Self::Model, batch: Self::Batch, statistics: &[Tensor<1>]) -> Loss;

    /// Adds the gradients of the sum of one part's loss, and returns that loss without a gradient. Use
    /// [`batch_gradients`] for a whole batch.
    fn gradients(
        &self,
        model: &Self::Model,
        batch: Self::Batch,
        statistics: &[Tensor<1>],
        gradients: &mut GradientSum,
    ) -> Loss {
        let Loss { total, metrics } = self.loss(model, batch, statistics);
        gradients.add(model, &mut total.sum.backward());
        Loss { total: total.detach(), metrics }
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

    fn statistics(&self, model: &L::Model, batch: &L::Batch) -> Vec<Sum> {
        (**self).statistics(model, batch)
    }

    fn loss(&self, model: &L::Model, batch: L::Batch, statistics: &[Tensor<1>]) -> Loss {
        (**self).loss(model, batch, statistics)
    }

    fn gradients(
        &self,
        model: &L::Model,
        batch: L::Batch,
        statistics: &[Tensor<1>],
        gradients: &mut GradientSum,
    ) -> Loss {
        (**self).gradients(model, batch, statistics, gradients)
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
    /// Entropy of the policy at each action token, `[tokens]`, if it is used.
    pub entropy: Option<Tensor<1>>,
    /// Values of the states in which the tokens were written, `[tokens]`; `None` without a value head.
    pub values: Option<Tensor<1>>,
}

/// Evaluates the log-probabilities of a batch's action tokens in one full forward pass, at the sampling temperature and
/// over the tokens that were allowed.
///
/// # Panics
/// If the policy chooses its tokens by values.
pub fn evaluate_actions(policy: &Policy, batch: &ActionBatch, temperature: f32, entropy: Entropy) -> ActionEvaluation {
    let hidden = policy.transformer.forward(batch.read.tokens.clone(), &batch.read.placement(), None);
    let hidden = hidden.select(0, batch.predicted_at.clone()); // [tokens, width]
    let values = policy.values(hidden.clone());
    let model = policy.next_token().expect("a learner by play has a policy without action values");
    let distribution = TokenDistribution { temperature, allowed: batch.allowed.clone(), ..model };
    let TokenLogProbs { log_probs, entropy } = distribution.log_probs(hidden, batch.targets.clone(), entropy);
    ActionEvaluation { log_probs, entropy, values }
}

/// Use of the entropy by a learner that gives it this weight: it is measured in any case.
fn entropy_use(coefficient: f32) -> Entropy {
    if coefficient == 0.0 { Entropy::Measured } else { Entropy::InLoss }
}

/// Log-probabilities of all tokens, `[rows, width]` to `[rows, vocab]`, at a temperature and over the tokens that are
/// allowed. At temperature 0 the most likely token has probability 1. A token of probability 0 has the
/// log-probability -1e9.
pub fn token_log_probs(
    policy: &Policy,
    hidden: Hidden,
    allowed: Option<&AllowedTokens>,
    temperature: f32,
) -> Tensor<2> {
    let mut scores = policy.scores(hidden);
    if temperature != 1.0 && temperature != 0.0 {
        scores = scores.div_scalar(temperature);
    }
    scores = masked(scores, allowed);
    if temperature == 0.0 {
        let tokens = Tensor::<1, Int>::arange(0..scores.dims()[1] as i64, &scores.device());
        let is_best = scores.clone().argmax(1).equal(tokens.unsqueeze());
        return scores.full_like(-1e9).mask_fill(is_best, 0.0);
    }
    log_softmax(scores, 1)
}

/// Gives forbidden tokens a very low score, `[rows, vocab]`.
fn masked(scores: Tensor<2>, allowed: Option<&AllowedTokens>) -> Tensor<2> {
    let [rows, _] = scores.dims();
    match allowed {
        Some(allowed) => allowed.mask(scores, 0..rows),
        None => scores,
    }
}
