//! Plays episodes for the checker and checks every step.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{CheckOptions, Report, Severity, Stop};
use crate::baseline::random_policy;
use crate::{Env, EnvSpec, Error, Observation, Result, Step};

/// An environment instance under check.
pub(super) struct Session<'a> {
    make: &'a dyn Fn() -> Result<Box<dyn Env>>,
    pub options: CheckOptions,
    pub report: &'a mut Report,
    env: Box<dyn Env>,
    spec: EnvSpec,
    /// The episode that findings refer to.
    pub episode: Option<u64>,
}

/// Actions of an episode and the environment's answers.
pub(super) struct Transcript {
    pub actions: Vec<String>,
    /// The reset's observation and every step, in full.
    pub lines: Vec<String>,
    pub ended: bool,
    /// True if any action was valid.
    pub understood: bool,
}

/// Source of the actions.
pub(super) enum Actor<'a> {
    Recorded(std::slice::Iter<'a, String>),
    Scripted(Box<dyn FnMut(&Observation) -> String>),
    Random(Box<dyn FnMut(&Observation) -> String>),
}

impl<'a> Actor<'a> {
    pub fn random(seed: u64) -> Self {
        Self::Random(Box::new(random_policy(!seed)))
    }

    /// The scripted policy, or the random one if there is none.
    pub fn scripted(seed: u64) -> Self {
        Self::Scripted(Box::new(random_policy(!seed)))
    }

    pub fn recorded(transcript: &'a Transcript) -> Self {
        Self::Recorded(transcript.actions.iter())
    }
}

impl<'a> Session<'a> {
    pub fn new(
        make: &'a dyn Fn() -> Result<Box<dyn Env>>,
        options: CheckOptions,
        report: &'a mut Report,
    ) -> Result<Self, Stop> {
        let (env, spec) = fresh(make, report)?;
        report.env_id.clone_from(&spec.id);
        Ok(Self { make, options, report, env, spec, episode: None })
    }

    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Replaces the environment with a fresh instance.
    pub fn renew(&mut self) -> Result<(), Stop> {
        self.env = fresh(self.make, self.report)?.0;
        Ok(())
    }

    pub fn error(&mut self, rule: &'static str, turn: Option<u32>, message: String) {
        self.report.add(rule, Severity::Error, self.episode, turn, message);
    }

    /// Reports that an episode is not played again as it was: an error, unless the spec says that it need not be.
    pub fn not_reproduced(&mut self, rule: &'static str, turn: Option<u32>, message: String) {
        match self.spec.reproducible {
            true => self.error(rule, turn, message),
            false => self.warn(rule, turn, message),
        }
    }

    pub fn warn(&mut self, rule: &'static str, turn: Option<u32>, message: String) {
        self.report.add(rule, Severity::Warning, self.episode, turn, message);
    }

    /// Checks the state before the first reset.
    pub fn before_reset(&mut self) -> Result<(), Stop> {
        self.look(None)?;
        if self.call(None, |env| env.step("anything"))?.is_ok() {
            self.error("step-before-reset", None, "step() before reset() was played; an error would be right".into());
            self.renew()?;
        }
        Ok(())
    }

    /// Checks the state after an episode's end.
    pub fn after_end(&mut self, played: &Transcript) -> Result<(), Stop> {
        let turn = Some(played.actions.len() as u32);
        let Some(last) = played.actions.last().filter(|_| played.ended) else { return Ok(()) };
        match self.call(turn, |env| env.step(last))? {
            Err(Error::NotRunning { .. }) => {}
            Err(error) => {
                let message = format!("step() after the end failed with `{error}`; Error::NotRunning would be right");
                self.warn("step-after-end", turn, message);
            }
            Ok(_) => self.error("step-after-end", turn, "step() was played; an error would be right".into()),
        }
        Ok(())
    }

    /// Plays an episode to its end.
    pub fn play(&mut self, seed: u64, actor: Actor<'_>) -> Result<Transcript, Stop> {
        let limit = self.spec.max_turns.unwrap_or(self.options.max_turns).max(1);
        let recorded = matches!(actor, Actor::Recorded(_));
        let played = self.play_part(seed, actor, limit)?;
        let turns = Some(played.actions.len() as u32);
        if !played.ended && !recorded {
            match self.spec.max_turns {
                Some(limit) => self.error("max-turns", turns, format!("no end after max_turns = {limit}")),
                None => {
                    self.warn("max-turns", turns, format!("no end after {limit} turns, and spec.max_turns is unset"))
                }
            }
        }
        Ok(played)
    }

    /// Plays at most `turns` turns of an episode.
    pub fn play_part(&mut self, seed: u64, mut actor: Actor<'_>, turns: u32) -> Result<Transcript, Stop> {
        let mut observation = self.reset(seed)?;
        let mut played =
            Transcript { actions: vec![], lines: vec![format!("{observation:?}")], ended: false, understood: false };
        while !played.ended && (played.actions.len() as u32) < turns {
            let turn = Some(played.actions.len() as u32 + 1);
            let action = match &mut actor {
                Actor::Recorded(actions) => match actions.next() {
                    Some(action) => action.clone(),
                    None => break,
                },
                Actor::Random(policy) => self.choose(policy, &observation, turn)?,
                Actor::Scripted(policy) => match self.call(turn, |env| env.scripted_action())? {
                    Some(action) => {
                        self.covered(&action, turn);
                        action
                    }
                    None => self.choose(policy, &observation, turn)?,
                },
            };
            let step = self.step(&action, turn)?;
            let legal = observation.legal_actions.as_deref().is_some_and(|legal| legal.contains(&action));
            let meant = legal || matches!(actor, Actor::Scripted(_)) && !action.is_empty();
            if meant && step.invalid_action {
                let who = if legal { "legal_actions lists" } else { "the scripted policy wrote" };
                self.error("legal-actions", turn, format!("{who} {action:?}, which was flagged invalid"));
            }
            played.lines.push(format!("{step:?}"));
            played.ended = step.end.is_some();
            played.understood |= !step.invalid_action;
            observation = step.observation;
            if !played.ended {
                self.running(&observation, turn);
            }
            played.actions.push(action);
        }
        Ok(played)
    }

    /// Starts an episode and checks its first observation.
    pub fn reset(&mut self, seed: u64) -> Result<Observation, Stop> {
        self.report.episodes += 1;
        match self.call(Some(0), |env| env.reset(seed))? {
            Ok(observation) => {
                self.covered(&observation.content.as_text(), Some(0));
                self.running(&observation, Some(0));
                self.look(Some(0))?;
                Ok(observation)
            }
            Err(error) => {
                self.error("reset", Some(0), format!("reset({seed}) failed: {error}"));
                Err(Stop)
            }
        }
    }

    /// Plays an action and checks the resulting step.
    pub fn step(&mut self, action: &str, turn: Option<u32>) -> Result<Step, Stop> {
        self.report.turns += 1;
        let step = match self.call(turn, |env| env.step(action))? {
            Ok(step) => step,
            Err(error) => {
                let message = format!("step({}) failed: {error}; flag the action invalid instead", shown(action));
                self.error("step-error", turn, message);
                return Err(Stop);
            }
        };
        let (low, high) = self.spec.reward_range;
        if !step.reward.is_finite() || step.reward < low || step.reward > high {
            self.error("reward", turn, format!("reward {} is outside reward_range ({low}, {high})", step.reward));
        }
        self.covered(&step.observation.content.as_text(), turn);
        self.look(turn)?;
        Ok(step)
    }

    /// Reports the first difference between two plays of an episode. Returns true if there is one.
    pub fn differs(&mut self, rule: &'static str, first: &Transcript, second: &Transcript, how: &str) -> bool {
        let longest = first.lines.len().max(second.lines.len());
        let Some(turn) = (0..longest).find(|&turn| first.lines.get(turn) != second.lines.get(turn)) else {
            return false;
        };
        let line =
            |transcript: &Transcript| transcript.lines.get(turn).map_or("nothing".to_string(), |line| shown(line));
        let message = format!("{how}, the same seed and actions gave {} instead of {}", line(second), line(first));
        self.not_reproduced(rule, Some(turn as u32), message);
        true
    }

    fn choose(
        &mut self,
        policy: &mut dyn FnMut(&Observation) -> String,
        observation: &Observation,
        turn: Option<u32>,
    ) -> Result<String, Stop> {
        if observation.legal_actions.as_deref().is_some_and(|legal| !legal.is_empty()) {
            return Ok(policy(observation));
        }
        // Without a list, only the scripted policy knows a legal action.
        Ok(self.call(turn, |env| env.scripted_action())?.unwrap_or_default())
    }

    fn running(&mut self, observation: &Observation, turn: Option<u32>) {
        let Some(legal) = observation.legal_actions.as_deref() else { return };
        if legal.is_empty() {
            self.error("legal-actions", turn, "a running episode has an empty list of legal actions".to_string());
        }
        for action in legal {
            self.covered(action, turn);
        }
    }

    fn covered(&mut self, text: &str, turn: Option<u32>) {
        let Some(alphabet) = &self.spec.alphabet else { return };
        let missing = text.chars().find(|&letter| !alphabet.contains(letter));
        if let Some(letter) = missing {
            self.error("alphabet", turn, format!("{} has {letter:?}, which spec.alphabet lacks", shown(text)));
        }
    }

    /// Renders, queries the scripted policy and compares the spec.
    fn look(&mut self, turn: Option<u32>) -> Result<(), Stop> {
        let picture = self.call(turn, |env| env.render())?;
        if let Some(control) = picture.chars().find(|&letter| letter.is_control() && letter != '\n') {
            self.error("render", turn, format!("the rendering has the control character {control:?}"));
        }
        self.call(turn, |env| env.scripted_action().is_some())?;
        let spec = self.call(turn, |env| env.spec().clone())?;
        if spec != self.spec {
            self.error("spec", turn, "the spec has changed since the environment was made".to_string());
            self.spec = spec;
        }
        Ok(())
    }

    fn call<T>(&mut self, turn: Option<u32>, call: impl FnOnce(&mut dyn Env) -> T) -> Result<T, Stop> {
        guarded(|| call(&mut *self.env)).map_err(|panic| {
            self.error("no-panic", turn, format!("it panicked: {panic}"));
            Stop
        })
    }
}

/// Runs environment code and converts a panic into its message.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // State that a panic leaves half-modified is dropped: no instance is used after a panic.
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_string()
    })
}

/// A text, quoted, and truncated if it is long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

fn fresh(make: &dyn Fn() -> Result<Box<dyn Env>>, report: &mut Report) -> Result<(Box<dyn Env>, EnvSpec), Stop> {
    let problem = match guarded(|| make().map(|env| (env.spec().clone(), env))) {
        Ok(Ok((spec, env))) => return Ok((env, spec)),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("it panicked: {panic}"),
    };
    report.add("make", Severity::Error, None, None, problem);
    Err(Stop)
}
