//! Rules that drop a document: names, descriptions, and references.

use serde::{Deserialize, Serialize};

/// Reason for which a document was dropped, in the order in which the rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// A damaged file, the rest of which cannot be read.
    #[serde(rename = "damaged_file")]
    DamagedFile,
    /// A row without the text column, or that is not JSON.
    #[serde(rename = "bad_row")]
    BadRow,
    /// A record of a web archive that cannot be read.
    #[serde(rename = "bad_record")]
    BadRecord,
    /// A page of a web archive whose status is not 200.
    #[serde(rename = "http.status")]
    HttpStatus,
    /// A page of a web archive that is no text, Markdown or HTML.
    #[serde(rename = "http.media_type")]
    MediaType,
    /// Bytes that are not text in any charset.
    #[serde(rename = "undecodable")]
    Undecodable,
    /// Larger than `read.max_document_bytes`.
    #[serde(rename = "too_large")]
    TooLarge,
    /// A page that takes too long to parse: see `read.html_depth` and `read.html_marks`.
    #[serde(rename = "hostile_html")]
    HostileHtml,
    /// No text other than white space, or none left after cleaning.
    #[serde(rename = "empty")]
    Empty,
    /// No line is left after C4's rules on lines.
    #[serde(rename = "c4.no_lines")]
    C4NoLines,
    /// The text "lorem ipsum".
    #[serde(rename = "c4.lorem_ipsum")]
    C4LoremIpsum,
    /// A curly bracket.
    #[serde(rename = "c4.curly_bracket")]
    C4CurlyBracket,
    /// A word of the list.
    #[serde(rename = "c4.bad_words")]
    C4BadWords,
    /// Too few sentences.
    #[serde(rename = "c4.sentences")]
    C4Sentences,
    /// Another language.
    #[serde(rename = "language.keep")]
    Language,
    /// Too low a confidence in the language.
    #[serde(rename = "language.min_confidence")]
    LanguageConfidence,
    /// Too few or too many words.
    #[serde(rename = "gopher.words")]
    GopherWords,
    /// Words too short or too long.
    #[serde(rename = "gopher.mean_word_length")]
    GopherMeanWordLength,
    /// Too many "#".
    #[serde(rename = "gopher.hashes")]
    GopherHashes,
    /// Too many ellipses.
    #[serde(rename = "gopher.ellipses")]
    GopherEllipses,
    /// Too many lines that begin with a bullet.
    #[serde(rename = "gopher.bullet_lines")]
    GopherBulletLines,
    /// Too many lines that end with an ellipsis.
    #[serde(rename = "gopher.ellipsis_lines")]
    GopherEllipsisLines,
    /// Too many words without a letter.
    #[serde(rename = "gopher.alphabetic_words")]
    GopherAlphabeticWords,
    /// Too few stop words.
    #[serde(rename = "gopher.stop_words")]
    GopherStopWords,
    /// Lines that occurred before.
    #[serde(rename = "repetition.lines")]
    RepeatedLines,
    /// Paragraphs that occurred before.
    #[serde(rename = "repetition.paragraphs")]
    RepeatedParagraphs,
    /// Bytes in such lines.
    #[serde(rename = "repetition.line_bytes")]
    RepeatedLineBytes,
    /// Bytes in such paragraphs.
    #[serde(rename = "repetition.paragraph_bytes")]
    RepeatedParagraphBytes,
    /// A frequent n-gram.
    #[serde(rename = "repetition.top_ngrams")]
    TopNgrams,
    /// N-grams that occurred before.
    #[serde(rename = "repetition.ngrams")]
    RepeatedNgrams,
    /// The same text as an earlier document.
    #[serde(rename = "duplicates.exact")]
    ExactDuplicate,
    /// Nearly the same text as an earlier document.
    #[serde(rename = "duplicates.near")]
    NearDuplicate,
}

/// Step of the funnel that a rule belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Decoding of bytes to text.
    Read,
    /// C4's rules.
    C4,
    /// The language filter.
    Language,
    /// Gopher's quality rules.
    Gopher,
    /// Gopher's repetition rules.
    Repetition,
    /// Removal of exact and near duplicates.
    Duplicates,
}

impl Step {
    /// All steps in their order.
    pub const ALL: [Self; 6] = [Self::Read, Self::C4, Self::Language, Self::Gopher, Self::Repetition, Self::Duplicates];

    /// Returns a description of the step, with the reference for its rules.
    pub fn title(self) -> &'static str {
        match self {
            Self::Read => "Reading and text extraction",
            Self::C4 => "C4 (Raffel et al. 2020, section 2.2)",
            Self::Language => "Language",
            Self::Gopher => "Gopher quality (Rae et al. 2021, appendix A1.1)",
            Self::Repetition => "Gopher repetition (Rae et al. 2021, table A1)",
            Self::Duplicates => "Exact and near duplicates (MinHash LSH)",
        }
    }
}

impl Rule {
    /// Returns the rule's name: its key in the settings, if it has one.
    pub fn name(self) -> String {
        let value = serde_json::to_value(self).expect("a rule is a text");
        value.as_str().expect("a rule is a text").to_string()
    }

    /// Returns the step of the funnel that the rule belongs to.
    pub fn step(self) -> Step {
        match self {
            Self::DamagedFile
            | Self::BadRow
            | Self::BadRecord
            | Self::HttpStatus
            | Self::MediaType
            | Self::Undecodable
            | Self::TooLarge
            | Self::HostileHtml
            | Self::Empty => Step::Read,
            Self::C4NoLines | Self::C4LoremIpsum | Self::C4CurlyBracket | Self::C4BadWords | Self::C4Sentences => {
                Step::C4
            }
            Self::Language | Self::LanguageConfidence => Step::Language,
            Self::GopherWords
            | Self::GopherMeanWordLength
            | Self::GopherHashes
            | Self::GopherEllipses
            | Self::GopherBulletLines
            | Self::GopherEllipsisLines
            | Self::GopherAlphabeticWords
            | Self::GopherStopWords => Step::Gopher,
            Self::RepeatedLines
            | Self::RepeatedParagraphs
            | Self::RepeatedLineBytes
            | Self::RepeatedParagraphBytes
            | Self::TopNgrams
            | Self::RepeatedNgrams => Step::Repetition,
            Self::ExactDuplicate | Self::NearDuplicate => Step::Duplicates,
        }
    }
}

/// A rule that a text failed, with the measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// The rule.
    pub rule: Rule,
    /// The measured value beside the threshold, such as "12 words, at least 50".
    pub detail: String,
}

impl Failed {
    pub(crate) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}
