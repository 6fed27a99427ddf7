//! Exports labels as records of [`palestra_datasets::preferences`]. Gold items are left out, and names of annotators unless
//! they are asked for.

use std::collections::BTreeMap;

use palestra_datasets::Content;
use palestra_datasets::preferences::{Format, Preference, Record, encode};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::label::Verdict;
use crate::store::{LabelledItem, Store};
use crate::tables;

/// Record format that labels are converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `prompt, chosen, rejected`, with `margin` if both were rated and the chosen one higher: a best answer paired
    /// with every other one, a ranking as all its pairs. Ties are included with `tie = true` if requested; a reader
    /// that does not know that column takes them for preferences.
    Pairs {
        /// True if ties are included.
        ties: bool,
    },
    /// `prompt, completions, best`: the best of several answers; for a ranking, its first.
    Best,
    /// `prompt, completion, label`: a best answer is good; of two answers, the other one is not good; under the verdict
    /// "all bad", every answer is not good.
    Labels,
    /// `prompt, completion, rating`: one record for each rated answer.
    Ratings,
}

impl Form {
    /// Parses a name: `pairs`, `pairs+ties`, `best`, `labels` or `ratings`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "pairs" => Some(Self::Pairs { ties: false }),
            "pairs+ties" => Some(Self::Pairs { ties: true }),
            "best" => Some(Self::Best),
            "labels" => Some(Self::Labels),
            "ratings" => Some(Self::Ratings),
            _ => None,
        }
    }
}

/// Names of annotators in exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Pseudonyms, `annotator-1` and so on, in the order in which the annotators came to the store.
    Pseudonyms,
    /// The names that they label under.
    Names,
}

impl Naming {
    /// Name in exports of each annotator of a store.
    pub(crate) fn names(self, store: &Store) -> Result<BTreeMap<String, String>> {
        let name = |(number, name): (usize, String)| match self {
            Self::Pseudonyms => (name, format!("annotator-{}", number + 1)),
            Self::Names => (name.clone(), name),
        };
        Ok(store.names_as_they_came()?.into_iter().enumerate().map(name).collect())
    }
}

/// Format of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// JSON lines or Parquet.
    Rows(Format),
    /// Comma-separated values with a line of names.
    Csv,
    /// The same with tabs.
    Tsv,
}

impl Layout {
    /// Layout by the ending of a file's name.
    pub fn named(ending: &str) -> Option<Self> {
        match ending {
            "jsonl" | "ndjson" | "json" => Some(Self::Rows(Format::JsonLines)),
            "parquet" => Some(Self::Rows(Format::Parquet)),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            _ => None,
        }
    }

    /// Bytes of a file of records; `Err` names the column that cannot be written.
    pub fn encode(self, records: &[Record]) -> Result<Vec<u8>, String> {
        let delimiter = match self {
            Self::Rows(format) => return encode(records, format),
            Self::Csv => b',',
            Self::Tsv => b'\t',
        };
        let lines = encode(records, Format::JsonLines)?;
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<Map<String, Value>>();
        tables::write(&rows.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?, delimiter)
    }
}

/// All records of a form, by item and annotator. In addition to the form's columns they have `annotator`, `item`,
/// `seconds`, `comment`? and the policies that wrote the answers, if they are known.
///
/// # Errors
/// A store without labels that yield a record of this form.
pub fn records(store: &Store, form: Form, naming: Naming) -> Result<Vec<Record>> {
    let mut labelled = store.labelled()?;
    let names = naming.names(store)?;
    for labelled in &mut labelled {
        labelled.annotator.clone_from(&names[&labelled.annotator]);
    }
    let records: Vec<Record> = labelled
        .iter()
        .filter(|labelled| labelled.gold.is_none())
        .flat_map(|labelled| records_of(labelled, form))
        .collect();
    match (records.is_empty(), labelled.len()) {
        (false, _) => Ok(records),
        (true, 0) => Err(Error::store(store.file(), "nothing was labelled yet, so that there is nothing to export")),
        (true, count) => {
            Err(Error::store(store.file(), format!("none of {count} labels can be written in this form; try another")))
        }
    }
}

pub(crate) fn records_of(labelled: &LabelledItem, form: Form) -> Vec<Record> {
    let (_, answers) = conversational(labelled);
    let text = |place: usize| answers[place].clone();
    match form {
        Form::Pairs { ties } => {
            let better = |(chosen, rejected): (usize, usize)| {
                let preference = Preference::Better {
                    chosen: text(chosen),
                    rejected: text(rejected),
                    margin: margin(labelled, chosen, rejected),
                };
                record(labelled, preference, &[("chosen_policy", chosen), ("rejected_policy", rejected)])
            };
            let tie = |(first, second): (usize, usize)| {
                let preference = Preference::Tie { answers: [text(first), text(second)] };
                record(labelled, preference, &[("chosen_policy", first), ("rejected_policy", second)])
            };
            let all: Vec<usize> = (0..labelled.answers.len()).collect();
            match &labelled.label.verdict {
                Verdict::Best { answer } => {
                    all.iter().filter(|other| *other != answer).map(|other| better((*answer, *other))).collect()
                }
                Verdict::Ranking { answers } => pairs(answers).map(better).collect(),
                Verdict::Tie if ties => pairs(&all).map(tie).collect(),
                _ => Vec::new(),
            }
        }
        Form::Best => {
            let best = labelled.label.best().filter(|_| labelled.answers.len() > 1);
            let of = |best| {
                let completions = answers.clone();
                record(labelled, Preference::Best { completions, best }, &[("chosen_policy", best)])
            };
            best.map(of).into_iter().collect()
        }
        Form::Labels => {
            let good = |place: usize| match (&labelled.label.verdict, labelled.label.best()) {
                (Verdict::AllBad, _) => Some(false),
                (_, Some(best)) if best == place => Some(true),
                (_, Some(_)) if labelled.answers.len() == 2 => Some(false),
                _ => None,
            };
            let known = (0..labelled.answers.len()).filter_map(|place| Some((place, good(place)?)));
            known
                .map(|(place, good)| {
                    record(labelled, Preference::Label { completion: text(place), good }, &[("policy", place)])
                })
                .collect()
        }
        Form::Ratings => {
            let rated =
                labelled.label.ratings.iter().enumerate().filter_map(|(place, rating)| Some((place, (*rating)?)));
            rated
                .map(|(place, rating)| {
                    record(labelled, Preference::Rating { completion: text(place), rating }, &[("policy", place)])
                })
                .collect()
        }
    }
}

/// The prompt and the answers, all of them messages if any of them is: TRL takes an example for a conversation only then.
pub(crate) fn conversational(labelled: &LabelledItem) -> (Content, Vec<Content>) {
    let answers = labelled.answers.iter().map(|answer| &answer.text);
    let is_conversation = answers.clone().chain([&labelled.prompt]).any(|text| matches!(text, Content::Messages(_)));
    let of = |text: &Content, role: &str| if is_conversation { text.to_messages(role).into() } else { text.clone() };
    (of(&labelled.prompt, "user"), answers.map(|text| of(text, "assistant")).collect())
}

/// All pairs of a list, the earlier element of each pair first.
fn pairs(places: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    places.iter().enumerate().flat_map(|(number, first)| places[number + 1..].iter().map(|second| (*first, *second)))
}

fn margin(labelled: &LabelledItem, chosen: usize, rejected: usize) -> Option<f64> {
    let rating = |place: usize| labelled.label.ratings.get(place).copied().flatten();
    let margin = rating(chosen)? - rating(rejected)?;
    (margin > 0.0).then_some(margin)
}

fn record(labelled: &LabelledItem, preference: Preference, policies: &[(&str, usize)]) -> Record {
    let mut other = Map::new();
    other.insert("item".into(), labelled.item.into());
    other.insert("seconds".into(), ((labelled.seconds * 10.0).round() / 10.0).into());
    if let Some(strength) = labelled.label.strength {
        other.insert("strength".into(), json!(strength));
    }
    if !labelled.label.criteria.is_empty() {
        other.insert("criteria".into(), json!(labelled.label.criteria));
    }
    if !labelled.label.comment.is_empty() {
        other.insert("comment".into(), labelled.label.comment.as_str().into());
    }
    for (column, place) in policies {
        if let Some(policy) = &labelled.answers[*place].policy {
            other.insert((*column).into(), Value::from(policy.as_str()));
        }
    }
    Record {
        prompt: conversational(labelled).0,
        is_parted: false,
        preference,
        annotator: Some(labelled.annotator.clone()),
        weight: 1.0,
        other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Label, NewItem, Settings, Strength};

    fn exported(prompt: Content, form: Form, naming: Naming) -> Vec<Record> {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("labels.db"), Settings::default()).unwrap();
        let answers = ["a", "b"].map(|text| Answer { text: text.into(), policy: None }).into();
        let item = NewItem { prompt, answers, gold: None, gap: None };
        store.add([Ok::<_, Error>(item)]).unwrap();
        store.annotator("first").unwrap();
        let ada = store.annotator("Ada").unwrap();
        let task = store.next(&ada).unwrap().unwrap();
        let label = Label { strength: Some(Strength::Slightly), ..Label::of(Verdict::Best { answer: 0 }) };
        store.submit(&ada, task.item, &label, 1.0).unwrap();
        records(&store, form, naming).unwrap()
    }

    /// TRL's `is_conversational` is true if every text is a list of messages: 1.16.0 was asked.
    #[test]
    fn texts_of_a_conversation_are_all_messages() {
        let talk: Content = serde_json::from_str(r#"[{"role": "user", "content": "Hi"}]"#).unwrap();
        for form in [Form::Pairs { ties: false }, Form::Best, Form::Labels] {
            let records = exported(talk.clone(), form, Naming::Pseudonyms);
            let json = String::from_utf8(Layout::Rows(Format::JsonLines).encode(&records).unwrap()).unwrap();
            assert_eq!(records[0].prompt, talk);
            assert!(json.contains(r#"[{"role":"assistant","content":"a"}]"#), "{json}");
        }
        let plain = exported("Hi".into(), Form::Labels, Naming::Pseudonyms);
        assert!(plain.iter().all(|record| record.prompt == "Hi"), "{plain:?}");
    }

    #[test]
    fn names_are_written_only_if_they_are_asked_for() {
        let record = |naming| exported("p".into(), Form::Pairs { ties: false }, naming).remove(0);
        assert_eq!(record(Naming::Pseudonyms).annotator.as_deref(), Some("annotator-2"));
        assert_eq!(record(Naming::Names).annotator.as_deref(), Some("Ada"));
        assert_eq!(record(Naming::Names).other["strength"], "slightly");
    }
}
