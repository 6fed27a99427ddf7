//! Labeling in a terminal, by one annotator.

mod parse;

use std::io::{BufRead, Write};
use std::time::Instant;

use palestra_datasets::Content;

use crate::error::Result;
use crate::images::without_data;
use crate::label::{Label, Strength, Verdict, check_criteria};
use crate::store::{Annotator, Store, Task};
use parse::{Said, help, keys, parse};

/// Questions to an annotator besides which answer is best.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Criteria by which each answer is rated, besides the overall rating.
    pub criteria: Vec<String>,
    /// True if the annotator says whether the better of two answers is slightly or much better.
    pub strength: bool,
}

/// An item on the screen.
struct Entry {
    task: Task,
    /// Number of labels since its own, from 1 for the last; 0 if it is not labelled yet.
    back: u64,
    /// Ratings and comment that go with the verdict to come.
    draft: Label,
    since: Instant,
}

/// Shows one item after another and stores the entered labels, until `q` or the end of the input. Returns the number of
/// stored labels.
///
/// # Errors
/// Criteria that no label may have; a store that cannot be written; an input or an output that fails.
pub fn label(
    store: &mut Store,
    annotator: &Annotator,
    questions: &Questions,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<u64> {
    check_criteria(&questions.criteria)?;
    let mut kept = 0u64;
    let mut line = String::new();
    let mut shown = next(store, annotator)?;
    loop {
        show(store, annotator, shown.as_ref(), &mut output)?;
        shown = loop {
            let answers = shown.as_ref().map_or(0, |entry| entry.task.answers.len());
            write!(output, "{} > ", keys(answers, questions))?;
            output.flush()?;
            line.clear();
            if input.read_line(&mut line)? == 0 {
                writeln!(output)?;
                return Ok(kept);
            }
            let back = shown.as_ref().map_or(0, |entry| entry.back);
            match (parse(&line, answers, questions), &mut shown) {
                (Err(reason), _) => writeln!(output, "{reason}; ? for help, nothing was kept")?,
                (Ok(Said::Quit), _) => return Ok(kept),
                (Ok(Said::Help), _) => writeln!(output, "{}", help(questions))?,
                (Ok(Said::Undo), _) if back > 0 => writeln!(output, "an earlier label is replaced, not taken back")?,
                (Ok(Said::Undo), _) => match store.undo(annotator)? {
                    Some((_, undone)) => {
                        kept = kept.saturating_sub(1);
                        writeln!(output, "taken back: {}", told_label(&undone))?;
                        break next(store, annotator)?.map(|entry| Entry { draft: undone, ..entry });
                    }
                    None => writeln!(output, "there is nothing to take back")?,
                },
                (Ok(Said::Earlier), _) => match own(store, annotator, back + 1)? {
                    Some(entry) => break Some(entry),
                    None => writeln!(output, "there is no earlier label")?,
                },
                (Ok(Said::Later), _) if back == 0 => writeln!(output, "there is no later label")?,
                (Ok(Said::Later), _) => match own(store, annotator, back - 1)? {
                    Some(entry) => break Some(entry),
                    None => break next(store, annotator)?,
                },
                (Ok(_), None) => writeln!(output, "there is nothing to label")?,
                (Ok(Said::Label(label)), Some(entry)) => {
                    let comment = if label.comment.is_empty() { entry.draft.comment.clone() } else { label.comment };
                    let (verdict, strength) = (label.verdict, label.strength);
                    let label = Label { verdict, strength, comment, ..entry.draft.clone() };
                    kept += keep(store, annotator, entry, &label)?;
                    break next(store, annotator)?;
                }
                (Ok(Said::Rate { criterion, ratings }), Some(entry)) => {
                    match criterion {
                        Some(name) => _ = entry.draft.criteria.insert(name, ratings),
                        None => entry.draft.ratings = ratings,
                    }
                    if answers > 1 || !questions.criteria.is_empty() {
                        writeln!(output, "rated; now the verdict, or Enter for the ratings alone")?;
                    } else {
                        kept += keep(store, annotator, entry, &rated(&entry.draft))?;
                        break next(store, annotator)?;
                    }
                }
                (Ok(Said::Enter), Some(entry)) => {
                    let label = rated(&entry.draft);
                    if label.check(answers).is_ok() {
                        kept += keep(store, annotator, entry, &label)?;
                        break next(store, annotator)?;
                    }
                    writeln!(output, "{}", help(questions))?;
                }
            }
        };
    }
}

/// The next item to label.
fn next(store: &mut Store, annotator: &Annotator) -> Result<Option<Entry>> {
    let entry = |task| Entry { task, back: 0, draft: Label::of(Verdict::Rated), since: Instant::now() };
    Ok(store.next(annotator)?.map(entry))
}

/// The item that the annotator labelled so many labels ago.
fn own(store: &Store, annotator: &Annotator, back: u64) -> Result<Option<Entry>> {
    let own = store.own_label(annotator, back)?;
    Ok(own.map(|own| Entry { task: own.task, back, draft: own.label, since: Instant::now() }))
}

/// Stores a label, or replaces an earlier one. Returns the number of new labels.
fn keep(store: &mut Store, annotator: &Annotator, entry: &Entry, label: &Label) -> Result<u64> {
    if entry.back > 0 {
        store.revise_once(annotator, None, entry.task.item, label)?;
        return Ok(0);
    }
    store.submit(annotator, entry.task.item, label, entry.since.elapsed().as_secs_f64())?;
    Ok(1)
}

/// Label of the ratings alone.
fn rated(draft: &Label) -> Label {
    Label { verdict: Verdict::Rated, strength: None, ..draft.clone() }
}

fn show(store: &Store, annotator: &Annotator, entry: Option<&Entry>, output: &mut impl Write) -> Result<()> {
    let Some(Entry { task, back, draft, .. }) = entry else {
        return Ok(writeln!(output, "\nNothing is left to label.")?);
    };
    if *back > 0 {
        let place = match back {
            1 => "your last label".to_string(),
            _ => format!("your label, {} before the last", back - 1),
        };
        writeln!(output, "\n--- {place}: {} ---", told_label(draft))?;
    } else {
        let progress = store.progress(annotator)?;
        writeln!(output, "\n--- {} done, {} left ---", progress.done, progress.left)?;
    }
    writeln!(output, "{}", told(&task.prompt))?;
    for (letter, answer) in ('A'..).zip(&task.answers) {
        writeln!(output, "\n[{letter}] {}", told(answer))?;
    }
    Ok(writeln!(output)?)
}

/// A label in one line.
fn told_label(label: &Label) -> String {
    let letter = |place: &usize| char::from(b'A' + *place as u8);
    let mut told = match &label.verdict {
        Verdict::Best { answer } => format!("{} is best", letter(answer)),
        Verdict::Ranking { answers } => format!("ranking {}", answers.iter().map(letter).collect::<String>()),
        Verdict::Tie => "tie".to_string(),
        Verdict::AllBad => "all bad".to_string(),
        Verdict::Skip => "skipped".to_string(),
        Verdict::Rated => "ratings alone".to_string(),
    };
    match label.strength {
        Some(Strength::Slightly) => told += ", slightly",
        Some(Strength::Much) => told += ", much",
        None => {}
    }
    let overall = std::iter::once(("ratings", &label.ratings)).filter(|(_, ratings)| !ratings.is_empty());
    for (name, ratings) in overall.chain(label.criteria.iter().map(|(name, ratings)| (name.as_str(), ratings))) {
        let numbers: Vec<String> =
            ratings.iter().map(|rating| rating.map_or("-".to_string(), |rating| rating.to_string())).collect();
        told += &format!("; {name} {}", numbers.join(" "));
    }
    if !label.comment.is_empty() {
        told += &format!("; {}", label.comment.escape_debug());
    }
    told
}

/// A text that is safe for a terminal: control characters, which could move the cursor or change colors, and marks of
/// direction, which could show it in another order, are escaped.
fn told(text: &Content) -> String {
    let mut shown = String::new();
    for char in without_data(&text.as_text()).chars() {
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
        assert_eq!(label(&mut store, &me, &Questions::default(), typed.as_bytes(), &mut screen).unwrap(), 3);
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
    fn criteria_strength_and_earlier_labels_are_as_on_the_page() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("labels.db"), Settings::default()).unwrap();
        let item = |number: usize| NewItem {
            prompt: format!("prompt {number}").as_str().into(),
            answers: ["one", "two"].map(|text| Answer { text: text.into(), policy: None }).into(),
            gold: None,
            gap: None,
        };
        store.add((0..2).map(item).map(Ok::<_, crate::Error>)).unwrap();
        let me = store.annotator("me").unwrap();
        let questions = Questions { criteria: vec!["helpful".to_string(), "true".to_string()], strength: true };
        let typed = "p\nr h 5 -\nr 4 1\nA because\nn\nr true 1 2\n\np\np\np\nn\np\nb\nx\nq\n";
        let mut screen = Vec::new();
        assert_eq!(label(&mut store, &me, &questions, typed.as_bytes(), &mut screen).unwrap(), 2);
        let screen = String::from_utf8(screen).unwrap();
        for told in [
            "there is no earlier label",
            "--- your label, 1 before the last: A is best, much; ratings 4 1; helpful 5 -; because ---",
            "--- your last label: ratings alone; true 1 2 ---",
            "there is no later label",
            "Nothing is left to label.",
            "there is nothing to label",
        ] {
            assert!(screen.contains(told), "{told}: {screen}");
        }
        // The first label was replaced: its ratings and comment stay, and its verdict is the other one.
        let own = |back: u64| store.own_label(&me, back).unwrap().unwrap().label;
        let first = own(2);
        assert_eq!((&first.verdict, first.strength), (&Verdict::Best { answer: 1 }, Some(Strength::Slightly)));
        assert_eq!((&first.ratings, &first.criteria["helpful"]), (&vec![Some(4.0), Some(1.0)], &vec![Some(5.0), None]));
        assert_eq!(first.comment, "because");
        assert_eq!((own(1).verdict, own(1).criteria.len()), (Verdict::Rated, 1));

        let twice = Questions { criteria: vec!["a".to_string(), "a".to_string()], strength: false };
        let error = label(&mut store, &me, &twice, &[][..], &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("criteria: \"a\" is there twice"), "{error}");
    }
}
