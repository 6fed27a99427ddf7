//! Reading and filtering of one document by itself: the part of the work that runs on many threads.

use std::sync::Arc;

use crate::clean::{Changes, CleanText, Cleaned, Cleaner, text_of_json, undecodable};
use crate::error::Error;
use crate::input::{Content, RawDocument, WebPage};
use crate::provenance::Provenance;
use crate::rule::{Failed, Rule};
use crate::settings::{Format, Settings};
use crate::tally::excerpt;
use crate::work::Position;

/// A document after cleaning, before deduplication.
pub(crate) struct FilteredDocument {
    pub file: Arc<str>,
    pub position: Position,
    pub row: u64,
    pub size: u64,
    pub split_key: Option<u64>,
    pub provenance: Provenance,
    pub changes: Changes,
    pub outcome: Outcome,
}

pub(crate) enum Outcome {
    Clean(CleanText),
    Dropped { failed: Failed, excerpt: String, bytes: u64, words: u64 },
    Error(Arc<Error>),
}

/// Decodes, cleans and filters a document.
pub(crate) fn filter(document: RawDocument, settings: &Settings, cleaner: &Cleaner) -> FilteredDocument {
    let (size, place) = (document.size() as u64, document.place());
    let mut changes = Changes::default();
    let mut provenance = Provenance::default();
    // A document that is not as it should be ends the run, unless such are to be skipped.
    let bad = |failed: Failed, text: &[u8], error: &dyn Fn(&Failed) -> Error| match settings.skip_bad {
        true => dropped(failed, &String::from_utf8_lossy(text)),
        false => Outcome::Error(error(&failed).into()),
    };
    let no_text = |failed: &Failed| undecodable(&document.file, place.clone(), failed);
    let outcome = match document.content {
        Content::Bad(failed, error) => match error.filter(|error| !settings.skip_bad || error.is_of_store()) {
            Some(error) => Outcome::Error(error),
            None => dropped(failed, ""),
        },
        Content::Column(text, format) => outcome(cleaner.clean(text.into(), format, &mut provenance, &mut changes)),
        Content::Bytes(bytes, format) => match cleaner.decode(&bytes, format, None, &mut changes) {
            Ok(text) => outcome(cleaner.clean(text, format, &mut provenance, &mut changes)),
            Err(failed) => bad(failed, &bytes, &no_text),
        },
        Content::Web(page) => {
            let WebPage { bytes, format, charset, provenance: of_page, .. } = *page;
            provenance = of_page;
            match cleaner.decode(&bytes, format, charset, &mut changes) {
                Ok(text) => outcome(cleaner.clean(text, format, &mut provenance, &mut changes)),
                Err(failed) => bad(failed, &bytes, &no_text),
            }
        }
        Content::Json(bytes) => match cleaner.decode(&bytes, Format::Text, None, &mut changes) {
            Ok(line) => match text_of_json(&line, &settings.read.text_column) {
                Ok(text) => {
                    outcome(cleaner.clean(text.into(), settings.read.column_format, &mut provenance, &mut changes))
                }
                Err(reason) => bad(Failed::new(Rule::BadRow, reason), line.as_bytes(), &|failed| Error::Document {
                    file: document.file.to_string(),
                    place: place.clone(),
                    reason: failed.detail.clone(),
                }),
            },
            Err(failed) => bad(failed, &bytes, &no_text),
        },
    };
    FilteredDocument {
        file: document.file,
        position: Position { file: document.file_number, record: document.record },
        row: document.row,
        size,
        split_key: document.split_key,
        provenance,
        changes,
        outcome,
    }
}

fn outcome(cleaned: Cleaned) -> Outcome {
    match cleaned {
        Cleaned::Clean(clean) => Outcome::Clean(clean),
        Cleaned::Dropped(failed, text) => dropped(failed, &text),
    }
}

fn dropped(failed: Failed, text: &str) -> Outcome {
    let words = text.split_whitespace().count() as u64;
    Outcome::Dropped { failed, excerpt: excerpt(text), bytes: text.len() as u64, words }
}
