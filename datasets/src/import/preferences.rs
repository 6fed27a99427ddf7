//! Import of human preference data as episodes of one turn, for learners of logged experience.

use std::path::{Path, PathBuf};

use super::{ImportOptions, ImportReport, Target};
use crate::error::{Error, Result};
use crate::preferences::{Rule, Scores, read, resolve};
use crate::{End, Episode, Turn};

/// Reads files of preference data ([`crate::preferences`]) into a new log `to`. Each answer becomes a terminated
/// episode of one turn; its reward is the score in -1 to 1 that [`Scores`] computes from all labels of the answer. Rows
/// whose two answers are the same are left out.
///
/// # Errors
/// A row that is not preference data, or an annotator who labelled the same answers twice and differently.
pub fn import_preferences(inputs: &[PathBuf], to: &Path, options: &ImportOptions) -> Result<ImportReport> {
    let mut records = Vec::new();
    for input in inputs {
        for record in read(input)? {
            records.push(record?);
        }
    }
    records.retain(|record| !record.is_of_equals());
    let wrong = |reason: String| Error::file(&inputs[0], reason);
    let resolved = resolve(records, Rule::Share).map_err(wrong)?;
    let scores = Scores::of(&resolved.records, None).map_err(wrong)?;
    let mut target = Target::create(to, options)?;
    for (number, (prompt, answer, score)) in scores.iter().enumerate() {
        let turn =
            Turn { observation: prompt.clone(), action: answer.to_string(), reward: score as f32, ..Turn::default() };
        target.write(Episode {
            id: number.to_string(),
            turns: vec![turn],
            end: Some(End::Terminated),
            reward_source: Some("human".to_string()),
            ..Episode::default()
        })?;
    }
    target.finish()
}
