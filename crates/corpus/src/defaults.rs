//! Defaults of all settings: the published thresholds, if there are any.

use crate::settings::*;

impl Default for Read {
    fn default() -> Self {
        Self {
            text_unit: TextUnit::File,
            part_bytes: 256 << 10,
            text_column: "text".into(),
            column_format: Format::Text,
            max_document_bytes: 16 << 20,
            html: HtmlText::Article,
            html_depth: 8192,
            html_marks: 10_000,
            markdown: MarkdownText::Keep,
        }
    }
}

impl Default for Repair {
    fn default() -> Self {
        Self { charset: true, mojibake: true, unicode: Unicode::Nfc }
    }
}

impl Default for Language {
    fn default() -> Self {
        Self { keep: Vec::new(), min_confidence: Limit::Off }
    }
}

impl Gopher {
    /// Every rule off.
    pub const OFF: Self = Self {
        words: Limit::Off,
        mean_word_length: Limit::Off,
        hashes: Limit::Off,
        ellipses: Limit::Off,
        bullet_lines: Limit::Off,
        ellipsis_lines: Limit::Off,
        alphabetic_words: Limit::Off,
        stop_words: Limit::Off,
    };
}

impl Default for Gopher {
    fn default() -> Self {
        Self {
            words: Limit::At([50, 100_000]),
            mean_word_length: Limit::At([3.0, 10.0]),
            hashes: Limit::At(0.1),
            ellipses: Limit::At(0.1),
            bullet_lines: Limit::At(0.9),
            ellipsis_lines: Limit::At(0.3),
            alphabetic_words: Limit::At(0.8),
            stop_words: Limit::At(2),
        }
    }
}

impl Repetition {
    /// Every rule off.
    pub const OFF: Self = Self {
        lines: Limit::Off,
        paragraphs: Limit::Off,
        line_bytes: Limit::Off,
        paragraph_bytes: Limit::Off,
        top_ngrams: Limit::Off,
        ngrams: Limit::Off,
    };
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            lines: Limit::At(0.3),
            paragraphs: Limit::At(0.3),
            line_bytes: Limit::At(0.2),
            paragraph_bytes: Limit::At(0.2),
            top_ngrams: Limit::At([0.20, 0.18, 0.16]),
            ngrams: Limit::At([0.15, 0.14, 0.13, 0.12, 0.11, 0.10]),
        }
    }
}

impl C4 {
    /// Every rule off.
    pub const OFF: Self = Self {
        terminal_punctuation: false,
        words_per_line: Limit::Off,
        javascript_lines: false,
        policy_lines: false,
        citations: false,
        lorem_ipsum: false,
        curly_bracket: false,
        sentences: Limit::Off,
        bad_words: String::new(),
    };
}

impl Default for C4 {
    fn default() -> Self {
        Self {
            terminal_punctuation: false,
            words_per_line: Limit::Off,
            javascript_lines: true,
            policy_lines: true,
            citations: true,
            lorem_ipsum: true,
            curly_bracket: false,
            sentences: Limit::At(3),
            bad_words: String::new(),
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self { email: true, ip: true, phone: true }
    }
}

impl Default for Duplicates {
    fn default() -> Self {
        Self { exact: true, near: Limit::At(0.7) }
    }
}

impl Default for Split {
    fn default() -> Self {
        Self { validation: 0.01 }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self { text_bytes: 128 << 20, zstd_level: 3 }
    }
}
