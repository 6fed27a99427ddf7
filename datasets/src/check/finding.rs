//! A violation of the log's rules, and its location.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;

/// Rules that every log must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The file, its columns and their values can be read.
    Readable,
    /// 1: the steps of an episode are 0, 1, 2, ..., its rows are contiguous, and no other episode has its id.
    Steps,
    /// 2: an end flag is set on the last row only; an episode that was cut short is marked as such.
    Ends,
    /// 3: rewards are finite, and the parts of a reward sum to it.
    Rewards,
    /// 4: an action has one log-probability per id, each finite and at most 0.
    LogProbs,
    /// 5: the text of an action is the decoding of its ids.
    Text,
    /// 6: the environment, given the seed and the actions, reproduces the observations, rewards and end.
    Replay,
    /// 7: the episodes that an environment generates from one seed belong to one split.
    Splits,
}

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that is violated.
    pub rule: Rule,
    /// The file.
    pub file: Option<PathBuf>,
    /// Index of the row group in the file, from 0.
    pub row_group: Option<usize>,
    /// Index of the row in the file, from 0.
    pub row: Option<u64>,
    /// The column.
    pub column: Option<&'static str>,
    /// The episode's id, if known.
    pub episode: Option<String>,
    /// The value, what is wrong with it, and what would be right.
    pub reason: String,
}

impl Rule {
    /// Returns the rule's number in the log's description; 0 for [`Rule::Readable`].
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the rule that a value refused by the reader violates.
    fn of_column(column: &str) -> Self {
        match column {
            "episode_id" | "step" => Self::Steps,
            "terminated" | "truncated" => Self::Ends,
            "reward" | "reward_parts" => Self::Rewards,
            "log_probs" => Self::LogProbs,
            _ => Self::Readable,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Readable => "readable",
            Self::Steps => "steps",
            Self::Ends => "ends",
            Self::Rewards => "rewards",
            Self::LogProbs => "log-probabilities",
            Self::Text => "text and ids",
            Self::Replay => "replay",
            Self::Splits => "splits",
        }
    }
}

impl Finding {
    /// Returns the finding for something that cannot be read at all.
    pub(super) fn unreadable(reason: String) -> Self {
        let rule = Rule::Readable;
        Self { rule, file: None, row_group: None, row: None, column: None, episode: None, reason }
    }
}

impl From<&Error> for Finding {
    fn from(error: &Error) -> Self {
        match error {
            Error::Row { file, row_group, row, column, reason } => Self {
                rule: Rule::of_column(column),
                file: Some(file.clone()),
                row_group: Some(*row_group),
                row: Some(*row),
                column: Some(column),
                episode: None,
                reason: reason.clone(),
            },
            Error::RowGroup { file, row_group, reason } => {
                Self { file: Some(file.clone()), row_group: Some(*row_group), ..Self::unreadable(reason.clone()) }
            }
            _ => Self::unreadable(error.to_string()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable => f.write_str("cannot be read"),
            _ => write!(f, "rule {} ({})", self.number(), self.name()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        match (self.row, self.row_group) {
            (Some(row), Some(row_group)) => write!(f, "row {row} (row group {row_group}), ")?,
            (None, Some(row_group)) => write!(f, "row group {row_group}, ")?,
            _ => {}
        }
        if let Some(column) = self.column {
            write!(f, "column {column}, ")?;
        }
        write!(f, "{}: {}", self.rule, self.reason)
    }
}
