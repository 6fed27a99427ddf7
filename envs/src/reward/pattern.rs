//! Reward for a regular expression: an answer matches, or the number of matches in it.

use regex::Regex;
use serde::Deserialize;

use super::{Reward, answer};
use crate::{Episode, Options, Result};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PatternOptions {
    /// A regular expression, in the syntax of the crate `regex`.
    pattern: String,
    /// True if the pattern must match the whole answer and not only a part of it.
    whole: bool,
    /// True if every match counts 1 and not only the first.
    count: bool,
    /// Maximum number of matches that count.
    at_most: u32,
}

impl Default for PatternOptions {
    fn default() -> Self {
        Self { pattern: String::new(), whole: false, count: false, at_most: u32::MAX }
    }
}

/// Builds the reward `pattern`.
///
/// # Errors
/// An unknown option, or a pattern that is missing or not a regular expression.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let PatternOptions { pattern, whole, count, at_most } = options.parse()?;
    if pattern.is_empty() {
        let reason = "it is missing; write a regular expression, such as \"^[a-z]+$\"";
        return Err(options.wrong("pattern", reason));
    }
    let anchored = if whole { format!("\\A(?:{pattern})\\z") } else { pattern };
    let pattern = Regex::new(&anchored).map_err(|error| options.wrong("pattern", error))?;
    Ok(Box::new(Pattern { pattern, most: if count { at_most } else { 1 } }))
}

struct Pattern {
    pattern: Regex,
    most: u32,
}

impl Reward for Pattern {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let matches = |text| self.pattern.find_iter(text).take(self.most as usize).count() as f32;
        Ok(episodes.iter().map(|episode| Some(matches(answer(episode)))).collect())
    }
}
