//! Lines that an annotator types.

use super::Questions;
use crate::label::{Label, SCALE, Strength, Verdict};

/// Parsed input at an item.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// Label without ratings.
    Label(Label),
    /// Ratings of each answer, overall or by a criterion.
    Rate {
        criterion: Option<String>,
        ratings: Vec<Option<f64>>,
    },
    /// An empty line.
    Enter,
    Undo,
    Earlier,
    Later,
    Help,
    Quit,
}

/// Explanation of all keys.
pub(super) fn help(questions: &Questions) -> String {
    let mut help = "\
a, b, ...   that answer is best; of a single one, a: it is good
bac         all of them, from the best to the worst
t           no answer is better than another
x           all are bad
r 4 2       ratings of A, B, ... from 1 to 5, - for none, before you say which is better; Enter keeps ratings alone
s           skip: somebody else is asked
u           take your last label back
p, n        your earlier labels, one by one, and the later ones; what you type there replaces the label
q           stop; everything is kept
Words after a verdict are a comment: b shorter, and true"
        .to_string();
    if questions.strength {
        help += "\nOf two answers, a or b is slightly better, A or B much better";
    }
    if !questions.criteria.is_empty() {
        let names = questions.criteria.join(", ");
        help += &format!("\nr NAME 4 2  ratings by a criterion ({names}); the beginning of its name will do");
    }
    help
}

/// The keys in one line, for an item with so many answers.
pub(super) fn keys(answers: usize, questions: &Questions) -> &'static str {
    match answers {
        0 => "p earlier, u undo, q quit",
        1 => "a good, x bad, r 1-5 rating, s skip, u undo, p earlier, q quit, ? help",
        2 if questions.strength => {
            "a, b slightly better, A, B much better, t tie, x both bad, s skip, u undo, p earlier, q quit, ? help"
        }
        2 => "a, b, t tie, x both bad, s skip, u undo, p earlier, q quit, ? help",
        _ => "best, or all from best to worst; t tie, x all bad, s skip, u undo, p earlier, q quit, ? help",
    }
}

/// Parses a line that was typed at an item with so many answers.
///
/// # Errors
/// A line that says nothing possible, with the reason.
pub(super) fn parse(line: &str, answers: usize, questions: &Questions) -> Result<Said, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let mut strength = None;
    let verdict = match word.to_lowercase().as_str() {
        "" => return Ok(Said::Enter),
        "?" => return Ok(Said::Help),
        "q" => return Ok(Said::Quit),
        "u" => return Ok(Said::Undo),
        "p" => return Ok(Said::Earlier),
        "n" => return Ok(Said::Later),
        "r" => return ratings(rest, answers, &questions.criteria),
        "t" => Verdict::Tie,
        "x" => Verdict::AllBad,
        "s" => Verdict::Skip,
        letters => {
            let place = |letter: char| {
                let place = (letter as usize).wrapping_sub('a' as usize);
                (place < answers).then_some(place).ok_or_else(|| format!("{letter:?} is no answer and no key"))
            };
            let places = letters.chars().map(place).collect::<Result<Vec<_>, _>>()?;
            match places[..] {
                [answer] => {
                    let is_much = word.chars().any(char::is_uppercase);
                    let given = if is_much { Strength::Much } else { Strength::Slightly };
                    strength = Some(given).filter(|_| questions.strength && answers == 2);
                    Verdict::Best { answer }
                }
                _ => Verdict::Ranking { answers: places },
            }
        }
    };
    let label = Label { strength, comment: rest.trim().to_string(), ..Label::of(verdict) };
    label.check(answers).map_err(|error| error.to_string())?;
    Ok(Said::Label(label))
}

fn ratings(rest: &str, answers: usize, criteria: &[String]) -> Result<Said, String> {
    let right = || format!("ratings should be {answers} numbers from 1 to {SCALE}, or - for none");
    let rating = |word: &&str| match *word {
        "-" => Ok(None),
        number => {
            number.parse().ok().filter(|number| (1.0..=f64::from(SCALE)).contains(number)).map(Some).ok_or_else(right)
        }
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (name, numbers) = words.split_at_checked(words.len().wrapping_sub(answers)).ok_or_else(right)?;
    let ratings = numbers.iter().map(rating).collect::<Result<Vec<_>, _>>()?;
    if !ratings.iter().any(Option::is_some) || name.iter().any(|word| rating(word).is_ok()) {
        return Err(right());
    }
    let criterion = if name.is_empty() { None } else { Some(criterion(&name.join(" "), criteria)?) };
    Ok(Said::Rate { criterion, ratings })
}

/// The criterion of this name, or the only one whose name begins with it.
fn criterion(name: &str, criteria: &[String]) -> Result<String, String> {
    let begins = |criterion: &&String| criterion.to_lowercase().starts_with(&name.to_lowercase());
    let found: Vec<&String> = criteria.iter().filter(begins).collect();
    match (criteria.iter().find(|criterion| criterion.eq_ignore_ascii_case(name)), &found[..]) {
        (Some(criterion), _) => Ok(criterion.clone()),
        (None, [criterion]) => Ok((*criterion).clone()),
        _ if criteria.is_empty() => Err(format!("{name:?} is no criterion; --criterion names those to rate by")),
        _ => Err(format!("{name:?} is not the beginning of one criterion; there are: {}", criteria.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str, answers: usize) -> Result<Said, String> {
        let criteria = ["helpful", "Is true", "is short"].map(String::from).into();
        parse(line, answers, &Questions { criteria, strength: true })
    }

    #[test]
    fn rankings_and_single_answers() {
        assert_eq!(said("cab", 3), Ok(Said::Label(Label::of(Verdict::Ranking { answers: vec![2, 0, 1] }))));
        assert!(said("ca", 3).unwrap_err().contains("each of the 3 answers should stand once"));
        assert_eq!(said("r 4.5", 1), Ok(Said::Rate { criterion: None, ratings: vec![Some(4.5)] }));
        assert!(said("r nan", 1).is_err());
        assert!(said("t", 1).unwrap_err().contains("a tie of a single answer"));
        assert_eq!(said("h", 8), Ok(Said::Label(Label::of(Verdict::Best { answer: 7 }))), "the eighth answer");
    }

    #[test]
    fn ratings_by_criteria() {
        let by = |name: &str, ratings: [Option<f64>; 2]| {
            Ok(Said::Rate { criterion: Some(name.to_string()), ratings: ratings.into() })
        };
        assert_eq!(said("r helpful 4 -", 2), by("helpful", [Some(4.0), None]));
        assert_eq!(said("r H 4 1", 2), by("helpful", [Some(4.0), Some(1.0)]));
        assert_eq!(said("r is t 5 1", 2), by("Is true", [Some(5.0), Some(1.0)]));
        let all = "\"is\" is not the beginning of one criterion; there are: helpful, Is true, is short";
        assert_eq!(said("r is 4 1", 2).unwrap_err(), all);
        let right = "ratings should be 2 numbers from 1 to 5, or - for none";
        for wrong in ["r 4 2 3", "r 4", "r", "r - -", "r helpful 4"] {
            assert_eq!(said(wrong, 2).unwrap_err(), right, "{wrong}");
        }
        let none = parse("r helpful 4 1", 2, &Questions::default()).unwrap_err();
        assert!(none.contains("--criterion names those to rate by"), "{none}");
    }

    #[test]
    fn strength_is_the_case_of_a_letter() {
        let label = |strength| Ok(Said::Label(Label { strength, ..Label::of(Verdict::Best { answer: 1 }) }));
        assert_eq!(said("b", 2), label(Some(Strength::Slightly)));
        assert_eq!(said("B", 2), label(Some(Strength::Much)));
        assert_eq!(said("B", 3), label(None), "of two answers alone");
        assert_eq!(parse("B", 2, &Questions::default()), label(None));
    }
}
