//! Reward for a correct answer, compared with a reference in the environment's info.

use serde::Deserialize;

use super::{Reward, answer, reference_of};
use crate::{Episode, Options, Result};

/// Criterion for a correct answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// The answer equals the reference; leading and trailing white space is ignored.
    Equals,
    /// The answer contains the reference.
    Contains,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReferenceOptions {
    /// Location of the reference: a column of the prompt's row, or else a key of the environment's info.
    column: String,
    by: By,
    ignore_case: bool,
}

impl Default for ReferenceOptions {
    fn default() -> Self {
        Self { column: "answer".to_string(), by: By::Equals, ignore_case: false }
    }
}

/// Builds the reward `reference`.
///
/// # Errors
/// An unknown option.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    Ok(Box::new(Reference(options.parse()?)))
}

/// Scores 1 for a correct answer and 0 for a wrong one; an episode without a reference has no score.
struct Reference(ReferenceOptions);

impl Reward for Reference {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        Ok(episodes.iter().map(|episode| self.score_one(episode)).collect())
    }
}

impl Reference {
    fn score_one(&self, episode: &Episode) -> Option<f32> {
        let ReferenceOptions { column, by, ignore_case } = &self.0;
        let reference = reference_of(episode, column)?;
        let plain = |text: &str| if *ignore_case { text.trim().to_lowercase() } else { text.trim().to_string() };
        let (answer, reference) = (plain(answer(episode)), plain(&reference));
        let is_right = match by {
            By::Equals => answer == reference,
            By::Contains => answer.contains(&reference),
        };
        Some(f32::from(u8::from(is_right)))
    }
}
