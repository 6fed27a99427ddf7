//! A clean document: counted, then kept or dropped as a duplicate of an earlier one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clean::CleanText;
use crate::duplicates::Duplicate;
use crate::error::{Error, Result};
use crate::filtered::{FilteredDocument, Outcome};
use crate::provenance::Provenance;
use crate::settings::Settings;
use crate::shards::Row;
use crate::tally::{Sample, Tally, Text, excerpt};

/// A document that passed every rule that applies to a single one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub clean: CleanText,
    /// Position for messages: the line, the row or the part, from 1.
    row: u64,
    split_key: Option<u64>,
    provenance: Provenance,
}

impl Candidate {
    /// Counts a document that was read; returns it if it is clean.
    ///
    /// # Errors
    /// A document that cannot be read, unless such are to be skipped.
    pub fn of(tally: &mut Tally, filtered: FilteredDocument) -> Result<Option<Self>> {
        let FilteredDocument { file, row, size, split_key, provenance, changes, outcome, .. } = filtered;
        match outcome {
            // Other holders of the error were dropped with their chunk, or hold the same error.
            Outcome::Error(error) => {
                Err(Arc::try_unwrap(error).unwrap_or_else(|error| Error::Input(error.to_string())))
            }
            Outcome::Dropped { failed, excerpt, bytes, words } => {
                tally.read(size, &changes);
                let text = Text { source: &file, row, bytes, words };
                let sample = |rank| sample(&file, row, failed.detail.clone(), excerpt, rank);
                tally.drop(&failed, sample, &text);
                Ok(None)
            }
            Outcome::Clean(clean) => {
                tally.read(size, &changes);
                Ok(Some(Self { clean, row, split_key, provenance }))
            }
        }
    }

    /// Counts the document as kept, or as a duplicate; returns its row if it is kept.
    pub fn decide(
        self,
        settings: &Settings,
        tally: &mut Tally,
        source: &Arc<str>,
        duplicate: Option<&Duplicate>,
    ) -> Option<Row> {
        let Self { clean, row, split_key, provenance } = self;
        let text = Text { source, row, bytes: clean.text.len() as u64, words: u64::from(clean.words) };
        if let Some(failed) = duplicate.map(Duplicate::failed) {
            let sample = |rank| sample(source, row, failed.detail.clone(), excerpt(&clean.text), rank);
            tally.drop(&failed, sample, &text);
            return None;
        }
        let validation = is_validation(split_key.unwrap_or(clean.id), settings.split.validation);
        let sample = |rank| sample(source, row, String::new(), excerpt(&clean.text), rank);
        tally.keep(sample, &text, clean.language, validation);
        Some(Row { clean, source: source.clone(), row, provenance, validation })
    }
}

fn sample(file: &Arc<str>, row: u64, detail: String, excerpt: String, rank: u64) -> Sample {
    Sample { source: file.to_string(), row, detail, excerpt, original: None, rank }
}

/// True if a document belongs to the validation share. The choice depends on its hash only, so it is the same in every
/// corpus.
fn is_validation(key: u64, share: f64) -> bool {
    // The hash also names the document, so the choice uses a different mix of it.
    let mixed = (key ^ (key >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (((mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d) >> 11) as f64 / (1u64 << 53) as f64) < share
}
