//! Settings of a corpus run: `corpus.toml`, every key with its default.

use std::fmt;

use palestra_files::Address;
use palestra_settings::{Number, Range, Setting, Value, check_ranges};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Settings of a corpus run: input, processing and output. In TOML, every key is optional except `inputs` and `out`,
/// which can also be given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Files, folders (all files below with a known ending) and glob patterns.
    pub inputs: Vec<String>,
    /// The output folder; it appears when everything is done. Until then `<out>.partial` holds the finished part.
    pub out: String,
    /// Number of cleaning threads; 0 for one per core. The output does not depend on it.
    pub threads: usize,
    /// Skips rows, documents and files that cannot be read, and counts them, instead of stopping at the first.
    pub skip_bad: bool,
    /// Maximum number of documents, to try settings out; 0 for all.
    pub max_documents: u64,
    /// Conversion of files to documents.
    pub read: Read,
    /// Repairs of a text before the rules are applied.
    pub repair: Repair,
    /// Languages to keep.
    pub language: Language,
    /// Quality rules of Gopher.
    pub gopher: Gopher,
    /// Repetition rules of Gopher.
    pub repetition: Repetition,
    /// Rules of C4.
    pub c4: C4,
    /// Personal data to take out.
    pub scrub: Scrub,
    /// Removal of duplicates.
    pub duplicates: Duplicates,
    /// Split into training and validation.
    pub split: Split,
    /// Output files.
    pub shards: Shards,
}

/// Conversion of files to documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Read {
    /// Documents of a text or Markdown file: one per file, one per line, or one per paragraph (separated by blank
    /// lines).
    pub text_unit: TextUnit,
    /// Size (bytes) above which a text file is cut at blank lines into parts of about this size. The parts are filtered
    /// separately and stay together in training or validation. 1 KiB to 1 TiB.
    pub part_bytes: usize,
    /// The column of JSON lines and Parquet that holds the text.
    pub text_column: String,
    /// Format of that column.
    pub column_format: Format,
    /// Maximum size of a document (bytes), which bounds the memory; larger ones are dropped. 1 KiB to
    /// 1 TiB.
    pub max_document_bytes: usize,
    /// Text to extract from HTML: the article without menus and such, or all text of the page.
    pub html: HtmlText,
    /// Maximum depth of the elements of a page, 16 to 65,536; deeper pages are dropped, because the time to parse one is
    /// quadratic in it.
    pub html_depth: usize,
    /// Maximum number of attributes of an element, and of `&` in a page that begin no character reference, 16 to
    /// 1,000,000; pages with more are dropped, for the same reason.
    pub html_marks: usize,
    /// Text to extract from Markdown: as it is written, or without its markup.
    pub markdown: MarkdownText,
}

/// Division of a text file into documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextUnit {
    /// One document per file.
    File,
    /// One document per line.
    Line,
    /// One document per paragraph, separated by blank lines.
    Paragraph,
}

/// Format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
}

/// Text to extract from an HTML page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HtmlText {
    /// The main content, as Mozilla's Readability finds it; all text if it finds none.
    Article,
    /// All text of the page's body.
    All,
}

/// Text to extract from Markdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkdownText {
    /// The file unchanged.
    Keep,
    /// Its text without markup.
    Plain,
}

/// Repairs of a text before the rules are applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repair {
    /// Guesses the charset of bytes that are not UTF-8; otherwise they are undecodable.
    pub charset: bool,
    /// Repairs UTF-8 that was decoded as windows-1252, such as "Ã©" for "é".
    pub mojibake: bool,
    /// The Unicode normal form.
    pub unicode: Unicode,
}

/// A Unicode normal form (UAX #15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unicode {
    /// Canonical composition: same appearance, unique encoding.
    Nfc,
    /// Compatibility composition: also unifies ligatures, full-width letters, superscripts.
    Nfkc,
    /// No normalization.
    None,
}

/// Languages to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// ISO 639-3 codes such as "eng"; empty for all.
    pub keep: Vec<String>,
    /// Minimum confidence in the language (0 to 1); documents below it are dropped.
    pub min_confidence: Limit<f64>,
}

/// Gopher's quality rules: Rae et al. 2021, "Scaling Language Models", appendix A1.1. `false` switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gopher {
    /// Minimum and maximum number of words, in this order.
    pub words: Limit<[usize; 2]>,
    /// Minimum and maximum mean length of a word in characters, at least 0 and in this order.
    pub mean_word_length: Limit<[f64; 2]>,
    /// Maximum number of "#" per word, at least 0.
    pub hashes: Limit<f64>,
    /// Maximum number of ellipses per word, at least 0.
    pub ellipses: Limit<f64>,
    /// Maximum share of lines that begin with a bullet, 0 to 1.
    pub bullet_lines: Limit<f64>,
    /// Maximum share of lines that end with an ellipsis, 0 to 1.
    pub ellipsis_lines: Limit<f64>,
    /// Minimum share of words with a letter, 0 to 1.
    pub alphabetic_words: Limit<f64>,
    /// Minimum number of different words among the, be, to, of, and, that, have, with; at most 8. Applied to English
    /// only.
    pub stop_words: Limit<usize>,
}

/// Gopher's repetition rules: Rae et al. 2021, table A1. Each is the maximum share, 0 to 1, that may be repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repetition {
    /// Lines that occurred before.
    pub lines: Limit<f64>,
    /// Paragraphs that occurred before.
    pub paragraphs: Limit<f64>,
    /// Bytes in lines that occurred before.
    pub line_bytes: Limit<f64>,
    /// Bytes in paragraphs that occurred before.
    pub paragraph_bytes: Limit<f64>,
    /// Bytes in the most frequent n-gram of n = 2, 3, 4 words.
    pub top_ngrams: Limit<[f64; 3]>,
    /// Bytes in n-grams of n = 5, 6, 7, 8, 9, 10 words that occurred before.
    pub ngrams: Limit<[f64; 6]>,
}

/// C4's rules: Raffel et al. 2020, "Exploring the Limits of Transfer Learning", section 2.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C4 {
    /// Removes lines that do not end in a terminal punctuation mark. Off by default: it removes verse, headings, lists.
    pub terminal_punctuation: bool,
    /// Minimum number of words per line; shorter lines are removed (C4: 5). Off by default, for the same reason.
    pub words_per_line: Limit<usize>,
    /// Removes lines with the word "javascript". Lines over 1,000 bytes stay: they are text and not notices.
    pub javascript_lines: bool,
    /// Removes lines on cookies, privacy and terms of use, up to the same length.
    pub policy_lines: bool,
    /// Removes citation marks of Wikipedia, such as `[3]` and `[citation needed]`.
    pub citations: bool,
    /// Drops documents with "lorem ipsum".
    pub lorem_ipsum: bool,
    /// Drops documents with a curly bracket. Off by default: it drops every document with code or formulas.
    pub curly_bracket: bool,
    /// Minimum number of sentences; shorter documents are dropped.
    pub sentences: Limit<usize>,
    /// Drops documents with a word of this file (one per line; C4 used LDNOOBW's list); empty for none.
    pub bad_words: String,
}

/// Personal data to take out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrub {
    /// Replaces e-mail addresses by `<email>`.
    pub email: bool,
    /// Replaces public IPv4 and IPv6 addresses by `<ip>`.
    pub ip: bool,
    /// Replaces phone numbers, international or North American, by `<phone>`.
    pub phone: bool,
}

/// Removal of duplicates. The first one, in the order of the input, is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Duplicates {
    /// Removes texts that are equal after cleaning.
    pub exact: bool,
    /// Removes texts with at least this estimated Jaccard similarity of their sets of five-word sequences (.7 to 1).
    pub near: Limit<f64>,
}

/// Split into training and validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// The share of documents, from 0 to below 1, that are kept for validation, chosen by a hash of the document.
    pub validation: f64,
}

/// Output files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// Bytes of text at which a pair of a training file and a validation file is closed; a killed run resumes from
    /// there. 1 KiB to 1 TiB.
    pub text_bytes: u64,
    /// zstd compression level, 1 to 19.
    pub zstd_level: i32,
}

/// The threshold of a rule, or `false` for a rule that is off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit<T> {
    /// The rule is off.
    Off,
    /// The rule's threshold.
    At(T),
}

/// Number of words that [`Gopher::stop_words`] counts.
const STOP_WORDS: f64 = 8.0;

impl<T: Copy> Limit<T> {
    /// Returns the threshold, if the rule is on.
    pub fn get(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(threshold) => Some(threshold),
        }
    }
}

impl Settings {
    /// Switches off every rule of C4 and Gopher.
    pub fn switch_off_filters(&mut self) {
        (self.gopher, self.repetition, self.c4) = (Gopher::OFF, Repetition::OFF, C4::OFF);
    }

    /// Refuses invalid settings. Callers of a run need not call it: the run does.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, value: &dyn fmt::Display, right: &str| {
            Err(Error::Settings(format!("`{key}` is {value}; {right}")))
        };
        if self.inputs.is_empty() {
            return refuse("inputs", &"empty", "name files, folders or patterns such as 'books/*.txt.gz'");
        }
        if self.out.is_empty() {
            return refuse("out", &"empty", "name the folder to write");
        }
        if Address::is_in(&self.out) {
            let right = "name a folder of this machine; `palestra corpus` sends it to an address when it is whole";
            return refuse("out", &self.out, right);
        }
        let absolute = |path: &str| std::path::absolute(path).unwrap_or_else(|_| path.into());
        if let Some(input) = self.inputs.iter().find(|input| absolute(&self.out).starts_with(absolute(input))) {
            let right = format!("name a folder outside of the input {input}, or it would be read as well");
            return refuse("out", &self.out, &right);
        }
        let known: Vec<_> = whatlang::Lang::all().iter().map(|lang| lang.code()).collect();
        for code in &self.language.keep {
            if !known.contains(&code.as_str()) {
                let named = whatlang::Lang::all().iter().find(|lang| lang.eng_name().eq_ignore_ascii_case(code));
                let right = match named {
                    Some(lang) => format!("write \"{}\"", lang.code()),
                    None => format!("write three letters (ISO 639-3), one of {}", known.join(" ")),
                };
                return refuse("language.keep", &format!("{code:?}"), &right);
            }
        }
        self.check_ranges()
    }

    /// Refuses values out of their ranges.
    pub(crate) fn check_ranges(&self) -> Result<()> {
        let Self { read, language, gopher, repetition, duplicates, split, shards, .. } = self;
        const SIZE: Range = Range::between(1024.0, (1_u64 << 40) as f64);
        check_ranges(
            "",
            &[
                ("read.part_bytes", &read.part_bytes, SIZE),
                ("read.max_document_bytes", &read.max_document_bytes, SIZE),
                ("read.html_depth", &read.html_depth, Range::between(16.0, 65_536.0)),
                ("read.html_marks", &read.html_marks, Range::between(16.0, 1e6)),
                ("language.min_confidence", &language.min_confidence, Range::UNIT),
                ("gopher.hashes", &gopher.hashes, Range::AT_LEAST_ZERO),
                ("gopher.ellipses", &gopher.ellipses, Range::AT_LEAST_ZERO),
                ("gopher.bullet_lines", &gopher.bullet_lines, Range::UNIT),
                ("gopher.ellipsis_lines", &gopher.ellipsis_lines, Range::UNIT),
                ("gopher.alphabetic_words", &gopher.alphabetic_words, Range::UNIT),
                ("gopher.stop_words", &gopher.stop_words, Range::at_most(STOP_WORDS)),
                ("repetition.lines", &repetition.lines, Range::UNIT),
                ("repetition.paragraphs", &repetition.paragraphs, Range::UNIT),
                ("repetition.line_bytes", &repetition.line_bytes, Range::UNIT),
                ("repetition.paragraph_bytes", &repetition.paragraph_bytes, Range::UNIT),
                ("duplicates.near", &duplicates.near, Range::between(0.7, 1.0)),
                ("split.validation", &split.validation, Range::from_below(0.0, 1.0)),
                ("shards.text_bytes", &shards.text_bytes, SIZE),
                ("shards.zstd_level", &shards.zstd_level, Range::between(1.0, 19.0)),
            ],
        )?;
        if let Some([min, max]) = gopher.words.get() {
            check_ranges("gopher", &[("words[1]", &max, Range::at_least(min as f64))])?;
        }
        if let Some([min, max]) = gopher.mean_word_length.get() {
            let ranges: [Setting; 2] = [
                ("mean_word_length[0]", &min, Range::AT_LEAST_ZERO),
                ("mean_word_length[1]", &max, Range::at_least(min)),
            ];
            check_ranges("gopher", &ranges)?;
        }
        let top_ngrams = repetition.top_ngrams.get();
        let ngrams = repetition.ngrams.get();
        for (field, shares) in [
            ("top_ngrams", top_ngrams.as_ref().map(<[f64; 3]>::as_slice)),
            ("ngrams", ngrams.as_ref().map(<[f64; 6]>::as_slice)),
        ] {
            for (at, share) in shares.unwrap_or_default().iter().enumerate() {
                check_ranges("repetition", &[(&format!("{field}[{at}]"), share, Range::UNIT)])?;
            }
        }
        Ok(())
    }
}

impl<T: Copy + Number> Number for Limit<T> {
    fn value(&self) -> Option<Value> {
        self.get().as_ref().and_then(Number::value)
    }
}

impl<T: Serialize> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::At(threshold) => threshold.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a threshold of the rule's kind (see docs/corpus.md), or false to switch it off")]
        enum Written<T> {
            Switch(bool),
            Threshold(T),
        }
        match Written::deserialize(deserializer)? {
            Written::Switch(false) => Ok(Self::Off),
            Written::Switch(true) => {
                Err(serde::de::Error::custom("write the threshold itself instead of true, or leave the key out"))
            }
            Written::Threshold(threshold) => Ok(Self::At(threshold)),
        }
    }
}
