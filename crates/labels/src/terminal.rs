//! Labeling in a terminal, by one annotator.

use std::io::{BufRead, Write};
use std::time::Instant;

use palestra_datasets::Content;

use crate::error::Result;
use crate::label::{Label, SCALE, Verdict};
use crate::store::{Annotator, Store, Task};

/// Parsed input at an item.
#[derive(Debug, PartialEq)]
enum Said {
    Label(Label),
    Rate(Vec<Option<f64>>),
    Undo,
    Help,
    Quit,
}

/// Shows one item after another and stores the entered labels, until no item is left, `q`, or the end of the input.
/// Returns the number of stored labels.
pub fn label(store: &mut Store, annotator: &Annotator, mut input: impl BufRead, mut output: impl Write) -> Result<u64> {
    let mut kept = 0u64;
    let mut line = String::new();
    while let Some(task) = store.next(annotator)? {
        let progress = store.progress(annotator)?;
        writeln!(output, "\n--- {} done, {} left ---", progress.done, progress.left)?;
        show(&task, &mut output)?;
        let shown = Instant::now();
        let mut ratings = Vec::new();
        loop {
            write!(output, "{} > ", keys(task.answers.len()))?;
            output.flush()?;
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(kept);
            }
            match parse(&line, task.answers.len()) {
                Ok(Said::Label(label)) => {
                    let label = Label { ratings: std::mem::take(&mut ratings), ..label };
                    store.submit(annotator, task.item, &label, shown.elapsed().as_secs_f64())?;
                    kept += 1;
                    break;
                }
                Ok(Said::Rate(of_each)) if task.answers.len() == 1 => {
                    let label = Label { ratings: of_each, ..Label::of(Verdict::Rated) };
                    store.submit(annotator, task.item, &label, shown.elapsed().as_secs_f64())?;
                    kept += 1;
                    break;
                }
                Ok(Said::Rate(of_each)) => {
                    ratings = of_each;
                    writeln!(output, "rated; now which is better?")?;
                }
                Ok(Said::Undo) => match store.undo(annotator)? {
                    Some(_) => {
                        kept = kept.saturating_sub(1);
                        break;
                    }
                    None => writeln!(output, "there is nothing to take back")?,
                },
                Ok(Said::Help) => writeln!(output, "{HELP}")?,
                Ok(Said::Quit) => return Ok(kept),
                Err(reason) => writeln!(output, "{reason}; ? for help, nothing was kept")?,
            }
        }
    }
    writeln!(output, "\nNothing is left to label.")?;
    Ok(kept)
}

const HELP: &str = "\
a, b, ...   that answer is best; of a single one, a: it is good
bac         all of them, from the best to the worst
t           no answer is better than another
x           all are bad
r 4 2       ratings of A, B, ... from 1 to 5, - for none, before you say which is better
s           skip: somebody else is asked
u           take your last label back
q           stop; everything is kept
Words after a verdict are a comment: b shorter, and true";

fn keys(answers: usize) -> &'static str {
    match answers {
        1 => "a good, x bad, r 1-5 rating, s skip, u undo, q quit, ? help",
        2 => "a, b, t tie, x both bad, s skip, u undo, q quit, ? help",
        _ => "best, or all from best to worst; t tie, x all bad, s skip, u undo, q quit, ? help",
    }
}

fn parse(line: &str, answers: usize) -> Result<Said, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let word = word.to_lowercase();
    let verdict = match word.as_str() {
        "" | "?" | "h" => return Ok(Said::Help),
        "q" => return Ok(Said::Quit),
        "u" => return Ok(Said::Undo),
        "r" => return ratings(rest, answers).map(Said::Rate),
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
                [answer] => Verdict::Best { answer },
                _ => Verdict::Ranking { answers: places },
            }
        }
    };
    let label = Label { comment: rest.trim().to_string(), ..Label::of(verdict) };
    label.check(answers).map_err(|error| error.to_string())?;
    Ok(Said::Label(label))
}

fn ratings(rest: &str, answers: usize) -> Result<Vec<Option<f64>>, String> {
    let right = || format!("ratings should be {answers} numbers from 1 to {SCALE}, or - for none");
    let rating = |word: &str| match word {
        "-" => Ok(None),
        number => {
            number.parse().ok().filter(|number| (1.0..=f64::from(SCALE)).contains(number)).map(Some).ok_or_else(right)
        }
    };
    let ratings = rest.split_whitespace().map(rating).collect::<Result<Vec<_>, _>>()?;
    match ratings.len() == answers && ratings.iter().any(Option::is_some) {
        true => Ok(ratings),
        false => Err(right()),
    }
}

fn show(task: &Task, output: &mut impl Write) -> std::io::Result<()> {
    writeln!(output, "{}", told(&task.prompt))?;
    for (letter, answer) in ('A'..).zip(&task.answers) {
        writeln!(output, "\n[{letter}] {}", told(answer))?;
    }
    writeln!(output)
}

/// A text that is safe for a terminal: control characters, which could move the cursor or change colors, and marks of
/// direction, which could show it in another order, are escaped.
fn told(text: &Content) -> String {
    let mut shown = String::new();
    for char in text.as_text().chars() {
        match char {
            '\n' | '\t' => shown.push(char),
            char if char.is_control() || is_mark_of_direction(char) => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    shown
}

/// True for the characters that change the direction of text (Unicode's Bidi_Control).
fn is_mark_of_direction(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, NewItem, Settings};

    #[test]
    fn marks_of_direction_are_shown() {
        let text = "good \u{202e}dab\u{2066} \u{5d0}\n";
        assert_eq!(told(&text.into()), "good \\u{202e}dab\\u{2066} \u{5d0}\n");
    }

    #[test]
    fn what_is_typed_is_kept_and_what_is_wrong_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("labels.db"), Settings::default()).unwrap();
        let item = |number: usize| NewItem {
            prompt: format!("prompt {number}").as_str().into(),
            answers: ["good", "\x1b[31mred"].map(|text| Answer { text: text.into(), policy: None }).into(),
            gold: None,
            gap: None,
        };
        store.add((0..4).map(item).map(Ok::<_, crate::Error>)).unwrap();
        let me = store.annotator("me").unwrap();
        let typed = "c\nr 9 9\nr 4 -\na it is true\nx\nu\nT\n?\ns\nq\n";
        let mut screen = Vec::new();
        assert_eq!(label(&mut store, &me, typed.as_bytes(), &mut screen).unwrap(), 3);
        let screen = String::from_utf8(screen).unwrap();
        assert!(!screen.contains('\x1b') && screen.contains("\\u{1b}[31mred"), "{screen}");
        assert!(screen.contains("'c' is no answer and no key; ? for help, nothing was kept"), "{screen}");
        let labelled = store.labelled().unwrap();
        let labels: Vec<&Label> = labelled.iter().map(|labelled| &labelled.label).collect();
        assert_eq!(labels.len(), 3);
        // Answer A as shown, with its rating.
        assert_eq!(labels[0].best(), Some(labelled[0].shown[0]));
        assert_eq!(labels[0].ratings[labelled[0].shown[0]], Some(4.0));
        assert_eq!(labels[0].comment, "it is true");
        assert_eq!((&labels[1].verdict, &labels[2].verdict), (&Verdict::Tie, &Verdict::Skip));
        assert_eq!(store.progress(&me).unwrap().left, 1);
    }

    #[test]
    fn rankings_and_single_answers() {
        let said = |line: &str, answers: usize| parse(line, answers);
        assert_eq!(said("cab", 3), Ok(Said::Label(Label::of(Verdict::Ranking { answers: vec![2, 0, 1] }))));
        assert!(said("ca", 3).unwrap_err().contains("each of the 3 answers should stand once"));
        assert_eq!(said("r 4.5", 1), Ok(Said::Rate(vec![Some(4.5)])));
        assert!(said("r nan", 1).is_err());
        assert!(said("t", 1).unwrap_err().contains("a tie of a single answer"));
    }
}
