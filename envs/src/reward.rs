//! Rewards for whole episodes, in addition to those that an environment's rules give at each step.
//!
//! A [`Reward`] scores the text of an episode; [`Rewards`] sums several of them by weight. Learned models are rewards
//! too, but this crate contains none: they are registered with [`Registry::with_reward`](crate::Registry::with_reward).

mod definition;
mod extract;
mod format;
mod length;
mod lexicon;
mod math;
mod pattern;
mod process;
mod reference;
mod summary;
#[cfg(test)]
mod tests;
mod weighted;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Episode, Info, Options, Result};
pub use definition::{Per, RewardDefinition};
pub use extract::Extract;
pub use length::overlong_penalty;
pub use summary::RewardSummary;
pub use weighted::{RewardScores, Rewards, Scores};

/// Scores whole episodes: from a file of labels, with a learned model, or by a rule.
///
/// Scores are summed with weights and added to the last action token of the episode.
///
/// ```
/// use palestra_envs::{Episode, Result, Reward, reward::answer};
/// /// The share of letters that are capital.
/// struct Shouting;
///
/// impl Reward for Shouting {
///     fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
///         let share = |text: &str| {
///             let letters = text.chars().filter(|c| c.is_alphabetic());
///             letters.clone().filter(|c| c.is_uppercase()).count() as f32 / letters.count().max(1) as f32
///         };
///         Ok(episodes.iter().map(|episode| Some(share(answer(episode)))).collect())
///     }
/// }
/// ```
pub trait Reward: Send + Sync {
    /// Returns one score for each episode, in their order; `None` if there is no label or the reward failed for this
    /// one, which is distinct from 0. A score depends on its episode alone.
    ///
    /// # Errors
    /// The reward could not be computed at all.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>>;

    /// Source of the scores.
    fn source(&self) -> RewardSource {
        RewardSource::Rules
    }

    /// Treatment of an episode without a score, if the run file does not set it.
    fn when_missing(&self) -> Missing {
        Missing::Drop
    }
}

/// Source of rewards. With several sources, a log records the last of them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RewardSource {
    /// Rules.
    Rules,
    /// A learned model.
    Model,
    /// People.
    Human,
}

/// Treatment of an episode that a reward has no score for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The episode is excluded from training and from the log, and counted.
    Drop,
    /// The run stops with an error.
    Error,
}

/// A kind of reward that comes with this crate.
pub(crate) struct BuiltinReward {
    /// The kind's name.
    pub kind: &'static str,
    /// Builds it.
    pub build: fn(&Options) -> Result<Box<dyn Reward>>,
}

/// Every built-in kind, in alphabetical order.
pub(crate) const BUILTIN_REWARDS: &[BuiltinReward] = &[
    BuiltinReward { kind: "format", build: format::build },
    BuiltinReward { kind: "length", build: length::build },
    BuiltinReward { kind: "lexicon", build: lexicon::build },
    BuiltinReward { kind: "math", build: math::build },
    BuiltinReward { kind: "pattern", build: pattern::build },
    BuiltinReward { kind: "process", build: process::build },
    BuiltinReward { kind: "reference", build: reference::build },
];

impl RewardSource {
    /// Name of the source in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => palestra_datasets::RULES,
            Self::Model => "model",
            Self::Human => "human",
        }
    }
}

/// The text that text rules score: the last action of an episode.
pub fn answer(episode: &Episode) -> &str {
    episode.turns.last().map_or("", |turn| &turn.action)
}

/// The reference that an answer is compared with: a column of the prompt's row, or else a key of the environment's info;
/// `None` if there is none.
pub(crate) fn reference_of(episode: &Episode, column: &str) -> Option<String> {
    let info = last_info(episode);
    match info.get("row").and_then(|row| row.get(column)).or_else(|| info.get(column))? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The info of an episode's last state; empty if there is none.
pub fn last_info(episode: &Episode) -> Info {
    let info = episode.turns.last().and_then(|turn| turn.info.as_deref());
    info.and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default()
}
