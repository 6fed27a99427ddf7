use super::language::Language;
use crate::rule::{Failed, Rule};
use crate::settings::Gopher;

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
const BULLETS: [char; 6] = ['•', '●', '‣', '▪', '*', '-'];

/// Checks Gopher's quality rules. Words are separated by white space; in languages without spaces, the rules on words
/// are meaningless and are skipped.
pub(super) fn check(text: &str, words: &[&str], language: &Language, rules: &Gopher) -> Result<(), Failed> {
    let count = words.len();
    let share = |part: usize| part as f64 / count.max(1) as f64;
    if language.is_spaced() {
        if let Some([least, most]) = rules.words.get()
            && !(least..=most).contains(&count)
        {
            return Err(Failed::new(Rule::GopherWords, format!("{count} words, from {least} to {most}")));
        }
        if let Some([least, most]) = rules.mean_word_length.get() {
            let mean = share(words.iter().map(|word| word.chars().count()).sum());
            if !(least..=most).contains(&mean) {
                let detail = format!("mean length {mean:.2}, from {least} to {most}");
                return Err(Failed::new(Rule::GopherMeanWordLength, detail));
            }
        }
    }
    if let Some(most) = rules.hashes.get() {
        let hashes = memchr::memchr_iter(b'#', text.as_bytes()).count();
        at_most(Rule::GopherHashes, share(hashes), most, "\"#\" a word")?;
    }
    if let Some(most) = rules.ellipses.get() {
        at_most(Rule::GopherEllipses, share(ellipses(text)), most, "ellipses a word")?;
    }
    if rules.bullet_lines.get().is_some() || rules.ellipsis_lines.get().is_some() {
        let (mut lines, mut bullets, mut trailing) = (0, 0, 0);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            lines += 1;
            bullets += usize::from(line.starts_with(BULLETS));
            trailing += usize::from(line.ends_with('…') || line.ends_with("..."));
        }
        let of_lines = |part: usize| part as f64 / f64::from(lines.max(1));
        if let Some(most) = rules.bullet_lines.get() {
            at_most(Rule::GopherBulletLines, of_lines(bullets), most, "of lines begin with a bullet")?;
        }
        if let Some(most) = rules.ellipsis_lines.get() {
            at_most(Rule::GopherEllipsisLines, of_lines(trailing), most, "of lines end with an ellipsis")?;
        }
    }
    if !language.is_spaced() {
        return Ok(());
    }
    if let Some(least) = rules.alphabetic_words.get() {
        let alphabetic = share(words.iter().filter(|word| word.contains(char::is_alphabetic)).count());
        if alphabetic < least {
            let detail = format!("{alphabetic:.3} of words have a letter, at least {least}");
            return Err(Failed::new(Rule::GopherAlphabeticWords, detail));
        }
    }
    match rules.stop_words.get() {
        Some(least) if language.code == "eng" && !has_stop_words(words, least) => {
            Err(Failed::new(Rule::GopherStopWords, format!("fewer than {least} of {}", STOP_WORDS.join(", "))))
        }
        _ => Ok(()),
    }
}

pub(super) fn at_most(rule: Rule, share: f64, most: f64, what: &str) -> Result<(), Failed> {
    if share > most { Err(Failed::new(rule, format!("{share:.3} {what}, at most {most}"))) } else { Ok(()) }
}

fn ellipses(text: &str) -> usize {
    let points = memchr::memmem::find_iter(text.as_bytes(), b"...").count();
    points + memchr::memmem::find_iter(text.as_bytes(), "…".as_bytes()).count()
}

/// True if a text contains at least this many different stop words; in most texts the first sentence decides.
fn has_stop_words(words: &[&str], least: usize) -> bool {
    let mut seen = [false; STOP_WORDS.len()];
    let mut count = 0;
    for word in words.iter().map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric())) {
        if count >= least {
            break;
        }
        if let Some(place) = STOP_WORDS.iter().position(|stop| stop.eq_ignore_ascii_case(word))
            && !std::mem::replace(&mut seen[place], true)
        {
            count += 1;
        }
    }
    count >= least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limit;

    const ENGLISH: Language = Language { code: "eng", confidence: 1.0 };

    fn ask(text: &str) -> Result<(), Failed> {
        ask_in(text, &ENGLISH)
    }

    fn ask_in(text: &str, language: &Language) -> Result<(), Failed> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let rules = Gopher { words: Limit::At([5, 40]), ..Gopher::default() };
        check(text, &words, language, &rules)
    }

    #[test]
    fn each_rule_drops_what_it_is_for() {
        assert_eq!(
            ask("It was a bright cold day in April, and the clocks of the town were striking thirteen."),
            Ok(())
        );
        let cases = [
            ("The end of it.", Rule::GopherWords, "4 words, from 5 to 40"),
            ("a b c d e the to of", Rule::GopherMeanWordLength, "mean length 1.50, from 3 to 10"),
            ("#one #two three and four with five", Rule::GopherHashes, "0.286 \"#\" a word, at most 0.1"),
            ("wait... what… then... and with five", Rule::GopherEllipses, "0.500 ellipses a word, at most 0.1"),
            (
                "- milk and eggs\n* bread with butter",
                Rule::GopherBulletLines,
                "1.000 of lines begin with a bullet, at most 0.9",
            ),
            (
                "one and two with the other thing...\nthree and four with the other thing here",
                Rule::GopherEllipsisLines,
                "0.500 of lines end with an ellipsis, at most 0.3",
            ),
            ("1234 5678 91011 and with", Rule::GopherAlphabeticWords, "0.400 of words have a letter, at least 0.8"),
            (
                "Cheap watches, cheap shoes, call today",
                Rule::GopherStopWords,
                "fewer than 2 of the, be, to, of, and, that, have, with",
            ),
            (
                "the The THE watches, cheap shoes",
                Rule::GopherStopWords,
                "fewer than 2 of the, be, to, of, and, that, have, with",
            ),
        ];
        for (text, rule, detail) in cases {
            assert_eq!(ask(text), Err(Failed::new(rule, detail)), "{text}");
        }
    }

    #[test]
    fn rules_on_words_are_for_languages_with_spaces() {
        let chinese = Language { code: "cmn", confidence: 1.0 };
        assert_eq!(ask_in("道可道，非常道。名可名，非常名。", &chinese), Ok(()));
        let german = Language { code: "deu", confidence: 1.0 };
        assert_eq!(ask_in("Alle Wege führen nach Rom zurück", &german), Ok(()));
    }

    #[test]
    fn a_rule_that_is_off_drops_nothing() {
        assert_eq!(check("# # ... - 1", &["#", "#", "...", "-", "1"], &ENGLISH, &Gopher::OFF), Ok(()));
    }
}
