//! Reward for the length of an answer: near a target, or not above a limit.

use serde::Deserialize;

use super::{Reward, answer};
use crate::{Episode, Options, Result};

/// Unit of length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Characters,
    Words,
    /// The model's own tokens; an answer without token ids has no score.
    Tokens,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LengthOptions {
    unit: Unit,
    /// The length with score 1. The score falls linearly to 0 at length 0 and at twice the target.
    target: Option<u32>,
    /// The length from which an answer scores -1.
    max: Option<u32>,
    /// Length of the interval before `max` in which the penalty grows.
    cache: u32,
}

impl Default for LengthOptions {
    fn default() -> Self {
        Self { unit: Unit::Characters, target: None, max: None, cache: 0 }
    }
}

/// Builds the reward `length`.
///
/// # Errors
/// An unknown option, or neither or both of `target` and `max`.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let LengthOptions { unit, target, max, cache } = options.parse()?;
    let wrong = |field: &str, reason: &str| Err(options.wrong(field, reason));
    let rule = match (target, max) {
        (Some(0), None) => return wrong("target", "0 is no length to aim at; it must be at least 1"),
        (Some(target), None) => Rule::Near(target as f32),
        (None, Some(max)) if cache > max => return wrong("cache", "it must be at most `max`"),
        (None, Some(max)) => Rule::Within { max: max as f32, cache: cache as f32 },
        (Some(_), Some(_)) => return wrong("max", "`target` is there too; a length is near one or within the other"),
        (None, None) => return wrong("target", "length needs a `target` to be near, or a `max` to stay within"),
    };
    Ok(Box::new(Length { unit, rule }))
}

struct Length {
    unit: Unit,
    rule: Rule,
}

enum Rule {
    Near(f32),
    Within { max: f32, cache: f32 },
}

impl Reward for Length {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let score = |length: usize| match self.rule {
            Rule::Near(target) => (1.0 - (length as f32 - target).abs() / target).max(0.0),
            Rule::Within { max, cache } => overlong_penalty(length as f32, max, cache),
        };
        Ok(episodes.iter().map(|episode| self.length(episode).map(score)).collect())
    }
}

impl Length {
    fn length(&self, episode: &Episode) -> Option<usize> {
        match self.unit {
            Unit::Characters => Some(answer(episode).chars().count()),
            Unit::Words => Some(answer(episode).split_whitespace().count()),
            Unit::Tokens => episode.turns.last()?.action_ids.as_ref().map(Vec::len),
        }
    }
}

/// Soft overlong penalty: 0 up to `max - cache`, -1 beyond `max`, linear in between ([Yu et al.
/// 2025](https://arxiv.org/abs/2503.14476), eq. 13).
///
/// ```
/// # use palestra_envs::reward::overlong_penalty;
/// assert_eq!([50.0, 90.0, 110.0].map(|length| overlong_penalty(length, 100.0, 20.0)), [0.0, -0.5, -1.0]);
/// ```
pub fn overlong_penalty(length: f32, max: f32, cache: f32) -> f32 {
    if length <= max - cache {
        0.0
    } else if length > max {
        -1.0
    } else {
        (max - cache - length) / cache
    }
}
