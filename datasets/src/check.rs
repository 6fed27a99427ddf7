//! Validation of a log against its rules, with warnings about data that hinders learning.
//!
//! Findings are violations of the rules, each with its location and what would be right. Warnings report valid data
//! that hinders learning. The check makes one pass over the episodes; memory is about 100 bytes an episode.
//!
//! Checks that need a tokenizer or an environment are passed in as functions that verify one episode.

mod finding;
mod findings;
mod warning;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::Episode;
use crate::error::Result;
use crate::log::{Located, Log};
use crate::stats::{Share, Summary};
use palestra_display::grouped;

pub use finding::{Finding, Rule};
use findings::Findings;
pub use warning::{Warning, WarningKind};

/// Verifies one episode against something outside the log, such as a tokenizer or an environment. An error ends the
/// check: the verifier cannot do its work at all.
pub type Verify<'a> = dyn FnMut(&Episode) -> Result<Verdict> + 'a;

/// Result of a [`Verify`] on one episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The log is right.
    Right,
    /// The log is wrong.
    Wrong(Mismatch),
    /// The episode cannot be verified, for example because of another tokenizer or a missing seed.
    Unknown,
}

/// A difference between the logged value and the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The turn, counted from 0.
    pub step: usize,
    /// The column.
    pub column: &'static str,
    /// The value in the log.
    pub logged: String,
    /// The right value.
    pub right: String,
}

/// Options of `check`.
pub struct CheckOptions<'a> {
    /// Maximum number of findings that are reported; further ones are only counted.
    pub max_findings: usize,
    /// Verifier of rule 5: the text of each action is the decoding of its ids.
    pub decode: Option<&'a mut Verify<'a>>,
    /// Verifier of rule 6: the environment, given the seed and the actions, reproduces the observations, rewards and
    /// end.
    pub replay: Option<&'a mut Verify<'a>>,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        Self { max_findings: 100, decode: None, replay: None }
    }
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Number of files read.
    pub files: usize,
    /// Rows of the episodes that can be read.
    pub rows: u64,
    /// Episodes that can be read.
    pub episodes: u64,
    /// The first violations of the rules, in the order of the log. An episode that cannot be read is reported once, for
    /// the first of its rows that breaks a rule.
    pub findings: Vec<Finding>,
    /// Number of violations of each rule, reported or not.
    pub breaches: BTreeMap<Rule, u64>,
    /// Properties of the data that hinder learning.
    pub warnings: Vec<Warning>,
    /// Statistics that the warnings are derived from.
    pub coverage: Coverage,
    /// Result of rule 5, if a tokenizer was given.
    pub decoded: Option<Verified>,
    /// Result of rule 6, if environments were given.
    pub replayed: Option<Verified>,
}

/// Counts of the results of a [`Verify`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Episodes that are right.
    pub right: u64,
    /// Episodes that are wrong.
    pub wrong: u64,
    /// Episodes that could not be verified.
    pub unknown: u64,
}

/// Statistics of the episodes about the environment and the policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// Episode returns (sums of rewards).
    pub returns: Option<Summary>,
    /// Turns whose action the environment could not parse.
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

/// Reads a log, opened with all columns, once and reports everything that is wrong with it, up to `max_findings`
/// findings. Open the log without `skip_bad`, so that unreadable parts are reported with their location. With
/// `skip_bad` they are reported too, with the reader's message.
pub fn check(log: &Log, mut options: CheckOptions<'_>) -> Result<CheckReport> {
    let mut findings = Findings::new(log, options.max_findings);
    let mut decoded = options.decode.is_some().then(Verified::default);
    let mut replayed = options.replay.is_some().then(Verified::default);
    for located in log.episodes() {
        let Located { episode, place } = match located {
            Ok(located) => located,
            Err(error) => {
                findings.unreadable(&error);
                continue;
            }
        };
        findings.episode(&episode, place);
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
                    findings.mismatch(rule, &episode, place, &mismatch);
                }
            }
        }
    }
    Ok(CheckReport { decoded, replayed, ..findings.finish() })
}

impl CheckReport {
    /// True if the log follows all rules that were checked. Warnings do not count.
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
