use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result};
use crate::rule::{Failed, Rule};
use crate::settings::C4;

/// Counts of lines that were removed from documents, by rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Lines without a terminal punctuation mark.
    pub terminal_punctuation: u64,
    /// Lines with too few words.
    pub words_per_line: u64,
    /// Lines about javascript.
    pub javascript_lines: u64,
    /// Lines about cookies, privacy and terms of use.
    pub policy_lines: u64,
}

impl Removed {
    pub(crate) fn add(&mut self, other: &Self) {
        self.terminal_punctuation += other.terminal_punctuation;
        self.words_per_line += other.words_per_line;
        self.javascript_lines += other.javascript_lines;
        self.policy_lines += other.policy_lines;
    }
}

/// List of words that cause a document to be dropped.
pub(super) struct BadWords(Regex);

static POLICY: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"));
static JAVASCRIPT: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)javascript"));
static LOREM_IPSUM: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)lorem ipsum"));
static CITATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[(?:\d{1,3}|edit|citation needed)\]"));

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is well formed")
}

/// Maximum length in bytes of a line to match phrases in. A phrase is not the topic of a longer line: some texts have a
/// whole chapter on one line.
const MAX_NOTICE_LENGTH: usize = 1000;
const ENDS: [char; 8] = ['.', '?', '!', '"', '”', '。', '？', '！'];

impl BadWords {
    /// Reads a list of one word or phrase per line.
    pub fn load(file: &str) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::io(file, "read", source))?;
        let words: Vec<String> =
            text.lines().map(str::trim).filter(|word| !word.is_empty()).map(regex::escape).collect();
        if words.is_empty() {
            return Err(Error::Settings(format!("c4.bad_words: {file} has no word; one a line is right")));
        }
        // As in T5: surrounded by characters that are not letters or digits.
        Regex::new(&format!(r"(?i)(?:^|\W)({})(?:\W|$)", words.join("|")))
            .map(Self)
            .map_err(|error| Error::Settings(format!("c4.bad_words: {file}: {error}")))
    }
}

/// Returns the text without the lines and marks that C4 removes; `None` if it has none of them.
pub(super) fn remove_lines(text: &str, rules: &C4, removed: &mut Removed) -> Result<Option<String>, Failed> {
    let without_marks = if rules.citations { CITATION.replace_all(text, "") } else { text.into() };
    // Most texts contain none of the phrases, which is faster to check on a whole text than on its lines.
    let javascript = rules.javascript_lines && JAVASCRIPT.is_match(&without_marks);
    let policy = rules.policy_lines && POLICY.is_match(&without_marks);
    let least = rules.words_per_line.get();
    if !javascript && !policy && !rules.terminal_punctuation && least.is_none() {
        return Ok(match without_marks {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        });
    }
    let mut count_of = |line: &str| -> bool {
        let is_short = line.len() <= MAX_NOTICE_LENGTH;
        let ends = line.ends_with(ENDS) && !line.ends_with("...");
        let count = if rules.terminal_punctuation && !ends {
            &mut removed.terminal_punctuation
        } else if least.is_some_and(|least| line.split_whitespace().count() < least) {
            &mut removed.words_per_line
        } else if is_short && javascript && JAVASCRIPT.is_match(line) {
            &mut removed.javascript_lines
        } else if is_short && policy && POLICY.is_match(line) {
            &mut removed.policy_lines
        } else {
            return false;
        };
        *count += 1;
        true
    };
    let mut kept = String::with_capacity(text.len());
    let mut paragraph_ended = false;
    for line in without_marks.split('\n') {
        if line.is_empty() {
            paragraph_ended = true;
        } else if !count_of(line) {
            if !kept.is_empty() {
                kept.push_str(if paragraph_ended { "\n\n" } else { "\n" });
            }
            kept.push_str(line);
            paragraph_ended = false;
        }
    }
    if kept.trim().is_empty() {
        return Err(Failed::new(Rule::C4NoLines, "the rules on lines removed every line"));
    }
    Ok(Some(kept))
}

/// Checks C4's rules on documents.
pub(super) fn check(text: &str, rules: &C4, bad_words: Option<&BadWords>) -> Result<(), Failed> {
    if rules.lorem_ipsum && LOREM_IPSUM.is_match(text) {
        return Err(Failed::new(Rule::C4LoremIpsum, "it has \"lorem ipsum\""));
    }
    if rules.curly_bracket && text.contains('{') {
        return Err(Failed::new(Rule::C4CurlyBracket, "it has \"{\""));
    }
    if let Some(found) = bad_words.and_then(|words| words.0.captures(text)) {
        return Err(Failed::new(Rule::C4BadWords, format!("it has {:?}", &found[1])));
    }
    if let Some(least) = rules.sentences.get() {
        let sentences = sentences(text, least);
        if sentences < least {
            return Err(Failed::new(Rule::C4Sentences, format!("{sentences} sentences, at least {least}")));
        }
    }
    Ok(())
}

/// Counts the sentences of a text, up to `enough`. A line break inside a sentence, as in verse, does not end it,
/// although it does by Unicode's rules (UAX #29).
fn sentences(text: &str, enough: usize) -> usize {
    let mut count = 0;
    let mut open = false;
    for part in text.split_sentence_bounds() {
        let part = part.trim_end();
        open |= part.contains(char::is_alphanumeric);
        if open && part.ends_with(|letter: char| ENDS.contains(&letter) || ":;…’')»".contains(letter)) {
            count += 1;
            open = false;
            if count == enough {
                return count;
            }
        }
    }
    count + usize::from(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limit;

    fn removed(text: &str, rules: &C4) -> (Option<String>, Removed) {
        let mut removed = Removed::default();
        (remove_lines(text, rules, &mut removed).unwrap(), removed)
    }

    #[test]
    fn lines_of_the_web_go_and_prose_stays() {
        let text = "The sea was calm.[3]\nPlease enable JavaScript to go on.\n\nWe use cookies. Read our Privacy Policy!\n\
                    See our TERMS OF USE here.\nBy noon it had changed.[citation needed]";
        let (rest, counts) = removed(text, &C4::default());
        assert_eq!(rest.unwrap(), "The sea was calm.\n\nBy noon it had changed.");
        assert_eq!((counts.javascript_lines, counts.policy_lines), (1, 2));
        let chapter = "What we know of its terms of use is this. ".repeat(30);
        assert_eq!(removed(&chapter, &C4::default()).0.as_ref(), Some(&chapter));
        assert_eq!(removed("To be, or not to be\nThat is the question", &C4::default()).0, None);
    }

    #[test]
    fn strict_rules_on_lines_are_a_choice() {
        let strict = C4 { terminal_punctuation: true, words_per_line: Limit::At(5), ..C4::default() };
        let text = "Home Shop\nOne line with a point at its end.\nShort one.\nOne that trails off in the end...";
        let (rest, counts) = removed(text, &strict);
        assert_eq!(rest.unwrap(), "One line with a point at its end.");
        assert_eq!((counts.terminal_punctuation, counts.words_per_line), (2, 1));
        let failed = remove_lines("Home\nShop", &strict, &mut Removed::default()).unwrap_err();
        assert_eq!(failed.rule, Rule::C4NoLines);
    }

    #[test]
    fn documents_are_filtered() {
        let good = "One is here. Two is there. Three is everywhere.";
        let rules = C4::default();
        assert!(check(good, &rules, None).is_ok());
        let rule = |text: &str, rules: &C4| check(text, rules, None).map_err(|failed| failed.rule);
        assert_eq!(rule("Lorem Ipsum dolor. Two. Three.", &rules), Err(Rule::C4LoremIpsum));
        assert_eq!(rule("One here. Two there", &rules), Err(Rule::C4Sentences));
        assert_eq!(rule("Was it he? \"No.\" she said. It was not", &rules), Ok(()));
        assert_eq!(rule("a { b }. Two. Three.", &rules), Ok(()));
        assert_eq!(
            rule("a { b }. Two. Three.", &C4 { curly_bracket: true, ..rules.clone() }),
            Err(Rule::C4CurlyBracket)
        );
        assert_eq!(rule("One here", &C4 { sentences: Limit::Off, ..rules }), Ok(()));
        assert_eq!(sentences("Shall I compare thee\nto a summer's day? Thou art\nmore lovely.", 9), 2);
    }

    #[test]
    fn bad_words_are_whole_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words.txt");
        std::fs::write(&file, "damn\nbloody hell\n").unwrap();
        let words = BadWords::load(file.to_str().unwrap()).unwrap();
        let ask = |text: &str| check(text, &C4 { sentences: Limit::Off, ..C4::default() }, Some(&words));
        assert_eq!(ask("Well, DAMN it").unwrap_err().detail, "it has \"DAMN\"");
        assert!(ask("bloody  hello, damned").is_ok());
        std::fs::write(&file, "\n").unwrap();
        assert!(BadWords::load(file.to_str().unwrap()).is_err());
    }
}
