//! Whether a log keeps its rules, and what it cannot teach.
//!
//! Findings are breaches of the rules, each with the place and what would be right. Warnings are what is true of the data
//! and stands in the way of learning from it. One pass over the episodes; memory is about 100 bytes an episode.
//!
//! What needs a tokenizer or an environment comes in from outside, as functions that judge an episode.

mod finding;
mod judge;
mod warning;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::Episode;
use crate::error::Result;
use crate::log::{Located, Log};
use crate::stats::{Share, Summary, grouped};

pub use finding::{Finding, Rule};
use judge::Judge;
pub use warning::{Warning, WarningKind};

/// Judges one episode against something outside of the log, such as a tokenizer or an environment. An error ends the
/// check: the judge cannot do its work at all.
pub type Verify<'a> = dyn FnMut(&Episode) -> Result<Verdict> + 'a;

/// What a [`Verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The log is right.
    Right,
    /// The log is wrong.
    Wrong(Mismatch),
    /// It cannot be told of this episode: another tokenizer, no seed.
    Unknown,
}

/// Where a log says something else than what is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The turn, counted from 0.
    pub step: usize,
    /// The column.
    pub column: &'static str,
    /// What the log says.
    pub logged: String,
    /// What would be right.
    pub right: String,
}

/// What `check` does beyond reading.
pub struct CheckOptions<'a> {
    /// After this many findings, the others are only counted.
    pub most_findings: usize,
    /// Rule 5: whether the text of actions is what their ids decode to.
    pub decode: Option<&'a mut Verify<'a>>,
    /// Rule 6: whether the environment, given seed and actions, gives the same observations, rewards and end.
    pub replay: Option<&'a mut Verify<'a>>,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        Self { most_findings: 100, decode: None, replay: None }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// How many files were read.
    pub files: usize,
    /// Rows of the episodes that can be read.
    pub rows: u64,
    /// Episodes that can be read.
    pub episodes: u64,
    /// The first breaches of the rules, in the order of the log. An episode that cannot be read is told of once, by the
    /// first of its rows that breaks a rule.
    pub findings: Vec<Finding>,
    /// How many breaches there are of each rule, told or not.
    pub breaches: BTreeMap<Rule, u64>,
    /// What stands in the way of learning from it.
    pub warnings: Vec<Warning>,
    /// What the warnings are drawn from.
    pub coverage: Coverage,
    /// Rule 5, where a tokenizer was given.
    pub decoded: Option<Verified>,
    /// Rule 6, where environments were given.
    pub replayed: Option<Verified>,
}

/// How far a [`Verify`] came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Episodes that are right.
    pub right: u64,
    /// Episodes that are wrong.
    pub wrong: u64,
    /// Episodes of which it cannot be told.
    pub unknown: u64,
}

/// What the episodes show of the environment and of the policy that played.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// Sums of rewards.
    pub returns: Option<Summary>,
    /// Turns whose action the environment could not read.
    pub invalid_actions: Share,
    /// Episodes with the observations and actions of an earlier one.
    pub duplicates: Share,
    /// Episodes without an end.
    pub cut: Share,
    /// Truncated episodes without a final observation.
    pub truncated_without_final_observation: Share,
    /// Turns with log-probabilities.
    pub log_probs: Share,
}

/// Reads a log, opened with all columns, once and tells everything that is wrong with it, but not more than `most_findings`
/// of it. Open the log without `skip_bad`, so that what cannot be read is told with its place; with it, it is told too, as
/// the reader puts it.
pub fn check(log: &Log, mut options: CheckOptions<'_>) -> Result<CheckReport> {
    let mut judge = Judge::new(log, options.most_findings);
    let mut decoded = options.decode.is_some().then(Verified::default);
    let mut replayed = options.replay.is_some().then(Verified::default);
    for located in log.episodes() {
        let Located { episode, place } = match located {
            Ok(located) => located,
            Err(error) => {
                judge.unreadable(&error);
                continue;
            }
        };
        judge.episode(&episode, place);
        let hooks = [
            (Rule::Text, options.decode.as_deref_mut(), &mut decoded),
            (Rule::Replay, options.replay.as_deref_mut(), &mut replayed),
        ];
        for (rule, verify, counts) in hooks {
            let (Some(verify), Some(counts)) = (verify, counts) else { continue };
            match verify(&episode)? {
                Verdict::Right => counts.right += 1,
                Verdict::Unknown => counts.unknown += 1,
                Verdict::Wrong(mismatch) => {
                    counts.wrong += 1;
                    judge.mismatch(rule, &episode, place, &mismatch);
                }
            }
        }
    }
    Ok(CheckReport { decoded, replayed, ..judge.finish() })
}

impl CheckReport {
    /// Whether the log keeps all rules that were checked. Warnings do not count.
    pub fn is_good(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "error: {finding}")?;
        }
        let breaches = self.breaches.values().sum::<u64>();
        let untold = breaches - self.findings.len() as u64;
        if untold > 0 {
            writeln!(f, "error: ... and {} more", grouped(untold))?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {}", warning.text)?;
        }
        writeln!(f)?;
        let (rows, episodes) = (grouped(self.rows), grouped(self.episodes));
        writeln!(f, "files: {}, episodes: {episodes}, rows: {rows}", self.files)?;
        for (what, verified) in [("text and ids (rule 5)", &self.decoded), ("replay (rule 6)", &self.replayed)] {
            match verified {
                Some(verified) => writeln!(f, "{what}: {verified}")?,
                None => writeln!(f, "{what}: not checked")?,
            }
        }
        if let Some(returns) = &self.coverage.returns {
            write!(f, "returns: {returns}\n{}", returns.histogram)?;
        }
        if self.is_good() {
            return writeln!(f, "no rule is broken");
        }
        let by_rule: Vec<_> =
            self.breaches.iter().map(|(rule, count)| format!("{rule}: {}", grouped(*count))).collect();
        writeln!(f, "{} errors: {}", grouped(breaches), by_rule.join(", "))
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, wrong, unknown) = (grouped(self.right), grouped(self.wrong), grouped(self.unknown));
        write!(f, "{right} episodes right, {wrong} wrong, {unknown} that cannot be told")
    }
}
