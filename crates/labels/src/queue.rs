//! Answers that wait for labels, and their scores once they are labeled: a program requests labels while it runs.

use palestra_datasets::Content;
use palestra_datasets::preferences::{Record, Scores};

use crate::error::{Error, Result};
use crate::export::{Form, records_of};
use crate::item::{Answer, MAX_ANSWERS, NewItem};
use crate::label::{SCALE, Verdict};
use crate::store::{Added, LabelledItem, Store};

/// A prompt with an answer to label.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The prompt.
    pub prompt: Content,
    /// The answer and the policy that wrote it.
    pub answer: Answer,
}

/// Adds those answers to the queue that have no score yet. Answers to one prompt are compared, up to nine at once; a
/// single one is rated. Items that are already in the queue are not added again.
pub fn ask(store: &mut Store, questions: &[Question]) -> Result<Added> {
    let scores = scores(store)?;
    let mut items: Vec<NewItem> = Vec::new();
    for Question { prompt, answer } in questions {
        if scores.get(prompt, &answer.text).is_some() {
            continue;
        }
        let of_prompt = |item: &&mut NewItem| item.prompt == *prompt;
        let has_it = |item: &NewItem| item.answers.iter().any(|other| other.text == answer.text);
        if items.iter().any(|item| item.prompt == *prompt && has_it(item)) {
            continue;
        }
        match items.iter_mut().rev().find(of_prompt).filter(|item| item.answers.len() < MAX_ANSWERS) {
            Some(item) => item.answers.push(answer.clone()),
            None => {
                items.push(NewItem { prompt: prompt.clone(), answers: vec![answer.clone()], gold: None, gap: None })
            }
        }
    }
    store.add(items.into_iter().map(Ok::<_, Error>))
}

/// Scores of the labeled answers of a store, one number for each answer: see [`Scores`]. Ratings are from 1 to
/// [`SCALE`]. A single answer is good or bad; with the verdict "all bad", each answer is bad; otherwise answers are
/// compared. Gold items and items with fewer labels than the overlap requires are left out.
///
/// # Errors
/// A store that cannot be read.
pub fn scores(store: &Store) -> Result<Scores> {
    let overlap = store.settings()?.overlap as usize;
    let labelled = store.labelled()?;
    let is_finished = |item: &&[LabelledItem]| {
        let said = item.iter().filter(|labelled| labelled.label.verdict != Verdict::Skip).count();
        item[0].gold.is_none() && said >= overlap
    };
    let items = labelled.chunk_by(|left, right| left.item == right.item).filter(is_finished);
    let records: Vec<Record> = items.flatten().flat_map(said).collect();
    let scale = (1.0, f64::from(SCALE));
    Scores::of(&records, Some(scale)).map_err(|reason| Error::store(store.file(), reason))
}

fn said(labelled: &LabelledItem) -> Vec<Record> {
    let form = match (&labelled.label.verdict, labelled.answers.len()) {
        (Verdict::AllBad, _) | (_, 1) => Form::Labels,
        _ => Form::Pairs { ties: true },
    };
    let mut records = records_of(labelled, form);
    records.extend(records_of(labelled, Form::Ratings));
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Label, Settings};

    fn question(prompt: &str, text: &str) -> Question {
        Question { prompt: prompt.into(), answer: Answer { text: text.into(), policy: None } }
    }

    #[test]
    fn what_was_labelled_is_not_asked_again_and_the_rest_waits() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("labels.db"), Settings::default()).unwrap();
        let questions = [question("p", "a"), question("q", "one"), question("p", "b"), question("p", "a")];
        let asked = ask(&mut store, &questions).unwrap();
        assert_eq!((asked.added, asked.ids.clone()), (2, vec![1, 2]));
        assert_eq!(ask(&mut store, &questions).unwrap(), Added { added: 0, known: 2, ..asked.clone() });
        assert_eq!(store.waiting(&asked.ids).unwrap(), 2);

        let ada = store.annotator("ada").unwrap();
        let task = store.next(&ada).unwrap().unwrap();
        let b = task.answers.iter().position(|answer| *answer == "b").unwrap();
        store.submit(&ada, task.item, &Label::of(Verdict::Best { answer: b }), 1.0).unwrap();
        let task = store.next(&ada).unwrap().unwrap();
        store.submit(&ada, task.item, &Label::of(Verdict::Skip), 1.0).unwrap();
        assert_eq!(store.waiting(&asked.ids).unwrap(), 1, "who skips has said nothing");
        let ben = store.annotator("ben").unwrap();
        let task = store.next(&ben).unwrap().unwrap();
        let rated = Label { ratings: vec![Some(4.0)], ..Label::of(Verdict::Best { answer: 0 }) };
        store.submit(&ben, task.item, &rated, 1.0).unwrap();
        assert_eq!(store.waiting(&asked.ids).unwrap(), 0);

        let scores = scores(&store).unwrap();
        let score = |prompt: &str, text: &str| scores.get(&prompt.into(), &text.into());
        // A rating of 4 on the scale from 1 to 5 takes precedence over the verdict.
        assert_eq!([score("p", "a"), score("p", "b"), score("q", "one")], [Some(-1.0), Some(1.0), Some(0.5)]);
        let asked = ask(&mut store, &[question("p", "b"), question("p", "c")]).unwrap();
        assert_eq!((asked.added, asked.ids), (1, vec![3]), "the new answer alone");
        let many: Vec<Question> = (0..10).map(|number| question("many", &number.to_string())).collect();
        assert_eq!(ask(&mut store, &many).unwrap().added, 2, "nine, and the tenth");
    }

    #[test]
    fn every_verdict_is_worth_something() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("labels.db"), Settings::default()).unwrap();
        let verdicts = [
            (2, Verdict::Tie, vec![0.0, 0.0]),
            (2, Verdict::AllBad, vec![-1.0, -1.0]),
            (3, Verdict::Ranking { answers: vec![0, 1, 2] }, vec![1.0, 0.0, -1.0]),
            (1, Verdict::Best { answer: 0 }, vec![1.0]),
            (1, Verdict::AllBad, vec![-1.0]),
        ];
        let me = store.annotator("me").unwrap();
        for (number, (count, verdict, expected)) in verdicts.into_iter().enumerate() {
            let prompt = number.to_string();
            let questions: Vec<Question> = (0..count).map(|answer| question(&prompt, &answer.to_string())).collect();
            ask(&mut store, &questions).unwrap();
            let task = store.next(&me).unwrap().unwrap();
            store.submit(&me, task.item, &Label::of(verdict), 1.0).unwrap();
            let scores = scores(&store).unwrap();
            let found: Vec<_> = task.answers.iter().map(|answer| scores.get(&task.prompt, answer).unwrap()).collect();
            assert_eq!(found, expected, "{number}");
        }
    }
}
