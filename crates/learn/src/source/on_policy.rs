//! On-policy batches: each update collects rollouts of the current policy, then makes several passes over them.
//!
//! On several ranks, each plays its share of the episodes, then has those of all: advantages are over the whole rollout, and
//! each batch is the one that a single rank draws.

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use palestra_datasets::Episode;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Source;
use crate::batch::{ActionBatch, Sample, side_by_side};
use crate::collective::Collective;
use crate::learners::{OnPolicy, evaluate_actions};
use crate::rollout::{Rollout, RolloutConfig, RolloutResult, RolloutTimings, gather_rollouts, summary};
use crate::trajectory::Segment;
use crate::{Error, Result};
use palestra_model::ops::Entropy;
use palestra_model::{Policy, lora};
use palestra_report::Metrics;

/// Largest allowed mean relative error between the probability of a token at sampling and the one that the learner
/// computes for it. A larger error means that sampling and scoring disagree.
const MAX_RATIO_ERROR: f64 = 1e-2;

/// Reference policy: the policy that the run started from, for the KL from it.
pub enum ReferencePolicy {
    /// No reference.
    None,
    /// A separate model.
    Policy(Box<Policy>),
    /// The trained model with its adapters disabled, which needs no extra memory.
    WithoutAdapters,
}

/// Source that collects rollouts before each update.
pub struct OnPolicySource {
    rollout: Rollout,
    seed: u64,
    device: Device,
    reference: ReferencePolicy,
    samples: Vec<Sample>,
    /// Sample indices of each remaining step, last step first.
    steps: Vec<Vec<usize>>,
    is_first_step: bool,
    tokens: usize,
    /// Optimiser steps of this update.
    steps_of_update: usize,
    /// Number of episodes dropped so far.
    dropped: usize,
    /// The last episodes played.
    pub played: Vec<RolloutResult>,
    /// Timings of the last rollout.
    pub timings: RolloutTimings,
}

impl OnPolicySource {
    /// Creates a source that collects with this rollout; the seed fixes every episode and every shuffle. `device` is
    /// the device of the batches, in the autodiff context of the model.
    pub fn new(rollout: Rollout, seed: u64, device: Device, reference: ReferencePolicy) -> Self {
        Self {
            rollout,
            seed,
            device,
            reference,
            samples: Vec::new(),
            steps: Vec::new(),
            is_first_step: true,
            tokens: 0,
            steps_of_update: 1,
            dropped: 0,
            played: Vec::new(),
            timings: RolloutTimings::default(),
        }
    }
}

impl OnPolicySource {
    /// Plays this rank's share of the episodes of an update, whole groups, and scores them by the reference policy, `rows` at
    /// a time.
    fn play(
        &mut self,
        policy: &Policy,
        update: u64,
        rows: usize,
        collective: &dyn Collective,
    ) -> Result<(Vec<RolloutResult>, RolloutTimings)> {
        let RolloutConfig { episodes, group, sampling, .. } = *self.rollout.config();
        let groups = collective.share(episodes / group);
        let number = |of_group: usize| update * episodes as u64 + (of_group * group) as u64;
        let (mut played, timings) =
            self.rollout.play(policy, self.seed, number(groups.start)..number(groups.end), &sampling)?;
        let reference = match &self.reference {
            ReferencePolicy::None => None,
            ReferencePolicy::Policy(reference) => Some(reference.valid()),
            ReferencePolicy::WithoutAdapters => {
                let base: Policy = lora::without_adapters(policy.transformer.clone()).into();
                Some(base.with_vocabulary(policy.vocabulary().clone()))
            }
        };
        if let Some(reference) = reference {
            let scored = played.iter_mut().filter(|played| played.is_scored());
            let segments = scored.flat_map(|played| &mut played.trajectory.segments).collect();
            score_by(&reference, segments, rows, sampling.temperature);
        }
        Ok((played, timings))
    }
}

impl<L: OnPolicy> Source<L> for OnPolicySource {
    fn begin(&mut self, learner: &mut L, model: &Policy, update: u64, collective: &dyn Collective) -> Result<Metrics> {
        let passes = learner.passes();
        let own = self.play(&model.valid().frozen(), update, passes.micro_batch, collective);
        let (mut played, timings) = gather_rollouts(own, collective)?;
        // An episode with a missing reward is skipped: treating it as reward 0 would be wrong.
        let mut trajectories = Vec::with_capacity(played.len());
        for played in played.iter_mut().filter(|played| played.is_scored()) {
            trajectories.push(std::mem::take(&mut played.trajectory));
        }
        if played.is_empty() {
            return Err(Error::Training(format!(
                "the environment's program failed every episode of update {}: {}",
                update + 1,
                timings.dropped.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
            )));
        }
        if trajectories.is_empty() {
            return Err(Error::Training(format!(
                "no episode of update {} has all of its rewards, so that nothing can be learned from; look at the rewards",
                update + 1
            )));
        }
        let (samples, prepared) = learner.prepare(&trajectories);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(update + 2); // an update's own stream, apart from those of episodes
        let mut order: Vec<usize> = (0..samples.len()).collect();
        self.steps.clear();
        for _ in 0..passes.epochs {
            order.shuffle(&mut rng);
            self.steps.extend(even_parts(&order, passes.batch));
        }
        self.steps.reverse();
        self.steps_of_update = self.steps.len().max(1);
        self.is_first_step = true;
        self.tokens = 0;
        self.samples = samples;

        let mut metrics = summary(&played);
        metrics.extend(prepared);
        let seconds = |duration: std::time::Duration| duration.as_secs_f64().max(1e-9);
        metrics.insert("rollout/seconds".into(), seconds(timings.total));
        metrics.insert("rollout/turns".into(), timings.turns as f64);
        metrics.insert("throughput/turns_per_second".into(), timings.turns as f64 / seconds(timings.total));
        metrics.insert("throughput/tokens_per_second".into(), timings.tokens as f64 / seconds(timings.total));
        metrics.insert("rollout/environment_share".into(), seconds(timings.environments) / seconds(timings.total));
        if !timings.rewards.is_zero() {
            metrics.insert("rollout/reward_share".into(), seconds(timings.rewards) / seconds(timings.total));
        }
        for (kind, count) in &timings.dropped {
            metrics.insert(format!("rollout/dropped_{kind}"), *count as f64);
        }
        let dropped: usize = timings.dropped.values().sum();
        self.dropped += dropped;
        if self.dropped > 0 {
            metrics.insert("rollout/dropped".into(), dropped as f64);
        }
        (self.played, self.timings) = (played, timings);
        Ok(metrics)
    }

    fn steps(&self) -> usize {
        self.steps_of_update
    }

    fn next_batch(&mut self, learner: &L, collective: &dyn Collective) -> Result<Option<Vec<ActionBatch>>> {
        let Some(step) = self.steps.pop() else { return Ok(None) };
        let samples: Vec<&Sample> = step.iter().map(|&at| &self.samples[at]).collect();
        self.tokens += samples.iter().map(|sample| sample.tokens.len()).sum::<usize>();
        let own = &samples[collective.share(samples.len())];
        let order = side_by_side((0..own.len()).collect(), |at| own[at].prompt());
        let part = |part: &[usize]| part.iter().map(|&at| own[at]).collect::<Vec<_>>();
        let parts = order.chunks(learner.passes().micro_batch);
        Ok(Some(parts.map(|places| ActionBatch::new(&part(places), &self.device)).collect()))
    }

    fn tokens(&self) -> usize {
        self.tokens
    }

    fn episodes(&self) -> Vec<&Episode> {
        self.played.iter().filter(|played| played.is_scored()).map(|played| &played.episode).collect()
    }

    fn observe(&mut self, learner: &L, step: &Metrics) -> Result<()> {
        let error = step.get("policy/ratio_error").copied().unwrap_or(0.0);
        if std::mem::take(&mut self.is_first_step) && error > MAX_RATIO_ERROR {
            return Err(Error::Training(format!(
                "policy/ratio_error: on the first batch after a rollout the probability ratio is off 1 by {error:.3e} \
                 (at most {MAX_RATIO_ERROR:.0e}): tokens are not scored with the distribution that they were sampled from"
            )));
        }
        if learner.has_moved_too_far(step) {
            self.steps.clear();
        }
        Ok(())
    }
}

/// Splits into parts of nearly equal size, none larger than `size`.
fn even_parts(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    let parts = order.len().div_ceil(size);
    (0..parts).map(|part| order[part * order.len() / parts..(part + 1) * order.len() / parts].to_vec()).collect()
}

/// Sets the reference policy's log-probability of every action token, a batch of segments at a time. Segments of similar
/// length are batched together, and those with the same long prompt.
fn score_by(reference: &Policy, mut segments: Vec<&mut Segment>, rows: usize, temperature: f32) {
    let device = reference.transformer.device();
    segments.sort_by_key(|segment| segment.tokens.len());
    let samples: Vec<Sample> = segments.iter().map(|segment| unscored(segment)).collect();
    let order = side_by_side((0..samples.len()).collect(), |at| samples[at].prompt());
    for places in order.chunks(rows) {
        let batch = ActionBatch::new(&places.iter().map(|&at| &samples[at]).collect::<Vec<_>>(), &device);
        let log_probs: TensorData =
            evaluate_actions(reference, &batch, temperature, Entropy::Unused).log_probs.into_data();
        let mut log_probs = log_probs.iter::<f32>();
        for &at in places {
            for (action, log_prob) in segments[at].actions.iter_mut().zip(&mut log_probs) {
                action.reference_log_prob = Some(log_prob);
            }
        }
    }
}

fn unscored(segment: &Segment) -> Sample {
    Sample {
        tokens: segment.tokens.clone(),
        at: segment.actions.iter().map(|action| action.at).collect(),
        allowed: segment.actions.iter().map(|action| action.allowed.clone()).collect(),
        ..Sample::default()
    }
}
