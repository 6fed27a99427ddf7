//! Rewards for whole episodes, beside those that an environment's rules give at each step.
//!
//! A [`Reward`] scores what was written; [`Rewards`] sums several of them by weight. Learned models are rewards too, but
//! this crate knows none: whoever has one registers it ([`Registry::with_reward`](crate::Registry::with_reward)).

mod definition;
mod length;
mod lexicon;
mod pattern;
mod reference;
mod summary;
#[cfg(test)]
mod tests;
mod weighted;

use serde::{Deserialize, Serialize};

use crate::{Episode, Info, Options, Result};
pub use definition::RewardDefinition;
pub use length::overlong_penalty;
pub use summary::RewardSummary;
pub use weighted::{Judgement, Rewards, Scores};

/// Scores whole episodes: a file of labels, a learned model, a rule.
///
/// Scores are summed with weights and land on the last action token of the episode.
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
    /// One score for each episode, in their order; `None` where there is no label or the reward failed for this one,
    /// which is never the same as 0. A score depends on its episode alone.
    ///
    /// # Errors
    /// The reward could not be computed at all.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>>;

    /// Who gives the scores.
    fn source(&self) -> RewardSource {
        RewardSource::Rules
    }

    /// What becomes of an episode without a score, where the run file does not say.
    fn when_missing(&self) -> Missing {
        Missing::Drop
    }
}

/// Who gives rewards; of several, a log tells the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RewardSource {
    /// Rules.
    Rules,
    /// A learned model.
    Model,
    /// People.
    Human,
}

/// What becomes of an episode that a reward has no score for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is neither learned from nor logged, and counted.
    Drop,
    /// It ends the run.
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
    BuiltinReward { kind: "length", build: length::build },
    BuiltinReward { kind: "lexicon", build: lexicon::build },
    BuiltinReward { kind: "pattern", build: pattern::build },
    BuiltinReward { kind: "reference", build: reference::build },
];

impl RewardSource {
    /// What a log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => crate::record::RULES,
            Self::Model => "model",
            Self::Human => "human",
        }
    }
}

/// What is judged in an episode by rules on text: the last that was written.
pub fn answer(episode: &Episode) -> &str {
    episode.turns.last().map_or("", |turn| &turn.action)
}

/// What the environment said of an episode's last state; empty where it said nothing.
pub fn last_info(episode: &Episode) -> Info {
    let info = episode.turns.last().and_then(|turn| turn.info.as_deref());
    info.and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default()
}
