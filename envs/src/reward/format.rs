//! Reward for an answer that keeps a format, whatever it says.

use super::extract::{Extract, Extractor};
use super::{Reward, answer};
use crate::{Episode, Options, Result};

/// Builds the reward `format`, whose options are those of `extract`.
///
/// # Errors
/// None or several of the options, or one that is invalid.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    if options.table().len() != 1 {
        let reason = "format needs one of `xml = \"answer\"`, `boxed = true` and `pattern = \"...\"`";
        return Err(options.wrong("xml", reason));
    }
    let extract: Extract = options.parse()?;
    let name = options.table().keys().next().map_or("xml", String::as_str);
    Ok(Box::new(Format(extract.compile().map_err(|reason| options.wrong(name, reason))?)))
}

/// Scores 1 for an answer in which the place of the answer proper is found, and 0 for any other.
struct Format(Extractor);

impl Reward for Format {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let is_kept = |episode: &Episode| self.0.find(answer(episode)).is_some();
        Ok(episodes.iter().map(|episode| Some(f32::from(u8::from(is_kept(episode))))).collect())
    }
}
