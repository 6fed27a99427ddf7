//! Rollouts: a policy acts in many environments at once and produces episodes.

mod gather;
mod play;
mod running;
mod scoring;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palestra_envs::reward::Scores;
use palestra_envs::{Env, Episode, Info, Pool, Rewards, Step};
use serde::{Deserialize, Serialize};

pub use crate::encoder::Context;
use crate::encoder::{Encoder, Encoding};
use crate::trajectory::Trajectory;
use crate::{Error, Result};
pub use gather::gather_rollouts;
use palestra_model::generate::{Engine, Limits, state_values};
use palestra_model::math::Sampling;
use palestra_model::{EndTokens, Policy};
use palestra_text::{History, NamedTemplate, StopCheck, Tokenizer, before_stop};
use play::Play;
pub use running::now;
use scoring::{EpisodeQueue, score_episodes, scored_beside};
pub use scoring::{reward_means, summary};

/// Settings of rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Episodes of one rollout, at least 1 and a multiple of `group`; each is played to its end.
    pub episodes: usize,
    /// Number of parallel environments, at least 1; more make better use of the processor.
    pub environments: usize,
    /// Number of texts that the model writes at once, at least 1; absent, as many as there are environments. The memory
    /// of keys and values is proportional to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Order of work; absent, `fixed` for environments of this program, and `ready` for those that wait for something
    /// outside of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Group size, at least 1: consecutive episodes that begin in the same state, each with its own random stream; the
    /// completions of a prompt.
    pub group: usize,
    /// Context of the policy when it writes.
    pub context: Context,
    /// True if observations are formatted with the model's chat template, a text as a user message.
    pub chat: bool,
    /// Chat template, if it is not that of `start_from`: a Jinja file, or one of `TRAINING_TEMPLATES` by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<NamedTemplate>,
    /// Treatment of earlier turns, for `context = "transcript"` with a template that rewrites them: `as_written` keeps the
    /// tokens that were read and written, `as_template` reads each turn after the history that the template writes. Absent,
    /// such a template is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// True if only legal actions are allowed, where the environment lists them.
    pub legal_actions_only: bool,
    /// Max number of new tokens of an action, at least 1, if it is not chosen from a list.
    pub max_new_tokens: usize,
    /// Stop texts of an action, if it is not chosen from a list; the action is the text before them.
    pub stop: Vec<String>,
    /// Penalty, at least 0, subtracted from the reward of an action that reached the max number of new tokens without an
    /// end token. It is the part `missing_end` of the turn's reward. Evaluation and recordings of a trained policy leave
    /// it out.
    pub missing_end_penalty: f32,
    /// True if all training episodes are recorded, as an experience log in the run's directory.
    pub record: bool,
    /// True if the KL divergence from the policy that the run started from is measured although `kl_coefficient` is 0. Absent,
    /// it is where a reward is of a model, a judge or people, which a policy may learn to deceive. The policy of the start is
    /// then in memory beside the trained one, unless `[lora]` trains adapters, and reads each episode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_kl: Option<bool>,
}

/// Order of the work of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The model waits for all environments that it wrote actions for, so that the order of work does not depend on
    /// clocks: a run that is repeated has the same bits.
    Fixed,
    /// The model writes for the environments that have answered. Which these are depends on clocks, and with it the
    /// rounding of what is computed together: a run that is repeated may differ.
    Ready,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            episodes: 64,
            environments: 64,
            rows: None,
            schedule: None,
            group: 1,
            context: Context::Observation,
            chat: false,
            chat_template: None,
            history: None,
            sampling: Sampling::default(),
            legal_actions_only: true,
            max_new_tokens: 16,
            stop: Vec::new(),
            missing_end_penalty: 0.0,
            record: false,
            measure_kl: None,
        }
    }
}

impl RolloutConfig {
    /// Context settings for a model that reads at most `max_length` tokens.
    pub fn encoding(&self, max_length: usize) -> Encoding {
        let Self { context, history, legal_actions_only, .. } = *self;
        Encoding { context, history, max_length, legal_actions_only, return_to_go: None }
    }
}

/// Result of one episode, as text and as tokens.
#[derive(Serialize, Deserialize)]
pub struct RolloutResult {
    /// The episode as text.
    pub episode: Episode,
    /// The episode as tokens.
    pub trajectory: Trajectory,
    /// Info of the environment in the last state.
    pub info: Info,
    /// Score of each reward function, before weights.
    pub scores: Scores,
}

impl RolloutResult {
    /// True if no reward is missing; only then is the return complete.
    pub fn is_scored(&self) -> bool {
        self.scores.values().all(Option::is_some)
    }
}

/// Timings and counts of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutTimings {
    /// Time in the environments.
    pub environments: Duration,
    /// Time in the model and in sampling.
    pub model: Duration,
    /// Time in the reward functions.
    pub rewards: Duration,
    /// Total time.
    pub total: Duration,
    /// Tokens read and written.
    pub tokens: usize,
    /// Number of turns.
    pub turns: usize,
    /// Number of episodes that were dropped, because the environment's program failed, by the kind of failure.
    pub dropped: BTreeMap<String, usize>,
}

/// Runs episodes of one environment.
pub struct Rollout {
    pool: Pool,
    encoder: Encoder,
    config: RolloutConfig,
    /// Target return of each episode, if the policy reads it.
    target_return: Option<f32>,
    /// Probability that the action of a turn is a random legal one.
    exploration: f64,
    rewards: Rewards,
}

/// Event of a rollout.
pub enum RolloutEvent<'a> {
    /// An episode has started.
    Started,
    /// The environment has taken a step.
    Stepped(&'a str, &'a Step),
}

/// Watcher of a rollout: it is shown the number of the episode, the event, and the environment after it.
pub type Watch<'a, E> = dyn FnMut(u64, RolloutEvent, &dyn Env) -> Result<(), E> + 'a;

/// Taker of finished episodes, with their numbers.
pub type Take<'a, E> = dyn FnMut(u64, RolloutResult) -> Result<(), E> + 'a;

impl Rollout {
    /// Creates a rollout over the environments of the pool. The target return is used only if the encoder writes it.
    pub fn new(pool: Pool, encoder: Encoder, mut config: RolloutConfig, target_return: Option<f32>) -> Self {
        let waits = pool.env(0).waits();
        let schedule = *config.schedule.get_or_insert(if waits { Schedule::Ready } else { Schedule::Fixed });
        let pool = if waits || schedule == Schedule::Ready { pool.on_threads() } else { pool };
        Self { pool, encoder, config, target_return, exploration: 0.0, rewards: Rewards::default() }
    }

    /// Adds reward functions that score the episodes.
    pub fn with_rewards(self, rewards: Rewards) -> Self {
        Self { rewards, ..self }
    }

    /// Mixes the policy with random actions: each turn, with probability `epsilon`, the action is drawn uniformly from
    /// the legal ones. If the policy chooses among legal actions, the turns then hold the log-probability of the whole
    /// action under the mixture, and no token ids. The trajectories cannot be used for training.
    pub fn exploring(self, epsilon: f64) -> Self {
        Self { exploration: epsilon, ..self }
    }

    /// Runs the episodes of these numbers, in that order, each to its end.
    ///
    /// An episode's number and the run's seed fix its environment and its random numbers, so that the number of
    /// parallel environments does not change the samples. The policy must be outside autodiff.
    ///
    /// # Errors
    /// An environment or a reward fails, an observation has characters that the tokenizer lacks, or is too long for the
    /// model.
    pub fn play(
        &mut self,
        policy: &Policy,
        run_seed: u64,
        numbers: std::ops::Range<u64>,
        sampling: &Sampling,
    ) -> Result<(Vec<RolloutResult>, RolloutTimings)> {
        self.play_watched::<Error>(policy, run_seed, numbers, sampling, &mut |_, _, _| Ok(()))
    }

    /// Same as [`Rollout::play`], and passes each episode's number, the event, and the environment after it to `watch`.
    ///
    /// # Errors
    /// As [`Rollout::play`], or what the watcher could not do.
    pub fn play_watched<E: From<Error>>(
        &mut self,
        policy: &Policy,
        run_seed: u64,
        numbers: std::ops::Range<u64>,
        sampling: &Sampling,
        watch: &mut Watch<E>,
    ) -> Result<(Vec<RolloutResult>, RolloutTimings), E> {
        let rewards = self.rewards.clone();
        let scores_beside = self.config.schedule == Some(Schedule::Ready) && !rewards.is_empty();
        let mut finished = Vec::new();
        let mut timings = if scores_beside {
            scored_beside(&rewards, &mut finished, |take| self.run(policy, run_seed, numbers, sampling, watch, take))?
        } else {
            self.run(policy, run_seed, numbers, sampling, watch, &mut |number, played| {
                finished.push((number, played));
                Ok(())
            })?
        };
        let began = Instant::now();
        finished.sort_by_key(|(number, _)| *number);
        let mut played: Vec<RolloutResult> = finished.into_iter().map(|(_, played)| played).collect();
        let truncated = || played.iter().filter_map(|played| played.trajectory.final_prompt.as_deref());
        let values = state_values(policy, &truncated().collect::<Vec<_>>());
        let truncated = played.iter_mut().filter(|played| played.trajectory.final_prompt.is_some());
        truncated.zip(values).for_each(|(played, value)| played.trajectory.last_value = value);
        if !scores_beside {
            timings.rewards = score_episodes(&rewards, &mut played)?;
        }
        timings.total += began.elapsed();
        Ok((played, timings))
    }

    /// Same as [`Rollout::play_watched`], and passes each episode with its number to `take` soon after its end, so that
    /// memory does not grow with the number of episodes. The value of a truncated final state stays 0.
    ///
    /// # Errors
    /// As [`Rollout::play_watched`], or what the taker could not do.
    pub fn play_each<E: From<Error>>(
        &mut self,
        policy: &Policy,
        run_seed: u64,
        numbers: std::ops::Range<u64>,
        sampling: &Sampling,
        watch: &mut Watch<E>,
        take: &mut Take<E>,
    ) -> Result<RolloutTimings, E> {
        let mut queue = EpisodeQueue::new(self.rewards.clone(), take);
        let mut timings =
            self.run(policy, run_seed, numbers, sampling, watch, &mut |number, played| queue.add(number, played));
        let rewards = queue.finish()?; // also where playing failed: what has ended is whole
        if let Ok(timings) = &mut timings {
            timings.rewards = rewards;
        }
        timings
    }

    /// Runs each episode to its end, and passes it to `take` before its rewards are computed.
    fn run<E: From<Error>>(
        &mut self,
        policy: &Policy,
        run_seed: u64,
        numbers: std::ops::Range<u64>,
        sampling: &Sampling,
        watch: &mut Watch<E>,
        take: &mut Take<E>,
    ) -> Result<RolloutTimings, E> {
        self.playing(policy, run_seed, sampling, |play| play.run(numbers, watch, take))
    }

    /// Resets an environment and writes one action, so that an unusable policy is reported before a run.
    ///
    /// # Errors
    /// As [`Rollout::play`].
    pub fn try_out(&mut self, policy: &Policy) -> Result<()> {
        self.playing(policy, 0, &Sampling::GREEDY, |mut play| play.try_out())
    }

    /// Prepares the parts of a rollout that last as long as its policy.
    fn playing<T>(&mut self, policy: &Policy, run_seed: u64, sampling: &Sampling, run: impl FnOnce(Play) -> T) -> T {
        let Self { pool, encoder, config, target_return, exploration, rewards } = self;
        let ends = encoder.ends().clone();
        let tokenizer = (!config.stop.is_empty()).then(|| encoder.tokenizer().clone());
        let stop = tokenizer.as_ref().map(|tokenizer| StopCheck::new(tokenizer, &config.stop, pool.len()));
        let is_stopped = |slot, token| stop.as_ref().is_some_and(|stop| stop.is_stopped(slot, token));
        let stopped = stop.is_some().then_some(&is_stopped as _);
        let limits = Limits { end: ends.ids(), max_new_tokens: config.max_new_tokens, stopped };
        let engine = Engine::new(policy, limits, *sampling, config.rows.unwrap_or(pool.len()));
        let engine = if config.context == Context::Transcript { engine.keeping_texts() } else { engine };
        run(Play {
            policy,
            pool,
            encoder,
            config,
            engine,
            stop: stop.as_ref(),
            run_seed,
            sampling,
            target_return: *target_return,
            exploration: *exploration,
            notes_info: config.record || !rewards.is_empty(),
            slots: Vec::new(),
            timings: RolloutTimings::default(),
        })
    }

    /// Settings of the rollout.
    pub fn config(&self) -> &RolloutConfig {
        &self.config
    }

    /// Vocabulary size of the policy.
    pub fn vocab_size(&self) -> usize {
        self.encoder.tokenizer().vocab_size()
    }
}

/// Decodes the action in a policy's tokens: their text, up to an end token or a stop text.
///
/// # Errors
/// Tokens that the tokenizer does not have.
pub fn action_text(tokenizer: &Tokenizer, ends: &EndTokens, tokens: &[u32], stop: &[String]) -> Result<String> {
    let text = tokenizer.decode(ends.before(tokens))?;
    Ok(before_stop(&text, stop).unwrap_or(&text).to_string())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
