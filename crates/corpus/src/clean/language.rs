use serde::{Deserialize, Deserializer};
use whatlang::Lang;

use crate::rule::{Failed, Rule};
use crate::settings;

/// Language of a text, detected from its letters and trigrams (whatlang, after Cavnar and Trenkle 1994).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Language {
    /// ISO 639-3 code; "und" if unknown.
    pub code: &'static str,
    /// Confidence from 0 to 1.
    pub confidence: f32,
}

/// Number of bytes, from the middle of a text, used for detection, because titles and menus are at the start. A larger
/// sample costs time, a third of all cleaning at 2,048, and rarely changes the result.
const SAMPLE: usize = 1024;

/// Code of a language that was not identified.
const UNKNOWN: &str = "und";

/// Languages that are written without spaces between words, to which rules on words do not apply.
const UNSPACED: [&str; 5] = ["cmn", "jpn", "khm", "mya", "tha"];

impl Language {
    pub fn is_spaced(&self) -> bool {
        is_spaced(self.code)
    }
}

pub(super) fn is_spaced(code: &str) -> bool {
    !UNSPACED.contains(&code)
}

/// Reads the code of a language that [`identify`] returned.
pub(super) fn read_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let code = String::deserialize(deserializer)?;
    Ok(Lang::from_code(code).map_or(UNKNOWN, |lang| lang.code()))
}

pub(super) fn identify(text: &str) -> Language {
    let start = text.floor_char_boundary(text.len().saturating_sub(SAMPLE) / 2);
    let end = text.floor_char_boundary((start + SAMPLE).min(text.len()));
    match whatlang::detect(&text[start..end]) {
        Some(found) => Language { code: found.lang().code(), confidence: found.confidence() as f32 },
        None => Language { code: UNKNOWN, confidence: 0.0 },
    }
}

pub(super) fn check(language: &Language, wanted: &settings::Language) -> Result<(), Failed> {
    let name = || Lang::from_code(language.code).map_or("an unknown language", |lang| lang.eng_name());
    if !wanted.keep.is_empty() && !wanted.keep.iter().any(|code| code == language.code) {
        let detail = format!("{} ({:.2} sure), of {}", name(), language.confidence, wanted.keep.join(", "));
        return Err(Failed::new(Rule::Language, detail));
    }
    match wanted.min_confidence.get() {
        Some(least) if f64::from(language.confidence) < least => Err(Failed::new(
            Rule::LanguageConfidence,
            format!("{} at {:.2}, at least {least}", name(), language.confidence),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let samples = [
            ("eng", "It was the best of times, it was the worst of times, it was the age of wisdom."),
            ("deu", "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich verwandelt."),
            ("fra", "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte."),
            (
                "rus",
                "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. Все \
                 смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею в их доме француженкою.",
            ),
            ("cmn", "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。"),
        ];
        for (code, text) in samples {
            assert_eq!(identify(text).code, code, "{text}");
        }
        assert_eq!(identify("12 345 -- 6"), Language { code: "und", confidence: 0.0 });
    }

    #[test]
    fn only_wanted_languages_pass() {
        let german = Language { code: "deu", confidence: 0.8 };
        let mut wanted = settings::Language::default();
        assert!(check(&german, &wanted).is_ok());
        wanted.min_confidence = settings::Limit::At(0.9);
        assert_eq!(check(&german, &wanted).unwrap_err().detail, "German at 0.80, at least 0.9");
        wanted.keep = vec!["eng".into()];
        assert_eq!(check(&german, &wanted).unwrap_err().detail, "German (0.80 sure), of eng");
    }
}
