//! Several instances of one environment, stepped together by a policy that answers in batches.

mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::{Definition, Env, EnvSpec, Observation, Registry, Result, Step};
use workers::Workers;

/// Longest pause until answers are looked for again: a deadline that passes wakes nobody.
const PAUSE: Duration = Duration::from_millis(20);

/// Instances of one environment in numbered slots, each playing one episode at a time.
///
/// Slots are independent: an episode does not depend on its slot or on the other slots.
///
/// ```
/// use palestra_envs::{Definition, Pool, Registry, episode_seed};
/// let mut pool = Pool::new(&Registry::builtin(), &Definition::named("frozen-lake-4x4"), 2)?;
/// for slot in 0..pool.len() {
///     pool.reset(slot, episode_seed(1, slot as u64))?;
/// }
/// for step in pool.step(&[(0, "right"), (1, "down")]) {
///     assert!(!step?.invalid_action);
/// }
/// # Ok::<(), palestra_envs::Error>(())
/// ```
pub struct Pool {
    spec: EnvSpec,
    /// `None` while an environment is with a worker.
    envs: Vec<Option<Box<dyn Env>>>,
    workers: Option<Workers>,
    /// Calls that were sent to environments outside of this program, by slot.
    sent: BTreeMap<usize, Call>,
    /// Answers that nobody has taken.
    answered: VecDeque<Answer>,
    /// Number of environments that are with a worker.
    busy: usize,
}

/// Call of an environment.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Starts an episode with this seed.
    Reset(u64),
    /// Plays this action.
    Step(String),
}

/// Answer of an environment to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The first observation of an episode.
    Reset(Observation),
    /// A step, and the action that it answers.
    Step(String, Step),
}

/// Answer of a slot to a call.
pub struct Answer {
    /// The slot.
    pub slot: usize,
    /// Return value of its environment.
    pub reply: Result<Reply>,
}

impl Call {
    fn answer(self, env: &mut dyn Env) -> Result<Reply> {
        match self {
            Self::Reset(seed) => env.reset(seed).map(Reply::Reset),
            Self::Step(action) => {
                let step = env.step(&action)?;
                Ok(Reply::Step(action, step))
            }
        }
    }
}

impl Pool {
    /// Builds `slots` instances of one definition, at least 1.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn new(registry: &Registry, definition: &Definition, slots: usize) -> Result<Self> {
        let definition = registry.resolve(definition)?;
        let envs: Vec<_> = (0..slots.max(1)).map(|_| registry.build(&definition)).collect::<Result<_>>()?;
        let spec = envs[0].spec().clone();
        let envs = envs.into_iter().map(Some).collect();
        Ok(Self { spec, envs, workers: None, sent: BTreeMap::new(), answered: VecDeque::new(), busy: 0 })
    }

    /// Calls environments on threads of their own, so that one that waits for something does not stop the others. Those
    /// that send their calls ([`Env::send`]) need no threads. Others are called one after the other without them.
    #[must_use]
    pub fn on_threads(self) -> Self {
        let workers = Workers::new(self.len());
        Self { workers: Some(workers), ..self }
    }

    /// The number of slots, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a pool is never empty")]
    pub fn len(&self) -> usize {
        self.envs.len()
    }

    /// Spec of each environment.
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Starts a new episode in a slot; the slot's previous episode is abandoned.
    ///
    /// # Errors
    /// As [`Env::reset`].
    ///
    /// # Panics
    /// If the slot has not answered its last call.
    pub fn reset(&mut self, slot: usize, seed: u64) -> Result<Observation> {
        self.idle(slot).reset(seed)
    }

    /// Plays one action in each of the given slots, in their order. A failure in one slot leaves the others as they are.
    ///
    /// # Panics
    /// If a slot has not answered its last call.
    pub fn step(&mut self, actions: &[(usize, &str)]) -> Vec<Result<Step>> {
        actions.iter().map(|&(slot, action)| self.idle(slot).step(action)).collect()
    }

    /// Calls the environment of a slot. Its answer is among those of [`Pool::answers`], after any time.
    ///
    /// # Panics
    /// If the slot has not answered its last call.
    pub fn call(&mut self, slot: usize, call: Call) {
        if self.idle(slot).send(&call) {
            self.sent.insert(slot, call);
            return;
        }
        match &self.workers {
            Some(workers) => {
                let env = self.envs[slot].take().expect("a slot is called once at a time");
                workers.call(slot, env, call);
                self.busy += 1;
            }
            None => {
                let reply = call.answer(self.idle(slot));
                self.answered.push_back(Answer { slot, reply });
            }
        }
    }

    /// Answers since the last time, by slot: those of all calls, which it waits for; or, with `as_ready`, those that have
    /// come, and if none has and `waits`, the next.
    ///
    /// # Panics
    /// If an environment panicked.
    pub fn answers(&mut self, as_ready: bool, waits: bool) -> Vec<Answer> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            self.receive(as_ready.then_some(&waker));
            while let Some(workers) = self.workers.as_ref().filter(|_| self.busy > 0) {
                let is_next = waits && self.answered.is_empty() && self.sent.is_empty();
                let Some((env, answer)) = workers.answer(!as_ready || is_next) else { break };
                self.envs[answer.slot] = Some(env);
                self.answered.push_back(answer);
                self.busy -= 1;
            }
            if !waits || !self.answered.is_empty() || self.sent.is_empty() {
                break;
            }
            thread::park_timeout(PAUSE);
        }
        let mut answers: Vec<Answer> = self.answered.drain(..).collect();
        answers.sort_by_key(|answer| answer.slot);
        answers
    }

    /// Takes the answers to calls that were sent: of all, or with a waker of those that have come.
    fn receive(&mut self, waker: Option<&Waker>) {
        let (envs, answered) = (&mut self.envs, &mut self.answered);
        self.sent.retain(|&slot, call| {
            let env = envs[slot].as_deref_mut().expect("it is with no worker");
            let takes = waker.is_none_or(|waker| env.has_answer(waker));
            if takes {
                let call = std::mem::replace(call, Call::Reset(0));
                answered.push_back(Answer { slot, reply: call.answer(env) });
            }
            !takes
        });
    }

    /// True if a call has no answer that was taken.
    pub fn is_busy(&self) -> bool {
        self.busy > 0 || !self.sent.is_empty() || !self.answered.is_empty()
    }

    /// The environment of a slot, for its rendering and its scripted policy.
    ///
    /// # Panics
    /// If the slot has not answered its last call.
    pub fn env(&self, slot: usize) -> &dyn Env {
        self.envs[slot].as_deref().expect("the slot has answered")
    }

    fn idle(&mut self, slot: usize) -> &mut dyn Env {
        assert!(!self.sent.contains_key(&slot), "the slot has answered");
        self.envs[slot].as_deref_mut().expect("the slot has answered")
    }
}

/// Waker of a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
