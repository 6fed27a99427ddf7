//! Statistics of a whole log that a run needs before training.

use std::collections::BTreeSet;

use palestra_datasets::Content;
use palestra_datasets::log::Log;

use crate::{Error, Result};

/// Return threshold of the best `percent` of the episodes. Episodes whose return equals the threshold all count among
/// the best.
pub fn least_of_best(mut returns: Vec<f64>, percent: f32) -> f64 {
    returns.sort_by(|a, b| b.total_cmp(a));
    let kept = (returns.len() as f64 * f64::from(percent) / 100.0).ceil() as usize;
    returns.get(kept.clamp(1, returns.len().max(1)) - 1).copied().unwrap_or(f64::NEG_INFINITY)
}

/// Returns every character of a log's observations and actions.
///
/// # Errors
/// A log that cannot be read, or with so many characters that they are no alphabet.
pub fn alphabet(log: &Log) -> Result<String> {
    const MOST: usize = 2048;
    let (mut characters, mut ascii) = (BTreeSet::new(), [false; 128]);
    let mut take = |text: &str| {
        for character in text.chars() {
            match ascii.get_mut(character as usize) {
                Some(seen) => *seen = true,
                None => _ = characters.insert(character),
            }
        }
        characters.len()
    };
    for located in log.episodes() {
        let episode = located?.episode;
        let observations = episode.turns.iter().map(|turn| &turn.observation).chain(&episode.final_observation);
        let actions = episode.turns.iter().flat_map(|turn| turn.legal_actions.iter().flatten().chain([&turn.action]));
        let read = observations.map(Content::as_text).chain(actions.map(|action| action.as_str().into()));
        if read.map(|text| take(&text)).max() > Some(MOST) {
            return Err(Error::Data(format!(
                "data.files: more than {MOST} different characters are too many for a model from nothing; name one \
                 with a tokenizer in start_from"
            )));
        }
    }
    let ascii = (0u8..128).map(char::from).zip(ascii).filter(|(_, seen)| *seen).map(|(character, _)| character);
    Ok(ascii.chain(characters).collect())
}
