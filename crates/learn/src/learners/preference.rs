//! Shared parts of preference learners: each is a loss on one number per answer, its score or its log-probability.
//!
//! A loss that depends on each answer through one number needs only the gradients of these numbers. If the answers of a
//! batch are computed in chunks, all numbers are first computed without autodiff, then each chunk is computed again
//! with it. Memory use is that of one chunk; the gradient is that of the whole batch
//! ([Gao et al. 2021](https://arxiv.org/abs/2101.06983), section 3).

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Learner, Loss, Sum};
use crate::Result;
use crate::batch::{AnswerRows, PreferenceBatch, TextRow, side_by_side};
use crate::collective::{Alone, Collective};
use palestra_model::Policy;
use palestra_model::ops::Entropy;
use palestra_model::optim::{GradientSum, Shard};

/// The number per answer that a loss depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Output of the value head at the last token.
    Score,
    /// Sum of the log-probabilities of the counted tokens.
    LogProb,
}

/// A loss on preference data.
pub trait Objective {
    /// The number per answer that the loss depends on.
    fn reading(&self) -> Reading;

    /// Rewards that the model assigns to answers, used for evaluation: `numbers` are the model's readings, `references`
    /// those of the policy that the run started from, `lengths` the token counts of the answers. All `[answers]`.
    fn rewards(&self, numbers: Tensor<1>, references: Option<Tensor<1>>, lengths: Tensor<1>) -> Tensor<1>;

    /// Loss of the readings, `[answers]`. `mismatched` holds the readings of mismatched answers, without autodiff.
    fn loss(&self, numbers: Tensor<1>, statistics: &[Tensor<1>], batch: &PreferenceBatch) -> Loss;

    /// Statistics of mismatched answers that the loss needs as means over the whole batch; `statistics` are the means of [`Objective::statistics`].
    /// without autodiff.
    fn statistics(&self, _mismatched: Option<Tensor<1>>, _batch: &PreferenceBatch) -> Vec<Sum> {
        Vec::new()
    }

    /// Changes the model after the last update.
    fn finish(&self, model: Policy) -> Policy {
        model
    }
}

/// Learner that minimises an [`Objective`].
pub struct PreferenceLearner {
    /// The loss.
    pub objective: Arc<dyn Objective>,
}

impl Learner for PreferenceLearner {
    type Model = Policy;
    type Batch = PreferenceBatch;

    fn statistics(&self, model: &Policy, batch: &PreferenceBatch) -> Vec<Sum> {
        self.objective.statistics(self.mismatched(model, batch), batch)
    }

    fn loss(&self, model: &Policy, batch: PreferenceBatch, statistics: &[Tensor<1>]) -> Loss {
        let numbers = batch.answers.iter().map(|rows| self.read(model, rows)).collect();
        self.objective.loss(Tensor::cat(numbers, 0), statistics, &batch)
    }

    fn gradients(
        &self,
        model: &Policy,
        batch: PreferenceBatch,
        statistics: &[Tensor<1>],
        sum: &mut GradientSum,
    ) -> Loss {
        if batch.answers.len() == 1 {
            let Loss { total, metrics } = self.loss(model, batch, statistics);
            sum.add(model, &mut total.sum.backward());
            return Loss { total: total.detach(), metrics };
        }
        let inner = model.valid();
        let numbers = batch.answers.iter().map(|rows| self.read(&inner, &rows.inner())).collect();
        let numbers = Tensor::from_inner(Tensor::cat(numbers, 0)).require_grad();
        let Loss { total, metrics } = self.objective.loss(numbers.clone(), statistics, &batch);
        let gradient = numbers.grad(&total.sum.backward()).expect("a loss of preferences is one of all answers");
        let mut first = 0;
        for rows in &batch.answers {
            let own = Tensor::from_inner(gradient.clone().slice(first..first + rows.count()));
            first += rows.count();
            sum.add(model, &mut (self.read(model, rows) * own).sum().backward());
        }
        Loss { total: total.detach(), metrics }
    }

    fn finish(&self, model: Policy) -> Policy {
        self.objective.finish(model)
    }
}

impl PreferenceLearner {
    fn read(&self, model: &Policy, rows: &AnswerRows) -> Tensor<1> {
        read(model, self.objective.reading(), rows)
    }

    /// Readings of mismatched answers, without gradient.
    fn mismatched(&self, model: &Policy, batch: &PreferenceBatch) -> Option<Tensor<1>> {
        let inner = model.valid();
        let numbers: Vec<_> = batch.mismatched.iter().map(|rows| self.read(&inner, &rows.inner())).collect();
        (!numbers.is_empty()).then(|| Tensor::from_inner(Tensor::cat(numbers, 0)))
    }
}

/// One number per answer, `[answers]`.
fn read(model: &Policy, reading: Reading, rows: &AnswerRows) -> Tensor<1> {
    let hidden = model.transformer.forward(rows.read.tokens.clone(), &rows.read.placement(), None);
    match reading {
        Reading::Score => {
            let last = hidden.select(0, rows.last_at.clone()); // [answers, width]
            model.values(last).expect("a reward model has a score head")
        }
        Reading::LogProb => {
            let hidden = hidden.select(0, rows.predicted_at.clone()); // [tokens, width]
            let distribution = model.transformer.next_token();
            rows.sums(distribution.log_probs(hidden, rows.targets.clone(), Entropy::Unused).log_probs)
        }
    }
}

/// Reads one number per answer, `batch` answers at a time, outside autodiff. Answers of similar length are batched together.
pub fn read_answers(policy: &Policy, reading: Reading, rows: &[&TextRow], batch: usize) -> Vec<f32> {
    read_answers_on_ranks(policy, reading, rows, batch, &Alone).expect("one rank waits for no other")
}

/// As [`read_answers`], of which each rank reads whole batches, so that the numbers have the bits of one rank. All ranks get all
/// numbers.
///
/// # Errors
/// A rank that takes no part.
pub fn read_answers_on_ranks(
    policy: &Policy,
    reading: Reading,
    rows: &[&TextRow],
    batch: usize,
    collective: &dyn Collective,
) -> Result<Vec<f32>> {
    let policy = policy.valid();
    let device = policy.transformer.device();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&at| rows[at].tokens.len());
    let order = side_by_side(order, |at| rows[at].prompt());
    let batches: Vec<&[usize]> = order.chunks(batch.max(1)).collect();
    let mut own: Vec<f32> = Vec::new();
    for places in &batches[collective.share(batches.len())] {
        let part: Vec<&TextRow> = places.iter().map(|&at| rows[at]).collect();
        own.extend(read(&policy, reading, &AnswerRows::new(&part, &device)).into_data().iter::<f32>());
    }
    let size = collective.size();
    let of_rank = |rank| batches[Shard { rank, size }.range(batches.len())].iter().map(|places| places.len()).sum();
    let found = collective.concatenate(&own, &(0..size).map(of_rank).collect::<Vec<usize>>())?;
    let mut numbers = vec![0.0; rows.len()];
    order.into_iter().zip(found).for_each(|(at, number)| numbers[at] = number);
    Ok(numbers)
}

/// Reward metrics over pairs that are not ties: mean chosen reward, mean rejected reward, mean margin and accuracy.
/// Each is this part's share of a mean over the whole batch.
pub fn pair_metrics(rewards: &Tensor<1>, batch: &PreferenceBatch) -> Vec<(&'static str, Sum)> {
    let Some(pairs) = batch.pairs.as_ref().filter(|_| batch.totals.decided > 0.0) else { return Vec::new() };
    let (chosen, rejected) = pairs.sides(&rewards.clone().detach());
    let is_right = chosen.clone().greater(rejected.clone()).float();
    let mean = |values: Tensor<1>| Sum::of(values * pairs.decided.clone(), batch.totals.decided.into());
    let margins = chosen.clone() - rejected.clone();
    vec![
        ("rewards/chosen", mean(chosen)),
        ("rewards/rejected", mean(rejected)),
        ("rewards/margins", mean(margins)),
        ("rewards/accuracies", mean(is_right)),
    ]
}

#[cfg(test)]
pub(crate) mod tests;
