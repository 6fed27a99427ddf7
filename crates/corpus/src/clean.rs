//! Cleaning of one document: from its bytes to a clean text, or to the rule that drops it. A pure function: the result
//! does not depend on other documents, so documents are cleaned on any number of threads.

mod c4;
mod charset;
mod gopher;
mod html;
mod html_bounds;
mod language;
mod mojibake;
mod normal;
mod repetition;
mod scrub;

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::duplicates::{Signature, signature};
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::rule::{Failed, Rule};
use crate::settings::{Format, Settings};
use crate::tally::excerpt;

pub use c4::Removed;
pub use scrub::Scrubbed;

/// State that is shared by all documents: the settings, and values computed from them once.
pub(crate) struct Cleaner {
    settings: Settings,
    bad_words: Option<c4::BadWords>,
    scrubber: scrub::Scrubber,
}

/// ISO 639-3 code of a language; "und" if unknown.
pub(crate) type LanguageCode = &'static str;

/// A text that passed every rule that applies to a single document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CleanText {
    pub text: String,
    /// A hash of the text, which is its name and identifies equal texts.
    pub id: u64,
    /// Not part of the written form, because it is written apart.
    #[serde(skip)]
    pub signature: Option<Signature>,
    #[serde(deserialize_with = "language::read_code")]
    pub language: LanguageCode,
    pub confidence: f32,
    pub words: u32,
}

/// Changes that cleaning made to a document, for the report.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    /// The charset used for bytes that are not UTF-8.
    pub charset: Option<&'static str>,
    /// True if mojibake was repaired.
    pub mojibake: bool,
    /// Lines removed by C4's rules.
    pub lines: c4::Removed,
    /// Personal data that was replaced.
    pub scrubbed: Scrubbed,
}

/// Result of cleaning.
pub(crate) enum Cleaned {
    Clean(CleanText),
    /// The rule that dropped the document, and its text up to that point.
    Dropped(Failed, String),
}

impl Cleaner {
    pub fn new(settings: &Settings) -> Result<Self> {
        let bad_words = match settings.c4.bad_words.as_str() {
            "" => None,
            file => Some(c4::BadWords::load(file)?),
        };
        Ok(Self { settings: settings.clone(), bad_words, scrubber: scrub::Scrubber::new(&settings.scrub) })
    }

    /// Decodes the bytes of a document to text, by its format and the charset that its server told.
    ///
    /// # Errors
    /// [`Rule::Undecodable`] with the position of the first byte that is not text.
    pub fn decode<'a>(
        &self,
        bytes: &'a [u8],
        format: Format,
        told: Option<&'static Encoding>,
        changes: &mut Changes,
    ) -> Result<Cow<'a, str>, Failed> {
        let in_page = || (format == Format::Html).then(|| charset::declared_in_html(bytes)).flatten();
        let declared = told.filter(|charset| *charset != UTF_8).or_else(in_page);
        let decoded = charset::decode(bytes, declared, self.settings.repair.charset)?;
        changes.charset = decoded.charset;
        Ok(decoded.text)
    }

    /// Repairs a text and applies every rule, in the order of [`Rule`]. Adds the terms that an HTML page tells to its
    /// provenance.
    pub fn clean(
        &self,
        text: Cow<'_, str>,
        format: Format,
        provenance: &mut Provenance,
        changes: &mut Changes,
    ) -> Cleaned {
        let settings = &self.settings;
        let text = match format {
            Format::Html => match html::text_of_html(&text, &settings.read, provenance) {
                Ok(text) => Cow::Owned(text),
                Err(failed) => return Cleaned::Dropped(failed, excerpt(&text)),
            },
            Format::Markdown => html::text_of_markdown(text, settings.read.markdown),
            Format::Text => text,
        };
        let text = match settings.repair.mojibake {
            true => {
                let mended = mojibake::undo(&text);
                changes.mojibake = mended.is_some();
                mended.map_or(text, Cow::Owned)
            }
            false => text,
        };
        let text = normal::normalize(&text, settings.repair.unicode);
        match self.filter(text, changes) {
            Ok(clean) => Cleaned::Clean(clean),
            Err((failed, text)) => Cleaned::Dropped(failed, text),
        }
    }

    fn filter(&self, mut text: String, changes: &mut Changes) -> Result<CleanText, (Failed, String)> {
        let settings = &self.settings;
        let mut asked = || -> Result<_, Failed> {
            if text.is_empty() {
                return Err(Failed::new(Rule::Empty, "nothing but white space and marks"));
            }
            if let Some(rest) = c4::remove_lines(&text, &settings.c4, &mut changes.lines)? {
                text = rest;
            }
            c4::check(&text, &settings.c4, self.bad_words.as_ref())?;
            let language = language::identify(&text);
            language::check(&language, &settings.language)?;
            let words: Vec<&str> = text.split_whitespace().collect();
            let spaced = language.is_spaced();
            gopher::check(&text, &words, &language, &settings.gopher)?;
            repetition::check(&text, if spaced { &words } else { &[] }, &settings.repetition)?;
            Ok((language, words.len() as u32))
        };
        let (language, words) = match asked() {
            Ok(known) => known,
            Err(failed) => return Err((failed, text)),
        };
        if let Some(scrubbed) = self.scrubber.scrub(&text, &mut changes.scrubbed) {
            text = scrubbed;
        }
        Ok(CleanText {
            id: id_of(&text),
            signature: settings.duplicates.near.get().and_then(|_| signature(&text, !language.is_spaced())),
            language: language.code,
            confidence: language.confidence,
            words,
            text,
        })
    }
}

/// Returns the id of a text: XXH3 of its bytes.
pub(crate) fn id_of(text: &str) -> u64 {
    XxHash3_64::oneshot(text.as_bytes())
}

/// Returns the signature of a written text, equal to that of [`Cleaner::clean`].
pub(crate) fn signature_of(text: &str, language: &str) -> Option<Signature> {
    signature(text, !language::is_spaced(language))
}

/// Returns the text column of a row of JSON.
pub(crate) fn text_of_json(line: &str, column: &str) -> Result<String, String> {
    use serde_json::Value;
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let (column, reason) = palestra_datasets::json_fault(line, &error);
        format!("column {column}: it is no JSON: {reason}")
    })?;
    let Value::Object(mut fields) = value else {
        return Err(format!("it is no JSON object; one {{\"{column}\": \"...\"}} a line is right"));
    };
    match fields.remove(column) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            let kind = match other {
                Value::Null => "null",
                Value::Bool(_) => "a truth value",
                Value::Number(_) => "a number",
                Value::Array(_) => "a list",
                _ => "an object",
            };
            Err(format!("the column `{column}` is {kind}; a text is right"))
        }
        None => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            Err(no_column(column, &names))
        }
    }
}

/// Returns an error message for a missing column, with the columns that exist.
pub(crate) fn no_column(column: &str, names: &[&str]) -> String {
    let there = if names.is_empty() { "no column".to_string() } else { names.join(", ") };
    let nearest = palestra_settings::nearest(column, names.iter().copied());
    let right = nearest.first().or(names.first()).unwrap_or(&"text");
    format!("it has no column `{column}`, but {there}; name the column of the text with --text-column {right}")
}

/// Returns the error of a document with bytes that are not text.
pub(crate) fn undecodable(file: &str, place: String, failed: &Failed) -> Error {
    let reason =
        format!("{}; save it as UTF-8, take it out, or pass over such documents with --skip-bad", failed.detail);
    Error::Document { file: file.to_string(), place, reason }
}
