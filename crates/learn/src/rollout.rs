//! Rollouts: a policy acts in many environments at once and produces episodes.

mod running;
mod scoring;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palestra_envs::policies::{BaselinePolicy, Random, mixture_log_prob};
use palestra_envs::reward::Scores;
use palestra_envs::{End, Env, Episode, Info, Pool, Rewards, Step};
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use crate::encoder::Context;
use crate::encoder::{Encoder, Encoding};
use crate::trajectory::Trajectory;
use crate::{Error, Result};
use palestra_model::generate::{Limits, Request, generate, state_values};
use palestra_model::math::Sampling;
use palestra_model::{EndTokens, Policy};
use palestra_text::{History, NamedTemplate, Tokenizer, before_stop, stop_check};
use running::Running;
pub use running::now;
use scoring::{EpisodeQueue, score_episodes};
pub use scoring::{reward_means, summary};

/// Settings of rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Episodes of one rollout, at least 1 and a multiple of `group`; each is played to its end.
    pub episodes: usize,
    /// Number of parallel environments, at least 1; more make better use of the processor.
    pub environments: usize,
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
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            episodes: 64,
            environments: 64,
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
#[derive(Debug, Clone, Default)]
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
    pub dropped: BTreeMap<&'static str, usize>,
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
    pub fn new(pool: Pool, encoder: Encoder, config: RolloutConfig, target_return: Option<f32>) -> Self {
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
        let first = numbers.start;
        let mut finished: Vec<Option<RolloutResult>> = numbers.clone().map(|_| None).collect();
        let mut timings = self.run(policy, run_seed, numbers, sampling, watch, &mut |number, played| {
            finished[(number - first) as usize] = Some(played);
            Ok(())
        })?;
        let began = Instant::now();
        let mut played: Vec<RolloutResult> = finished.into_iter().flatten().collect();
        let truncated = || played.iter().filter_map(|played| played.trajectory.final_prompt.as_deref());
        let values = state_values(policy, &truncated().collect::<Vec<_>>());
        let truncated = played.iter_mut().filter(|played| played.trajectory.final_prompt.is_some());
        truncated.zip(values).for_each(|(played, value)| played.trajectory.last_value = value);
        timings.rewards = score_episodes(&self.rewards, &mut played)?;
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
        let began = Instant::now();
        let mut timings = RolloutTimings::default();
        let mut waiting = numbers;
        let slots = (0..self.pool.len()).collect();
        let mut running = self.start_all(slots, &mut waiting, run_seed, &mut timings, watch)?;
        while !running.is_empty() {
            let actions = self.write(policy, &mut running, sampling, &mut timings)?;
            let stepped = Instant::now();
            let slots: Vec<(usize, &str)> =
                running.iter().zip(&actions).map(|((slot, _), action)| (*slot, action.as_str())).collect();
            let steps = self.pool.step(&slots);
            timings.environments += stepped.elapsed();
            timings.turns += steps.len();

            let mut still_running = Vec::with_capacity(running.len());
            let mut free = Vec::new();
            for (((slot, mut episode), action), step) in running.into_iter().zip(actions).zip(steps) {
                let Some(step) = unless_dropped(step, &mut timings)? else {
                    free.push(slot);
                    continue;
                };
                watch(episode.number, RolloutEvent::Stepped(&action, &step), self.pool.env(slot))?;
                episode.take_turn(action, step.reward, step.invalid_action);
                if self.config.record || !self.rewards.is_empty() {
                    episode.note(&step.observation.info);
                }
                if self.config.record {
                    episode.note_time();
                }
                episode.observation = step.observation;
                let Some(end) = step.end else {
                    still_running.push((slot, episode));
                    continue;
                };
                let is_valued = end == End::Truncated && policy.value_head.is_some();
                let final_prompt = is_valued.then(|| self.prompt(&episode, 0)).transpose()?;
                take(episode.number, episode.finish(end, self.pool.spec(), run_seed, final_prompt))?;
                free.push(slot);
            }
            still_running.extend(self.start_all(free, &mut waiting, run_seed, &mut timings, watch)?);
            still_running.sort_by_key(|(slot, _)| *slot);
            running = still_running;
        }
        timings.total = began.elapsed();
        Ok(timings)
    }

    /// Resets an environment and writes one action, so that an unusable policy is reported before a run.
    ///
    /// # Errors
    /// As [`Rollout::play`].
    pub fn try_out(&mut self, policy: &Policy) -> Result<()> {
        let mut running = Running::new(0, 0, self.config.group as u64);
        running.observation = self.pool.reset(0, running.seed)?;
        running.return_to_go = self.target_return;
        self.write(policy, &mut [(0, running)], &Sampling::GREEDY, &mut RolloutTimings::default()).map(|_| ())
    }

    /// Settings of the rollout.
    pub fn config(&self) -> &RolloutConfig {
        &self.config
    }

    /// Vocabulary size of the policy.
    pub fn vocab_size(&self) -> usize {
        self.encoder.tokenizer().vocab_size()
    }

    /// Starts the next waiting episodes in slots that are free, all at once. An episode that the environment fails to start
    /// is dropped, and the next one takes its slot.
    fn start_all<E: From<Error>>(
        &mut self,
        mut free: Vec<usize>,
        waiting: &mut std::ops::Range<u64>,
        run_seed: u64,
        timings: &mut RolloutTimings,
        watch: &mut Watch<E>,
    ) -> Result<Vec<(usize, Running)>, E> {
        let mut started = Vec::with_capacity(free.len());
        while !free.is_empty() && !waiting.is_empty() {
            let began = Instant::now();
            let next: Vec<(usize, Running)> = std::mem::take(&mut free)
                .into_iter()
                .zip(waiting.by_ref())
                .map(|(slot, number)| (slot, Running::new(run_seed, number, self.config.group as u64)))
                .collect();
            self.pool.begin_resets(next.iter().map(|(slot, episode)| (*slot, episode.seed)));
            for (slot, mut episode) in next {
                let Some(observation) = unless_dropped(self.pool.reset(slot, episode.seed), timings)? else {
                    free.push(slot);
                    continue;
                };
                episode.observation = observation;
                episode.return_to_go = self.target_return;
                watch(episode.number, RolloutEvent::Started, self.pool.env(slot))?;
                started.push((slot, episode));
            }
            timings.environments += began.elapsed();
        }
        Ok(started)
    }

    /// Request of an episode's next action, and the action if it is a random one.
    fn request(&mut self, slot: usize, episode: &mut Running) -> Result<(Request, Option<String>)> {
        let choices = self.encoder.choices(episode.observation.legal_actions.as_deref())?;
        let action = self.random_action(slot, episode)?;
        let forced = action.as_ref().map(|action| self.encoder.written(action, choices.as_deref())).transpose()?;
        let longest = forced.as_ref().map(Vec::len).or(choices.as_ref().map(|choices| choices.longest()));
        let prompt = self.prompt(episode, longest.unwrap_or(self.config.max_new_tokens))?;
        Ok((Request { prompt, choices, rng: episode.rng.clone(), forced }, action))
    }

    /// Generates an action of the policy for every running episode.
    fn write(
        &mut self,
        policy: &Policy,
        running: &mut [(usize, Running)],
        sampling: &Sampling,
        timings: &mut RolloutTimings,
    ) -> Result<Vec<String>> {
        let mut requests = Vec::with_capacity(running.len());
        let mut explored = Vec::with_capacity(running.len());
        for (slot, episode) in running.iter_mut() {
            let (request, action) = self.request(*slot, episode).map_err(|error| match error {
                Error::Data(reason) => {
                    let (id, number, turn) = (&self.pool.spec().id, episode.number, episode.turns.len());
                    Error::Data(format!("{id}: episode {number}, turn {turn}: {reason}"))
                }
                error => error,
            })?;
            requests.push(request);
            explored.push(action);
        }
        let (tokenizer, ends, stop) = (self.encoder.tokenizer(), self.encoder.ends(), &self.config.stop);
        let stopped = stop_check(tokenizer, stop, requests.len());
        let limits = Limits {
            end: ends.ids(),
            max_new_tokens: self.config.max_new_tokens,
            stopped: (!stop.is_empty()).then_some(&stopped),
        };
        let began = Instant::now();
        let written = generate(policy, &mut requests, &limits, sampling);
        timings.model += began.elapsed();

        let mut actions = Vec::with_capacity(running.len());
        for ((((slot, episode), request), text), explored) in
            running.iter_mut().zip(requests).zip(written).zip(explored)
        {
            timings.tokens += request.prompt.len() + text.tokens.len();
            let is_own = explored.is_none();
            let action = match explored {
                Some(action) => action,
                None => {
                    let stop = if request.choices.is_none() { self.config.stop.as_slice() } else { &[] };
                    action_text(tokenizer, ends, &text.tokens, stop)?
                }
            };
            episode.rng = request.rng;
            // Free text can have several tokenizations, and the log-probability is that of one. Only choices from a
            // list get one.
            let own = request.choices.filter(|_| self.exploration > 0.0).map(|_| {
                let is_certain = is_own && sampling.temperature <= 0.0;
                if is_certain { 0.0 } else { text.log_probs.iter().copied().map(f64::from).sum() }
            });
            episode.remember(request.prompt, text, &self.config);
            if self.exploration > 0.0 {
                let random = Random.log_prob(self.pool.env(*slot), &episode.observation, &action)?;
                let mixed = random.zip(own).map(|(random, own)| mixture_log_prob(self.exploration, random, own));
                episode.was_mixed(mixed);
            }
            actions.push(action);
        }
        Ok(actions)
    }

    /// Draws a random action with the exploration probability; `None` if the policy acts.
    fn random_action(&self, slot: usize, episode: &mut Running) -> Result<Option<String>> {
        if self.exploration == 0.0 || episode.rng.random::<f64>() >= self.exploration {
            return Ok(None);
        }
        let choice = Random.act(self.pool.env(slot), &episode.observation, &mut episode.rng)?;
        Ok(Some(choice.action))
    }

    fn prompt(&self, episode: &Running, max_new_tokens: usize) -> Result<Vec<u32>> {
        let Running { context, turns, observation, return_to_go, .. } = episode;
        self.encoder.prompt(context, turns, &observation.content, *return_to_go, max_new_tokens)
    }
}

/// Returns what an environment gave, or `None` for an episode that its program failed, which is counted.
fn unless_dropped<T>(given: palestra_envs::Result<T>, timings: &mut RolloutTimings) -> Result<Option<T>> {
    match given {
        Ok(given) => Ok(Some(given)),
        Err(error) => match error.episode_failure() {
            Some(kind) => {
                *timings.dropped.entry(kind.name()).or_default() += 1;
                Ok(None)
            }
            None => Err(error.into()),
        },
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
mod tests;
