//! Parsing of `corpus.toml`: unknown keys are refused with the nearest known key.

use std::path::Path;

use palestra_settings::{assign, parse_toml, parse_toml_table};

use crate::error::{Error, Result};
use crate::settings::Settings;

impl Settings {
    /// Reads a TOML file. Each of `overrides` is a `key=value` that is applied after it.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::io(file, "read", source))?;
        Self::parse(&text, &file.display().to_string(), overrides)
    }

    /// Parses the settings from a TOML text; `name` is used in errors.
    ///
    /// ```
    /// use palestra_corpus::Settings;
    /// let error = Settings::parse("[gopher]\nword = [5, 10]\n", "corpus.toml", &[]).unwrap_err();
    /// assert!(error.to_string().starts_with("corpus.toml:2: unknown key `word` in [gopher]; did you mean `words`?"));
    /// ```
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Self> {
        let mut settings: Self = parse_toml(name, text)?;
        let mut origin = name.to_string();
        let mut table: toml::Table = parse_toml(name, text)?;
        for change in overrides {
            let option = format!("--set {change}");
            assign(&mut table, change).map_err(|reason| Error::Settings(format!("{option}: {reason}")))?;
            settings = parse_toml_table(&option, &table)?;
            origin = format!("{origin} {option}");
        }
        settings.check_ranges().map_err(|error| Error::Settings(format!("{origin}: {error}")))?;
        Ok(settings)
    }

    /// Returns the settings as TOML, every key with its value.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("settings are TOML")
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{Limit, Settings};

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        Settings::parse(text, "c.toml", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_comes_back() {
        let changes = ["gopher.words=false", "language.keep=['deu']", "out=here", "c4.sentences=5"].map(String::from);
        let settings = Settings::parse("out = 'there'\n[gopher]\nhashes = 0.2", "c.toml", &changes).unwrap();
        assert_eq!((settings.out.as_str(), settings.gopher.words), ("here", Limit::Off));
        assert_eq!((settings.gopher.hashes, settings.c4.sentences), (Limit::At(0.2), Limit::At(5)));
        assert_eq!(settings.language.keep, ["deu"]);
        assert_eq!(Settings::parse(&settings.to_toml(), "c.toml", &[]).unwrap(), settings);
        assert_eq!(Settings::parse("", "c.toml", &[]).unwrap(), Settings::default());
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        assert!(
            error("\n[gofer]\n", &[]).starts_with("c.toml:2: unknown key `gofer`; did you mean `gopher`? known keys: ")
        );
        let said = error("[c4]\nlorem_ipsun = true", &[]);
        assert!(said.starts_with("c.toml:2: unknown key `lorem_ipsun` in [c4]; did you mean `lorem_ipsum`?"), "{said}");
        assert_eq!(error("[split]\nseed = 1", &[]), "c.toml:2: unknown key `seed` in [split]; known keys: validation");
        assert!(
            error("", &["split.validatio=1"])
                .contains("unknown key `validatio` in [split]; did you mean `validation`?")
        );
        assert!(error("", &["gopher"]).contains("write key=value"));
        assert!(error("", &["gopher=1"]).contains("expected a section"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        let said = error("[gopher]\nwords = 'many'", &[]);
        assert!(said.starts_with("c.toml:2: ") && said.contains("a threshold of the rule's kind"), "{said}");
        assert_eq!(error("out = 'x", &[]).lines().count(), 1);
        assert!(
            error("", &["split.validation=many"])
                .starts_with("--set split.validation=many: split.validation: found string")
        );
        assert!(
            error("[gopher]\nstop_words = true", &[]).contains("true"),
            "{}",
            error("[gopher]\nstop_words = true", &[])
        );
        assert!(error("[repair]\nunicode = 'nfd'", &[]).contains("nfc"));
        let refused = |text: &str| {
            let text = format!("inputs = ['a.txt']\nout = 'b'\n{text}");
            Settings::parse(&text, "c.toml", &[]).unwrap().check().unwrap_err().to_string()
        };
        assert!(refused("[language]\nkeep = ['English']").contains("write \"eng\""));
        assert!(refused("[language]\nkeep = ['xx']").contains("three letters"));
        let inside = Settings { inputs: vec!["./books/".into()], out: "books/clean".into(), ..Settings::default() };
        assert!(inside.check().unwrap_err().to_string().contains("outside of the input ./books/"));
    }

    #[test]
    fn a_value_out_of_its_range_names_file_field_value_and_range() {
        let cases = [
            ("read.part_bytes = 3", "read.part_bytes: 3 is not between 1024 and 1099511627776"),
            ("read.max_document_bytes = 0", "read.max_document_bytes: 0 is not between 1024 and 1099511627776"),
            ("language.min_confidence = 1.5", "language.min_confidence: 1.5 is not between 0 and 1"),
            ("gopher.words = [100, 50]", "gopher.words[1]: 50 is not at least 100"),
            ("gopher.mean_word_length = [-1, 10]", "gopher.mean_word_length[0]: -1 is not at least 0"),
            ("gopher.mean_word_length = [5, 3]", "gopher.mean_word_length[1]: 3 is not at least 5"),
            ("gopher.hashes = -0.1", "gopher.hashes: -0.1 is not at least 0"),
            ("gopher.ellipses = nan", "gopher.ellipses: NaN is not at least 0"),
            ("gopher.bullet_lines = 2", "gopher.bullet_lines: 2 is not between 0 and 1"),
            ("gopher.ellipsis_lines = -1", "gopher.ellipsis_lines: -1 is not between 0 and 1"),
            ("gopher.alphabetic_words = 80", "gopher.alphabetic_words: 80 is not between 0 and 1"),
            ("gopher.stop_words = 9", "gopher.stop_words: 9 is not at most 8"),
            ("repetition.lines = 30", "repetition.lines: 30 is not between 0 and 1"),
            ("repetition.paragraphs = -1", "repetition.paragraphs: -1 is not between 0 and 1"),
            ("repetition.line_bytes = 2", "repetition.line_bytes: 2 is not between 0 and 1"),
            ("repetition.paragraph_bytes = 2", "repetition.paragraph_bytes: 2 is not between 0 and 1"),
            ("repetition.top_ngrams = [0.2, 1.8, 0.1]", "repetition.top_ngrams[1]: 1.8 is not between 0 and 1"),
            ("repetition.ngrams = [0, 0, 0, 0, 0, -1]", "repetition.ngrams[5]: -1 is not between 0 and 1"),
            ("duplicates.near = 0.5", "duplicates.near: 0.5 is not between 0.7 and 1"),
            ("split.validation = 1.0", "split.validation: 1 is not at least 0 and below 1"),
            ("shards.text_bytes = 1", "shards.text_bytes: 1 is not between 1024 and 1099511627776"),
            ("shards.zstd_level = 30", "shards.zstd_level: 30 is not between 1 and 19"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text, &[]), format!("c.toml: {expected}"));
        }
        let told = error("", &["gopher.hashes=-1"]);
        assert_eq!(told, "c.toml --set gopher.hashes=-1: gopher.hashes: -1 is not at least 0");
        let off = "gopher.words = false\nrepetition.ngrams = false\nduplicates.near = false";
        assert!(Settings::parse(off, "c.toml", &[]).is_ok(), "a rule that is off has no range");
    }
}
