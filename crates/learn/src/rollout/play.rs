//! The loop of a rollout: the model writes actions, the environments answer, and the model writes the next ones.

use std::time::{Duration, Instant};

use palestra_envs::policies::{BaselinePolicy, Random, mixture_log_prob};
use palestra_envs::{Answer, Call, End, Observation, Pool, Reply, Step};
use palestra_model::Policy;
use palestra_model::generate::{Engine, Finished, Request};
use palestra_model::math::Sampling;
use palestra_text::StopCheck;
use rand::RngExt;

use super::running::Running;
use super::{RolloutConfig, RolloutEvent, RolloutTimings, Schedule, Take, Watch, action_text};
use crate::encoder::Encoder;
use crate::{Error, Result};

/// A rollout that is being played. A slot of the pool is the key of its requests.
pub(super) struct Play<'a> {
    pub policy: &'a Policy,
    pub pool: &'a mut Pool,
    pub encoder: &'a mut Encoder,
    pub config: &'a RolloutConfig,
    pub engine: Engine<'a>,
    pub stop: Option<&'a StopCheck<'a>>,
    pub run_seed: u64,
    pub sampling: &'a Sampling,
    pub target_return: Option<f32>,
    pub exploration: f64,
    /// True if the infos of all turns are stored.
    pub notes_info: bool,
    /// The episode of each slot.
    pub slots: Vec<Option<Slot>>,
    pub timings: RolloutTimings,
}

/// A slot of the pool with an episode.
pub(super) struct Slot {
    episode: Running,
    /// The action that is being written, if it is a random one.
    explored: Option<String>,
}

impl Play<'_> {
    /// Runs the episodes of these numbers, each to its end.
    pub fn run<E: From<Error>>(
        mut self,
        mut waiting: std::ops::Range<u64>,
        watch: &mut Watch<E>,
        take: &mut Take<E>,
    ) -> Result<RolloutTimings, E> {
        let began = Instant::now();
        let as_ready = self.config.schedule == Some(Schedule::Ready);
        self.pool.answers(false, true); // a rollout that failed may have left calls without an answer
        for slot in 0..self.pool.len() {
            self.start(slot, waiting.next());
        }
        loop {
            loop {
                let answers =
                    timed(&mut self.timings.environments, || self.pool.answers(as_ready, self.engine.is_idle()));
                if answers.is_empty() {
                    break;
                }
                for Answer { slot, reply } in answers {
                    let Some(reply) = self.unless_dropped(reply)? else {
                        self.drop_episode(slot);
                        self.start(slot, waiting.next());
                        continue;
                    };
                    match reply {
                        Reply::Reset(observation) => {
                            let number = self.begin(slot, observation);
                            watch(number, RolloutEvent::Started, self.pool.env(slot))?;
                            self.ask(slot)?;
                        }
                        Reply::Step(action, step) => {
                            let number = self.episode(slot).number;
                            watch(number, RolloutEvent::Stepped(&action, &step), self.pool.env(slot))?;
                            let Some(end) = self.take_step(slot, action, step) else {
                                self.ask(slot)?;
                                continue;
                            };
                            self.finish(slot, end, take)?;
                            self.start(slot, waiting.next());
                        }
                    }
                }
            }
            if self.engine.is_idle() && !self.pool.is_busy() {
                break;
            }
            for finished in timed(&mut self.timings.model, || self.engine.step()) {
                let slot = finished.key;
                let action = self.act(finished)?;
                self.call(slot, Call::Step(action));
            }
        }
        self.timings.total = began.elapsed();
        Ok(self.timings)
    }

    /// Resets an environment and writes one action.
    pub fn try_out(&mut self) -> Result<()> {
        self.start(0, Some(0));
        for Answer { slot, reply } in self.pool.answers(false, true) {
            if let Reply::Reset(observation) = reply? {
                self.begin(slot, observation);
                self.ask(slot)?;
            }
        }
        while !self.engine.is_idle() {
            for finished in self.engine.step() {
                self.act(finished)?;
            }
        }
        Ok(())
    }

    /// Starts an episode in a slot that is free.
    fn start(&mut self, slot: usize, number: Option<u64>) {
        let (group, tasks) = (self.config.group as u64, self.pool.spec().tasks);
        let episode = number.map(|number| Running::new(self.run_seed, number, group, tasks));
        self.slots.resize_with(self.pool.len(), || None);
        self.slots[slot] = episode.map(|episode| Slot { episode, explored: None });
        if let Some(Slot { episode, .. }) = &self.slots[slot] {
            let seed = episode.seed;
            self.call(slot, Call::Reset(seed));
        }
    }

    /// Returns what an environment gave, or `None` for an episode that its program failed, which is counted.
    fn unless_dropped(&mut self, reply: palestra_envs::Result<Reply>) -> Result<Option<Reply>> {
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(error) => match error.episode_failure() {
                Some(kind) => {
                    *self.timings.dropped.entry(kind.name().to_string()).or_default() += 1;
                    Ok(None)
                }
                None => Err(error.into()),
            },
        }
    }

    fn drop_episode(&mut self, slot: usize) {
        self.engine.release(slot);
        self.slots[slot] = None;
    }

    fn call(&mut self, slot: usize, call: Call) {
        timed(&mut self.timings.environments, || self.pool.call(slot, call));
    }

    fn episode(&mut self, slot: usize) -> &mut Running {
        &mut self.slots[slot].as_mut().expect("a slot that answers has an episode").episode
    }

    /// Takes the first observation, and returns the number of the episode.
    fn begin(&mut self, slot: usize, observation: Observation) -> u64 {
        let return_to_go = self.target_return;
        let episode = self.episode(slot);
        (episode.observation, episode.return_to_go) = (observation, return_to_go);
        episode.number
    }

    /// Takes what the environment answered to an action, and returns how the episode ended, if it did.
    fn take_step(&mut self, slot: usize, action: String, step: Step) -> Option<End> {
        self.timings.turns += 1;
        let (notes_info, notes_time) = (self.notes_info, self.config.record);
        let episode = self.episode(slot);
        episode.take_turn(action, step.reward, step.invalid_action);
        if notes_info {
            episode.note(&step.observation.info);
        }
        if notes_time {
            episode.note_time();
        }
        episode.observation = step.observation;
        step.end
    }

    /// Passes on an episode that has ended.
    fn finish<E: From<Error>>(&mut self, slot: usize, end: End, take: &mut Take<E>) -> Result<(), E> {
        self.engine.release(slot);
        let Some(Slot { episode, .. }) = self.slots[slot].take() else { return Ok(()) };
        let is_valued = end == End::Truncated && self.policy.value_head.is_some();
        let final_prompt = is_valued.then(|| prompt(self.encoder, &episode, 0)).transpose()?;
        take(episode.number, episode.finish(end, self.pool.spec(), self.run_seed, final_prompt))
    }

    /// Asks the model for the next action of an episode.
    fn ask(&mut self, slot: usize) -> Result<()> {
        let request = self.request(slot).map_err(|error| match error {
            Error::Data(reason) => {
                let id = self.pool.spec().id.clone();
                let Running { number, turns, .. } = self.episode(slot);
                Error::Data(format!("{id}: episode {number}, turn {}: {reason}", turns.len()))
            }
            error => error,
        })?;
        self.stop.inspect(|stop| stop.begin(slot));
        self.engine.submit(slot, request);
        Ok(())
    }

    fn request(&mut self, slot: usize) -> Result<Request> {
        let Slot { episode, explored } = self.slots[slot].as_mut().expect("a slot that answers has an episode");
        let choices = self.encoder.choices(episode.observation.legal_actions.as_deref())?;
        *explored = match self.exploration > 0.0 && episode.rng.random::<f64>() < self.exploration {
            true => Some(Random.act(self.pool.env(slot), &episode.observation, &mut episode.rng)?.action),
            false => None,
        };
        let forced = explored.as_ref().map(|action| self.encoder.written(action, choices.as_deref())).transpose()?;
        let longest = forced.as_ref().map(Vec::len).or(choices.as_ref().map(|choices| choices.longest()));
        let prompt = prompt(self.encoder, episode, longest.unwrap_or(self.config.max_new_tokens))?;
        Ok(Request { prompt, choices, rng: episode.rng.clone(), forced })
    }

    /// Stores what the model wrote, and returns the action.
    fn act(&mut self, finished: Finished) -> Result<String> {
        let Finished { key: slot, request, continuation: text } = finished;
        self.timings.tokens += request.prompt.len() + text.tokens.len();
        let Slot { episode, explored } = self.slots[slot].as_mut().expect("a slot that writes has an episode");
        let explored = explored.take();
        let is_own = explored.is_none();
        let action = match explored {
            Some(action) => action,
            None => {
                let stop = if request.choices.is_none() { self.config.stop.as_slice() } else { &[] };
                action_text(self.encoder.tokenizer(), self.encoder.ends(), &text.tokens, stop)?
            }
        };
        episode.rng = request.rng;
        // Free text can have several tokenizations, and the log-probability is that of one. Only choices from a list get
        // one.
        let own = request.choices.filter(|_| self.exploration > 0.0).map(|_| {
            let is_certain = is_own && self.sampling.temperature <= 0.0;
            if is_certain { 0.0 } else { text.log_probs.iter().copied().map(f64::from).sum() }
        });
        episode.remember(request.prompt, text, self.config);
        if self.exploration > 0.0 {
            let random = Random.log_prob(self.pool.env(slot), &episode.observation, &action)?;
            let mixed = random.zip(own).map(|(random, own)| mixture_log_prob(self.exploration, random, own));
            episode.was_mixed(mixed);
        }
        Ok(action)
    }
}

fn prompt(encoder: &Encoder, episode: &Running, max_new_tokens: usize) -> Result<Vec<u32>> {
    let Running { context, turns, observation, return_to_go, .. } = episode;
    encoder.prompt(context, turns, &observation.content, *return_to_go, max_new_tokens)
}

/// Adds the time that `work` takes to `spent`.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    *spent += began.elapsed();
    result
}
