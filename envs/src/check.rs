//! The checker: tests that an environment fulfills the contract of the [`Env`] trait.
//!
//! It plays whole episodes several times and knows no environment in particular.

mod hostile;
mod session;

use std::fmt;

use serde::Serialize;

use crate::registry::split_version;
use crate::{Env, EnvSpec, Result, episode_seed};
pub(crate) use session::shown;
use session::{Actor, Session, Transcript};

/// Settings of the checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Number of episodes to play, each of them four times; at least 1.
    pub episodes: u64,
    /// Number of turns after which an episode is stopped if the environment has no limit of its own; at least 1.
    pub max_turns: u32,
    /// Seed that the episodes' seeds are derived from.
    pub seed: u64,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The environment breaks the contract.
    Error,
    /// Possibly intended.
    Warning,
}

/// One rule that an environment breaks, reported once with its first occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the rule, one of [`RULES`].
    pub rule: &'static str,
    /// Severity of the finding.
    pub severity: Severity,
    /// Description of the observed behavior and of the correct one.
    pub message: String,
    /// Episode of the first occurrence, counted from 0, if there is one.
    pub episode: Option<u64>,
    /// Turn of the first occurrence, counted from 1; 0 is the reset.
    pub turn: Option<u32>,
    /// Number of occurrences.
    pub times: u32,
}

/// Result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The environment's id.
    pub env_id: String,
    /// Number of episodes played, replays included.
    pub episodes: u64,
    /// Number of turns played.
    pub turns: u64,
    /// The broken rules, in the order in which they were found.
    pub findings: Vec<Finding>,
}

/// Every rule: its name and its requirement.
pub const RULES: [(&str, &str); 18] = [
    ("make", "the environment can be made"),
    ("spec", "the spec's numbers are finite and in order, and do not change"),
    ("id-version", "the id ends in a version such as -v1"),
    ("no-panic", "no call panics"),
    ("reset", "reset starts an episode, without an error"),
    ("step-before-reset", "a step before the first reset is an error"),
    ("step-after-end", "a step after the episode's end is an error"),
    ("step-error", "a step of a running episode is no error, whatever the action"),
    ("same-seed", "the same seed and actions give the same transcript, byte for byte"),
    ("fresh-instance", "a fresh instance plays the same episode as one that has played others"),
    ("half-played", "a reset in the middle of an episode leaves nothing of it behind"),
    ("seed-matters", "another seed gives another episode where the spec says stochastic"),
    ("seed-ignored", "another seed gives the same episode where the spec does not say stochastic"),
    ("reward", "rewards are finite and within reward_range"),
    ("max-turns", "the end is reported within max_turns"),
    (
        "legal-actions",
        "a running episode has legal actions, and they and the scripted policy's are not flagged invalid",
    ),
    ("alphabet", "observations and actions are written with the spec's alphabet"),
    ("render", "rendering works at any time, without control characters other than newline"),
];

/// Plays whole episodes of an environment and reports violations of the rules of [`RULES`].
///
/// `make` returns a fresh instance on each call. Panics of the environment are caught and reported.
///
/// ```
/// use palestra_envs::{Registry, check::{CheckOptions, check}};
/// let registry = Registry::builtin();
/// let report = check(&|| registry.make("frozen-lake-4x4"), CheckOptions::default());
/// assert!(report.passed(), "{report}");
/// ```
pub fn check(make: &dyn Fn() -> Result<Box<dyn Env>>, options: CheckOptions) -> Report {
    let mut report = Report::default();
    // A broken rule that stops the check is already in the report.
    let _ = run(make, options, &mut report);
    report
}

/// Signal that the check cannot continue. The report has the reason.
struct Stop;

fn run(make: &dyn Fn() -> Result<Box<dyn Env>>, options: CheckOptions, report: &mut Report) -> Result<(), Stop> {
    let mut session = Session::new(make, options, report)?;
    check_spec(session.spec().clone(), session.report);
    session.before_reset()?;
    let mut first: Option<Transcript> = None;
    for number in 0..options.episodes.max(1) {
        let seed = episode_seed(options.seed, number);
        session.episode = Some(number);
        // Every second episode uses the scripted policy, if there is one, because it reaches other states.
        let actor = if number % 2 == 1 { Actor::scripted(seed) } else { Actor::random(seed) };
        let played = session.play(seed, actor)?;
        session.after_end(&played)?;
        replay(&mut session, seed, &played)?;
        first.get_or_insert(played);
    }
    let first = first.expect("at least one episode");
    compare_seeds(&mut session, &first)?;
    hostile::check(&mut session)
}

/// Plays an episode again: on the same instance, after half of another episode, and on a fresh instance.
fn replay(session: &mut Session<'_>, seed: u64, played: &Transcript) -> Result<(), Stop> {
    let again = session.play(seed, Actor::recorded(played))?;
    if session.differs("same-seed", played, &again, "played again") {
        return Ok(());
    }
    let half = played.actions.len().div_ceil(2);
    session.play_part(seed ^ 1, Actor::random(seed), half as u32)?;
    let after_half = session.play(seed, Actor::recorded(played))?;
    session.differs("half-played", played, &after_half, "played after half of another episode");
    session.renew()?;
    let fresh = session.play(seed, Actor::recorded(played))?;
    session.differs("fresh-instance", played, &fresh, "played on a fresh instance");
    Ok(())
}

/// Plays the actions of one episode with other seeds.
fn compare_seeds(session: &mut Session<'_>, first: &Transcript) -> Result<(), Stop> {
    const OTHERS: u64 = 32; // enough for a game that differs in one episode of five to differ once, but for 1 in 1,000
    let stochastic = session.spec().stochastic;
    for other in 0..OTHERS {
        session.episode = None;
        let played = session.play(episode_seed(!session.options.seed, other), Actor::recorded(first))?;
        let turns = played.lines.len().min(first.lines.len());
        let differs = played.lines[..turns] != first.lines[..turns];
        if differs && !stochastic {
            session.error("seed-ignored", None, "another seed gave another episode; set spec.stochastic".to_string());
        }
        if differs {
            return Ok(());
        }
    }
    if stochastic && first.understood {
        let message = format!("{OTHERS} other seeds gave the same episode; use the seed, or unset spec.stochastic");
        session.error("seed-matters", None, message);
    } else if stochastic {
        let message = "no legal actions are listed and there is no scripted policy, so only nonsense was played";
        session.warn("seed-matters", None, message.to_string());
    }
    Ok(())
}

fn check_spec(spec: EnvSpec, report: &mut Report) {
    let mut wrong = |rule, message: String| report.add(rule, Severity::Error, None, None, message);
    if split_version(&spec.id).1.is_none() {
        wrong("id-version", format!("`{}` has no version; `{}-v1` would be right", spec.id, spec.id));
    }
    let (low, high) = spec.reward_range;
    if !low.is_finite() || !high.is_finite() || low > high {
        wrong("spec", format!("reward_range ({low}, {high}) must be finite, the least first"));
    }
    for (name, value) in [("optimal_return", spec.optimal_return), ("solved_return", spec.solved_return)] {
        if value.is_some_and(|value| !value.is_finite()) {
            wrong("spec", format!("{name} must be finite where it is known"));
        }
    }
    if spec.max_turns == Some(0) {
        wrong("spec", "max_turns is 0; an episode has at least one turn".to_string());
    }
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = spec.alphabet.iter().flat_map(|alphabet| alphabet.chars()).find(|&letter| !seen.insert(letter))
    {
        wrong("spec", format!("alphabet has {twice:?} twice"));
    }
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { episodes: 6, max_turns: 10_000, seed: 0 }
    }
}

impl Report {
    /// True if no rule is broken; warnings are allowed.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }

    fn add(
        &mut self,
        rule: &'static str,
        severity: Severity,
        episode: Option<u64>,
        turn: Option<u32>,
        message: String,
    ) {
        let known = self.findings.iter_mut().find(|finding| finding.rule == rule && finding.severity == severity);
        match known {
            Some(finding) => finding.times += 1,
            None => self.findings.push(Finding { rule, severity, message, episode, turn, times: 1 }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        write!(f, "{}: {verdict} ({} episodes, {} turns)", self.env_id, self.episodes, self.turns)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{severity}[{}]", self.rule)?;
        if let Some(episode) = self.episode {
            write!(f, " episode {episode}")?;
        }
        if let Some(turn) = self.turn {
            write!(f, " turn {turn}")?;
        }
        write!(f, ": {}", self.message)?;
        if self.times > 1 {
            write!(f, " ({} times)", self.times)?;
        }
        Ok(())
    }
}
