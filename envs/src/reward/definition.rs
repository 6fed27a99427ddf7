//! A reward as a person writes it: a kind, its weight and its options.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Missing;
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
    /// What the reward is called in logs and metrics; the kind where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its scores are multiplied by in the sum; 0 only measures.
    #[serde(default = "one")]
    pub weight: f32,
    /// What becomes of an episode without a score; absent: as the kind says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The options of the kind.
    #[serde(default)]
    pub options: Options,
}

fn one() -> f32 {
    1.0
}

impl RewardDefinition {
    /// A reward of a kind, with its default options.
    pub fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_string(), name: None, weight: 1.0, missing: None, options: Options::default() }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.kind)
    }

    /// Remembers where the reward was written, so that errors about it name the line: the file, its text, and the dotted
    /// path of its table, such as `reward.0`.
    pub fn written_in(mut self, file: &str, text: &str, table: &str) -> Self {
        self.options.written_in(file, text, &format!("{table}.options"));
        self
    }

    /// Takes relative paths among the options as seen from a folder.
    pub fn seen_from(&mut self, folder: &Path) {
        self.options.seen_from(folder);
    }

    /// Refuses what no sum of rewards can hold.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.weight.is_finite() {
            let reason = format!("weight: {} must be finite", self.weight);
            return Err(self.options.blame("weight", Error::Definition(reason)));
        }
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name().is_empty() || !self.name().chars().all(in_a_name) || self.name() == crate::record::RULES {
            let reason = format!(
                "name: {:?} names no reward; write letters, digits, `-`, `_` and `.` (`rules` are the environment's own)",
                self.name()
            );
            return Err(self.options.blame("name", Error::Definition(reason)));
        }
        Ok(())
    }
}
