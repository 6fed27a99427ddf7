//! Wrappers for any environment. Each wrapper is an environment itself.

use std::task::Waker;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::phase::Phase;
use crate::{Call, End, Env, EnvSpec, Error, Observation, Result, Step};

/// Wrappers around an environment, applied from the inside to the outside in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wrappers {
    /// Maximum number of turns of an episode, at least 1. Longer episodes are truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<std::num::NonZeroU32>,
    /// Rule for invalid actions, in place of the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<InvalidRule>,
    /// Factor for every reward, finite and not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_scale: Option<f32>,
    /// True if the last step's info has the episode's return, length and number of invalid actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<bool>,
}

/// Methods that no wrapper changes.
macro_rules! pass_to_inner {
    () => {
        fn render(&self) -> String {
            self.inner.render()
        }

        fn scripted_action(&self) -> Option<String> {
            self.inner.scripted_action()
        }

        fn waits(&self) -> bool {
            self.inner.waits()
        }

        fn send(&mut self, call: &Call) -> bool {
            self.inner.send(call)
        }

        fn has_answer(&self, waker: &Waker) -> bool {
            self.inner.has_answer(waker)
        }
    };
}

/// Truncates an episode after a number of turns. An episode that terminates on its last turn counts as terminated.
pub struct TimeLimit {
    inner: Box<dyn Env>,
    spec: EnvSpec,
    limit: u32,
    turns: u32,
    phase: Phase,
}

/// Multiplies every reward by a constant.
pub struct RewardScale {
    inner: Box<dyn Env>,
    spec: EnvSpec,
    scale: f32,
}

/// Rule for invalid actions, in place of the environment's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InvalidRule {
    /// The reward of an invalid action; default: the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f32>,
    /// True if an invalid action terminates the episode.
    pub end: bool,
}

/// Applies an [`InvalidRule`].
pub struct InvalidAction {
    inner: Box<dyn Env>,
    spec: EnvSpec,
    rule: InvalidRule,
    phase: Phase,
}

/// Adds statistics of an episode to the last step's info under `episode`: `return`, `length` (turns) and
/// `invalid_actions`.
pub struct EpisodeStatistics {
    inner: Box<dyn Env>,
    total: f64,
    length: u32,
    invalid: u32,
}

/// Gives an environment another id.
pub(crate) struct Named {
    inner: Box<dyn Env>,
    spec: EnvSpec,
}

impl Wrappers {
    /// Merges these wrappers over `base`. Values set here take precedence.
    pub(crate) fn over(&self, base: &Wrappers) -> Self {
        Self {
            limit: self.limit.or(base.limit),
            invalid: self.invalid.or(base.invalid),
            reward_scale: self.reward_scale.or(base.reward_scale),
            statistics: self.statistics.or(base.statistics),
        }
    }
}

/// Wraps an environment as its definition specifies.
pub(crate) fn wrap(mut env: Box<dyn Env>, wrappers: &Wrappers) -> Result<Box<dyn Env>> {
    if let Some(limit) = wrappers.limit {
        env = Box::new(TimeLimit::new(env, limit.get()));
    }
    if let Some(rule) = wrappers.invalid {
        env = Box::new(InvalidAction::new(env, rule)?);
    }
    if let Some(scale) = wrappers.reward_scale {
        env = Box::new(RewardScale::new(env, scale)?);
    }
    if wrappers.statistics == Some(true) {
        env = Box::new(EpisodeStatistics::new(env));
    }
    Ok(env)
}

impl TimeLimit {
    /// Limits episodes to `limit` turns, at least 1. With a limit below the environment's own, the optimal return is
    /// unknown.
    pub fn new(inner: Box<dyn Env>, limit: u32) -> Self {
        let mut spec = inner.spec().clone();
        let limit = limit.max(1);
        if spec.max_turns.is_none_or(|own| limit < own) {
            spec.max_turns = Some(limit);
            spec.optimal_return = None;
            spec.solved_return = None;
        }
        Self { inner, spec, limit, turns: 0, phase: Phase::New }
    }
}

impl Env for TimeLimit {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        let observation = self.inner.reset(seed)?;
        self.turns = 0;
        self.phase = Phase::Running;
        Ok(observation)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        let mut step = self.inner.step(action)?;
        self.turns += 1;
        if step.end.is_none() && self.turns >= self.limit {
            step.end = Some(End::Truncated);
        }
        if step.end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(step)
    }

    pass_to_inner!();
}

impl RewardScale {
    /// Multiplies rewards by `scale`, which is finite and not 0.
    pub fn new(inner: Box<dyn Env>, scale: f32) -> Result<Self> {
        if !scale.is_finite() || scale == 0.0 {
            return Err(Error::Definition(format!("wrappers.reward_scale: {scale} must be finite and not 0")));
        }
        let mut spec = inner.spec().clone();
        let (low, high) = (spec.reward_range.0 * scale, spec.reward_range.1 * scale);
        spec.reward_range = (low.min(high), low.max(high));
        // A negative scale turns the best policy into the worst.
        spec.optimal_return = spec.optimal_return.filter(|_| scale > 0.0).map(|value| value * f64::from(scale));
        spec.solved_return = spec.solved_return.filter(|_| scale > 0.0).map(|value| value * f64::from(scale));
        Ok(Self { inner, spec, scale })
    }
}

impl Env for RewardScale {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        let mut step = self.inner.step(action)?;
        step.reward *= self.scale;
        Ok(step)
    }

    pass_to_inner!();
}

impl InvalidAction {
    /// Applies the rule; its reward is finite.
    pub fn new(inner: Box<dyn Env>, rule: InvalidRule) -> Result<Self> {
        let mut spec = inner.spec().clone();
        let (low, high) = spec.reward_range;
        if let Some(reward) = rule.reward {
            if !reward.is_finite() {
                return Err(Error::Definition(format!("wrappers.invalid.reward: {reward} must be finite")));
            }
            spec.reward_range = (low.min(reward), high.max(reward));
        }
        // An invalid action that is no better than any other leaves the optimal return unchanged. Ending the episode
        // may be an advantage if each further turn has a cost.
        if rule.reward.is_some_and(|reward| reward > low) || (rule.end && low < 0.0) {
            spec.optimal_return = None;
            spec.solved_return = None;
        }
        Ok(Self { inner, spec, rule, phase: Phase::New })
    }
}

impl Env for InvalidAction {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        let observation = self.inner.reset(seed)?;
        self.phase = Phase::Running;
        Ok(observation)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.phase.check_running(&self.spec.id)?;
        let mut step = self.inner.step(action)?;
        if step.invalid_action {
            step.reward = self.rule.reward.unwrap_or(step.reward);
            if self.rule.end {
                step.end = Some(End::Terminated);
            }
        }
        if step.end.is_some() {
            self.phase = Phase::Over;
        }
        Ok(step)
    }

    pass_to_inner!();
}

impl EpisodeStatistics {
    /// Collects statistics of the episodes of `inner`.
    pub fn new(inner: Box<dyn Env>) -> Self {
        Self { inner, total: 0.0, length: 0, invalid: 0 }
    }
}

impl Env for EpisodeStatistics {
    fn spec(&self) -> &EnvSpec {
        self.inner.spec()
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        (self.total, self.length, self.invalid) = (0.0, 0, 0);
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        let mut step = self.inner.step(action)?;
        self.total += f64::from(step.reward);
        self.length += 1;
        self.invalid += u32::from(step.invalid_action);
        if step.end.is_some() {
            let episode = json!({ "return": self.total, "length": self.length, "invalid_actions": self.invalid });
            step.observation.info.insert("episode".to_string(), episode);
        }
        Ok(step)
    }

    pass_to_inner!();
}

impl Named {
    pub(crate) fn new(inner: Box<dyn Env>, id: String) -> Self {
        let spec = EnvSpec { id, ..inner.spec().clone() };
        Self { inner, spec }
    }
}

impl Env for Named {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        self.inner.step(action)
    }

    pass_to_inner!();
}
