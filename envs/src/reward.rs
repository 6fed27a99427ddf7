//! Rewards for whole episodes, beside those that an environment's rules give at each step.

use crate::{Episode, Result};

/// Scores whole episodes: a file of labels, a learned model, a rule.
///
/// Scores are summed with weights and land on the last action token of the episode.
pub trait Reward: Send + Sync {
    /// One score for each episode; `None` where there is no label, which is never the same as 0.
    ///
    /// # Errors
    /// The reward could not be computed at all. A failed reward is never 0 either.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>>;
}
