//! What a person asks for: `corpus.toml`, every key with its default.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A corpus run: what is read, what is done to it and where it goes. In TOML, every key may be left out but `inputs`
/// and `out`, which the command line gives as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Files, folders (all files below with a known ending) and glob patterns.
    pub inputs: Vec<String>,
    /// The folder to write; it appears when everything is done, and until then `<out>.partial` holds what is.
    pub out: String,
    /// Threads that clean; 0 for one a core. The output does not depend on it.
    pub threads: usize,
    /// Pass over rows, documents and files that cannot be read, and count them, instead of stopping at the first.
    pub skip_bad: bool,
    /// Stop after this many documents, to try settings out; 0 for all.
    pub max_documents: u64,
    /// How files become documents.
    pub read: Read,
    /// What is mended in a text before it is judged.
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
    /// Which duplicates go.
    pub duplicates: Duplicates,
    /// Training and validation.
    pub split: Split,
    /// The files that are written.
    pub shards: Shards,
}

/// How files become documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Read {
    /// What a text or Markdown file is made of: one document, one a line, or one a paragraph (blank lines between).
    pub text_unit: TextUnit,
    /// A text file longer than this is cut at blank lines into parts of about this size (bytes). The parts are judged
    /// one by one and stay together in training or validation.
    pub part_bytes: usize,
    /// The column of JSON lines and Parquet that holds the text.
    pub text_column: String,
    /// What that column holds.
    pub column_format: Format,
    /// Larger documents (bytes) are dropped: what bounds the memory.
    pub max_document_bytes: usize,
    /// Of HTML, the article without menus and such, or all text of the page.
    pub html: HtmlText,
    /// Markdown as it is written, or the text without its marks.
    pub markdown: MarkdownText,
}

/// What a text file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextUnit {
    /// A file is a document.
    File,
    /// A line is a document.
    Line,
    /// What stands between blank lines is a document.
    Paragraph,
}

/// What a text is written in.
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

/// What is taken from an HTML page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HtmlText {
    /// The main content, as Mozilla's Readability finds it; all text where it finds none.
    Article,
    /// All text of the page's body.
    All,
}

/// What is taken from Markdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkdownText {
    /// The file as it is.
    Keep,
    /// Its text without marks.
    Plain,
}

/// What is mended in a text before it is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repair {
    /// Guess the charset of bytes that are no UTF-8; otherwise they are undecodable.
    pub charset: bool,
    /// Undo UTF-8 that was read as windows-1252, such as "Ã©" for "é".
    pub mojibake: bool,
    /// The Unicode normal form.
    pub unicode: Unicode,
}

/// A Unicode normal form (UAX #15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unicode {
    /// Canonical composition: looks the same, one spelling.
    Nfc,
    /// Compatibility composition: also unifies ligatures, full-width letters, superscripts.
    Nfkc,
    /// As it is.
    None,
}

/// Languages to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// ISO 639-3 codes such as "eng"; empty for all.
    pub keep: Vec<String>,
    /// Drop documents whose language is less sure than this (0 to 1).
    pub min_confidence: Limit<f64>,
}

/// Gopher's quality rules: Rae et al. 2021, "Scaling Language Models", appendix A1.1. `false` switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gopher {
    /// Fewest and most words.
    pub words: Limit<[usize; 2]>,
    /// Least and greatest mean length of a word in characters.
    pub mean_word_length: Limit<[f64; 2]>,
    /// Most "#" a word.
    pub hashes: Limit<f64>,
    /// Most ellipses a word.
    pub ellipses: Limit<f64>,
    /// Largest share of lines that begin with a bullet.
    pub bullet_lines: Limit<f64>,
    /// Largest share of lines that end with an ellipsis.
    pub ellipsis_lines: Limit<f64>,
    /// Smallest share of words with a letter.
    pub alphabetic_words: Limit<f64>,
    /// Fewest different of the, be, to, of, and, that, have, with. Judged on English alone.
    pub stop_words: Limit<usize>,
}

/// Gopher's repetition rules: Rae et al. 2021, table A1. Each is the largest share that may be repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repetition {
    /// Lines that stood before.
    pub lines: Limit<f64>,
    /// Paragraphs that stood before.
    pub paragraphs: Limit<f64>,
    /// Bytes in lines that stood before.
    pub line_bytes: Limit<f64>,
    /// Bytes in paragraphs that stood before.
    pub paragraph_bytes: Limit<f64>,
    /// Bytes in the most frequent n-gram of n = 2, 3, 4 words.
    pub top_ngrams: Limit<[f64; 3]>,
    /// Bytes in n-grams of n = 5, 6, 7, 8, 9, 10 words that stood before.
    pub ngrams: Limit<[f64; 6]>,
}

/// C4's rules: Raffel et al. 2020, "Exploring the Limits of Transfer Learning", section 2.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C4 {
    /// Remove lines that do not end in a terminal punctuation mark. Off by default: it removes verse, headings, lists.
    pub terminal_punctuation: bool,
    /// Remove lines of fewer words (C4: 5). Off by default, for the same reason.
    pub words_per_line: Limit<usize>,
    /// Remove lines with the word "javascript". Lines beyond 1,000 bytes stay: they are texts and no notices.
    pub javascript_lines: bool,
    /// Remove lines on cookies, privacy and terms of use, up to the same length.
    pub policy_lines: bool,
    /// Remove citation marks of Wikipedia, such as `[3]` and `[citation needed]`.
    pub citations: bool,
    /// Drop documents with "lorem ipsum".
    pub lorem_ipsum: bool,
    /// Drop documents with a curly bracket. Off by default: it drops whatever has code or formulas.
    pub curly_bracket: bool,
    /// Drop documents of fewer sentences.
    pub sentences: Limit<usize>,
    /// Drop documents with a word of this file (one a line; C4 used LDNOOBW's list); empty for none.
    pub bad_words: String,
}

/// Personal data to take out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrub {
    /// Addresses of e-mail become `<email>`.
    pub email: bool,
    /// Public IPv4 and IPv6 addresses become `<ip>`.
    pub ip: bool,
    /// Phone numbers, international or North American, become `<phone>`.
    pub phone: bool,
}

/// Which duplicates go. The first of them, in the order of the input, stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Duplicates {
    /// The same cleaned text.
    pub exact: bool,
    /// Texts whose sets of five-word sequences have this estimated Jaccard similarity (.7 to 1).
    pub near: Limit<f64>,
}

/// Training and validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// The share of documents that are kept for validation, chosen by a hash of the document.
    pub validation: f64,
}

/// The files that are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// A training file and a validation file are closed when they hold this much text together; a killed run goes on
    /// from there.
    pub text_bytes: u64,
    /// zstd's level, 1 to 19.
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

impl<T: Copy> Limit<T> {
    /// The threshold, where the rule is on.
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

    /// Refuses what cannot be done. Whoever runs a corpus need not call it: the run does.
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
        if let Some(near) = self.duplicates.near.get()
            && !(0.7..=1.0).contains(&near)
        {
            return refuse("duplicates.near", &near, "from 0.7, below which the index misses most pairs, to 1");
        }
        let validation = self.split.validation;
        if !(0.0..1.0).contains(&validation) {
            return refuse("split.validation", &validation, "a share from 0 to below 1 is right");
        }
        if !(1..=19).contains(&self.shards.zstd_level) {
            return refuse("shards.zstd_level", &self.shards.zstd_level, "zstd has the levels 1 to 19");
        }
        let sizes = [
            ("shards.text_bytes", self.shards.text_bytes),
            ("read.part_bytes", self.read.part_bytes as u64),
            ("read.max_document_bytes", self.read.max_document_bytes as u64),
        ];
        for (key, bytes) in sizes {
            if !(1024..=1 << 40).contains(&bytes) {
                return refuse(key, &bytes, "at least 1024 bytes are right");
            }
        }
        Ok(())
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
