//! A reward as written in a TOML file: a kind, its weight and its options.

use std::path::Path;

use palestra_datasets::{MISSING_END, RULES};
use serde::{Deserialize, Serialize};

use super::Missing;
use super::extract::{Extract, Extractor};
use crate::{Error, Options, Result};

/// One `[[reward]]` of a run file or of an environment's definition.
///
/// ```toml
/// [[reward]]
/// kind = "length"
/// weight = 0.5
/// options = { unit = "words", target = 20 }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardDefinition {
    /// The registered kind.
    pub kind: String,
    /// Name of the reward in logs and metrics; default: the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Weight of its scores in the sum; with 0, the scores are only logged.
    #[serde(default = "one")]
    pub weight: f32,
    /// Treatment of an episode without a score; default: the kind's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Unit that is scored: the whole episode, or every turn of it.
    #[serde(default, skip_serializing_if = "Per::is_episode")]
    pub per: Per,
    /// Place of the answer proper in what a model wrote, which the reward sees instead of all of it. An answer that lacks
    /// it counts as the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
    /// The options of the kind.
    #[serde(default)]
    pub options: Options,
}

/// Unit that a reward scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// The whole episode; the score is added to its last turn.
    #[default]
    Episode,
    /// Every turn, as the last one of an episode that ends with it; the score is added to this turn.
    Turn,
}

impl Per {
    fn is_episode(&self) -> bool {
        *self == Self::Episode
    }
}

fn one() -> f32 {
    1.0
}

impl RewardDefinition {
    /// Creates a reward of a kind, with its default options.
    pub fn of_kind(kind: &str) -> Self {
        let (extract, per, options) = (None, Per::Episode, Options::default());
        Self { kind: kind.to_string(), name: None, weight: 1.0, missing: None, extract, per, options }
    }

    /// Name of the reward in logs and metrics.
    pub fn name(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.kind)
    }

    /// Records the origin of the reward, so that errors about it name the line: the file, its text, and the dotted path
    /// of its table, such as `reward.0`.
    pub fn written_in(mut self, file: &str, text: &str, table: &str) -> Self {
        self.options.written_in(file, text, &format!("{table}.options"));
        self
    }

    /// Resolves relative paths among the options against a folder.
    pub fn seen_from(&mut self, folder: &Path) {
        self.options.seen_from(folder);
    }

    /// The extractor of the answer proper, if there is one.
    pub(super) fn extractor(&self) -> Result<Option<Extractor>> {
        let wrong = |reason| self.options.blame("extract", Error::Definition(format!("extract: {reason}")));
        self.extract.as_ref().map(|extract| extract.compile().map_err(wrong)).transpose()
    }

    /// Refuses values that are invalid in a sum of rewards.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.weight.is_finite() {
            let reason = format!("weight: {} must be finite", self.weight);
            return Err(self.options.blame("weight", Error::Definition(reason)));
        }
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = self.name();
        if name.is_empty() || !name.chars().all(in_a_name) || [RULES, MISSING_END].contains(&name) {
            let reason = format!(
                "name: {name:?} names no reward; write letters, digits, `-`, `_` and `.` (`{RULES}` is the \
                 environment's own reward, and `{MISSING_END}` the penalty for a missing end token)"
            );
            return Err(self.options.blame("name", Error::Definition(reason)));
        }
        Ok(())
    }
}
