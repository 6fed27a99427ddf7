//! Shared parts of on-policy learners: samples, the clipped policy loss, and the distance from a reference policy.

use burn::tensor::Tensor;

use super::{Learner, Sum};
use crate::batch::{ActionBatch, Sample};
use crate::trajectory::{ActionToken, Segment, Trajectory};
use palestra_model::Policy;
use palestra_model::math::{clipped_policy_loss, whiten};
use palestra_report::Metrics;

/// A learner that trains on the latest rollouts of its own model.
pub trait OnPolicy: Learner<Model = Policy, Batch = ActionBatch> {
    /// Turns episodes into samples: returns, advantages, penalties.
    fn prepare(&mut self, trajectories: &[Trajectory]) -> (Vec<Sample>, Metrics);

    /// Number of epochs over the samples, and batch sizes.
    fn passes(&self) -> Passes;

    /// True if the policy has moved so far from the sampling policy that the remaining samples are dropped.
    fn has_moved_too_far(&self, _step: &Metrics) -> bool {
        false
    }
}

impl<L: OnPolicy + ?Sized> OnPolicy for Box<L> {
    fn prepare(&mut self, trajectories: &[Trajectory]) -> (Vec<Sample>, Metrics) {
        (**self).prepare(trajectories)
    }

    fn passes(&self) -> Passes {
        (**self).passes()
    }

    fn has_moved_too_far(&self, step: &Metrics) -> bool {
        (**self).has_moved_too_far(step)
    }
}

/// Epochs and batch sizes of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// Number of epochs over the samples.
    pub epochs: usize,
    /// Samples per optimiser step.
    pub batch: usize,
    /// Samples per forward pass; a batch is the sum of such parts.
    pub micro_batch: usize,
}

impl Passes {
    /// Creates the passes of an update; `micro_batch` 0 computes the whole batch at once.
    pub(super) fn new(epochs: usize, batch: usize, micro_batch: usize) -> Self {
        Self { epochs, batch, micro_batch: if micro_batch == 0 { batch } else { micro_batch } }
    }
}

/// Clip range of the probability ratio, beyond which its gradient stops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clip {
    /// Range below 1.
    pub low: f32,
    /// Range above 1.
    pub high: f32,
    /// Bound on the loss of negative advantages.
    pub dual: Option<f32>,
}

/// Clipped policy loss of each action token, and its metrics as means over tokens.
pub(super) fn clipped_policy(
    now: Tensor<1>,
    batch: &ActionBatch,
    Clip { low, high, dual }: Clip,
) -> (Tensor<1>, Vec<(&'static str, Sum)>) {
    let mean = |values: Tensor<1>| Sum::of(values, batch.token_count as f64);
    let then = batch.log_probs.clone();
    let log_ratio = now.clone().detach() - then.clone();
    let (losses, ratio) = clipped_policy_loss(now, then, batch.advantages.clone(), [low, high], dual);
    let ratio = ratio.detach();
    let is_beyond = ratio.clone().lower_scalar(1.0 - low).float() + ratio.clone().greater_scalar(1.0 + high).float();
    let metrics = vec![
        ("policy/approxkl_avg", mean(log_ratio.square()).mul_scalar(0.5)),
        ("policy/clipfrac_avg", mean(is_beyond)),
        ("policy/ratio_error", mean(ratio.clone().sub_scalar(1.0).abs())),
        ("val/ratio", mean(ratio)),
    ];
    (losses, metrics)
}

/// Turns a segment into a sample, with the advantages and returns of its action tokens.
pub(super) fn sample(segment: &Segment, advantages: &[f32], returns: &[f32], weight: f32) -> Sample {
    let each = |field: fn(&ActionToken) -> f32| segment.actions.iter().map(field).collect();
    let reference: Option<Vec<f32>> = segment.actions.iter().map(|action| action.reference_log_prob).collect();
    Sample {
        tokens: segment.tokens.clone(),
        at: segment.actions.iter().map(|action| action.at).collect(),
        allowed: segment.actions.iter().map(|action| action.allowed.clone()).collect(),
        log_probs: each(|action| action.log_prob),
        reference_log_probs: reference.unwrap_or_default(),
        values: each(|action| action.value),
        advantages: advantages.to_vec(),
        returns: returns.to_vec(),
        weight,
    }
}

/// Objective metrics as means over episodes: score, entropy, and with a reference the KL from it, which is subtracted
/// from the score with weight `beta`.
pub(super) fn objective(trajectories: &[Trajectory], beta: f64) -> Metrics {
    let mean = |of: &dyn Fn(&Trajectory) -> f32| {
        trajectories.iter().map(|trajectory| f64::from(of(trajectory))).sum::<f64>() / trajectories.len().max(1) as f64
    };
    let scores = mean(&Trajectory::total_reward);
    let entropy = mean(&|trajectory| trajectory.actions().map(|action| -action.log_prob).sum());
    let mut metrics =
        Metrics::from([("objective/scores".to_string(), scores), ("objective/entropy".to_string(), entropy)]);
    if trajectories.iter().flat_map(Trajectory::actions).any(|action| action.reference_log_prob.is_some()) {
        let kl = mean(&|trajectory| trajectory.actions().filter_map(ActionToken::log_ratio).sum());
        metrics.insert("objective/kl".into(), kl);
        metrics.insert("objective/kl_coefficient".into(), beta);
        metrics.insert("objective/non_score_reward".into(), -beta * kl);
        metrics.insert("objective/rlhf_reward".into(), scores - beta * kl);
    }
    metrics
}

/// Whitens the advantages of all tokens of a rollout together.
pub(super) fn whiten_advantages(samples: &mut [Sample]) {
    let mut all: Vec<f32> = samples.iter().flat_map(|sample| &sample.advantages).copied().collect();
    whiten(&mut all);
    let mut whitened = all.into_iter();
    for advantage in samples.iter_mut().flat_map(|sample| &mut sample.advantages) {
        *advantage = whitened.next().expect("as many as were collected");
    }
}
