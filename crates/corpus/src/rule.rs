//! The rules that drop a document: names, what each asks, and who published it.

use serde::{Deserialize, Serialize};

/// Why a document was dropped, in the order in which the rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// A file whose rest cannot be read.
    #[serde(rename = "damaged_file")]
    DamagedFile,
    /// A row without the text, or that is no JSON.
    #[serde(rename = "bad_row")]
    BadRow,
    /// Bytes that are text in no charset.
    #[serde(rename = "undecodable")]
    Undecodable,
    /// Larger than `read.max_document_bytes`.
    #[serde(rename = "too_large")]
    TooLarge,
    /// Nothing but white space, or nothing left of it.
    #[serde(rename = "empty")]
    Empty,
    /// No line is left after C4's rules on lines.
    #[serde(rename = "c4.no_lines")]
    C4NoLines,
    /// "lorem ipsum".
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
    /// A language that is not sure.
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
    /// Lines that stood before.
    #[serde(rename = "repetition.lines")]
    RepeatedLines,
    /// Paragraphs that stood before.
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
    /// N-grams that stood before.
    #[serde(rename = "repetition.ngrams")]
    RepeatedNgrams,
    /// The text of an earlier document.
    #[serde(rename = "duplicates.exact")]
    ExactDuplicate,
    /// Nearly the text of an earlier document.
    #[serde(rename = "duplicates.near")]
    NearDuplicate,
}

/// Which step of the funnel a rule belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bytes become text.
    Read,
    /// C4's rules.
    C4,
    /// The language.
    Language,
    /// Gopher's quality rules.
    Gopher,
    /// Gopher's repetition rules.
    Repetition,
    /// Exact and near duplicates.
    Duplicates,
}

impl Step {
    /// All steps in their order.
    pub const ALL: [Self; 6] = [Self::Read, Self::C4, Self::Language, Self::Gopher, Self::Repetition, Self::Duplicates];

    /// What the step does, and who published its rules.
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
    /// The rule's name: its key in the settings, where it has one.
    pub fn name(self) -> String {
        let value = serde_json::to_value(self).expect("a rule is a text");
        value.as_str().expect("a rule is a text").to_string()
    }

    /// Which step of the funnel the rule belongs to.
    pub fn step(self) -> Step {
        match self {
            Self::DamagedFile | Self::BadRow | Self::Undecodable | Self::TooLarge | Self::Empty => Step::Read,
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

/// A rule that a text failed, and by what.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Which rule.
    pub rule: Rule,
    /// The measured value beside the threshold, such as "12 words, at least 50".
    pub detail: String,
}

impl Failed {
    pub(crate) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}
