//! Reward for words with positive or negative weights.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Reward, answer};
use crate::{Episode, Options, Result};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LexiconOptions {
    /// Weight of each word; case-insensitive.
    words: BTreeMap<String, f32>,
    /// True if the sum is divided by the number of words of the answer.
    per_word: bool,
}

/// Builds the reward `lexicon`.
///
/// # Errors
/// An unknown option, no words, or a weight that is not a number.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let LexiconOptions { words, per_word } = options.parse()?;
    if words.is_empty() {
        let reason = "there is none; write what each counts, such as { please = 1.0, no = -0.5 }";
        return Err(options.wrong("words", reason));
    }
    let is_one = |word: &str| split(word).eq([word]);
    if let Some((word, weight)) = words.iter().find(|(word, weight)| !weight.is_finite() || !is_one(word)) {
        return Err(options.wrong("words", format!("{word:?} = {weight} is not one word with a finite number")));
    }
    let words = words.into_iter().map(|(word, weight)| (word.to_lowercase(), weight)).collect();
    Ok(Box::new(Lexicon { words, per_word }))
}

struct Lexicon {
    words: BTreeMap<String, f32>,
    per_word: bool,
}

impl Reward for Lexicon {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let score = |text: &str| {
            let text = text.to_lowercase();
            let (mut sum, mut count) = (0.0, 0);
            for word in split(&text) {
                sum += self.words.get(word).copied().unwrap_or(0.0);
                count += 1;
            }
            if self.per_word { sum / count.max(1) as f32 } else { sum }
        };
        Ok(episodes.iter().map(|episode| Some(score(answer(episode)))).collect())
    }
}

/// The words of a text: runs of letters, digits and apostrophes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty())
}
