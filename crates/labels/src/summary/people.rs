//! Statistics of each annotator: speed, agreement with the others, and how both change.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::choice;
use crate::agreement::Choice;
use crate::label::Verdict;
use crate::store::{ItemId, LabelledItem};

/// Statistics of one annotator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Person {
    /// The name.
    pub name: String,
    /// Labels, including skips, without those of gold items.
    pub labels: u64,
    /// Items that the annotator skipped.
    pub skips: u64,
    /// Median of the seconds per label.
    pub seconds: Option<f64>,
    /// Share of the best answers that were shown first; far from 0.5 for pairs, the annotator prefers a position.
    pub first_share: Option<f64>,
    /// Share of the choices of others, on the same items, that are the same.
    pub agreement: Option<f64>,
    /// The first and the second half of the labels, in the order in which they were given.
    pub halves: [Half; 2],
    /// Gold items that the annotator labeled correctly.
    pub gold_right: u64,
    /// Gold items that the annotator labeled and did not skip.
    pub gold: u64,
}

/// Half of an annotator's labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Half {
    /// Labels.
    pub labels: u64,
    /// Median of the seconds per label.
    pub seconds: Option<f64>,
    /// Share of the choices of others, on the same items, that are the same.
    pub agreement: Option<f64>,
}

/// Statistics of all annotators of these names.
pub(super) fn people(names: Vec<String>, labelled: &[LabelledItem]) -> Vec<Person> {
    let mut choices: HashMap<ItemId, Vec<(&str, Choice)>> = HashMap::new();
    let mut own: BTreeMap<&str, Vec<&LabelledItem>> = BTreeMap::new();
    for labelled in labelled {
        own.entry(&labelled.annotator).or_default().push(labelled);
        if let Some(choice) = choice(labelled).filter(|_| labelled.gold.is_none()) {
            choices.entry(labelled.item).or_default().push((&labelled.annotator, choice));
        }
    }
    names
        .into_iter()
        .map(|name| {
            let own = own.remove(name.as_str()).unwrap_or_default();
            person(name, own, &choices)
        })
        .collect()
}

fn person(name: String, labelled: Vec<&LabelledItem>, choices: &HashMap<ItemId, Vec<(&str, Choice)>>) -> Person {
    let (gold, mut own): (Vec<_>, Vec<_>) = labelled.into_iter().partition(|labelled| labelled.gold.is_some());
    own.sort_by_key(|labelled| labelled.number);
    let best: Vec<bool> = own
        .iter()
        .filter_map(|labelled| labelled.label.best().map(|best| labelled.shown.first() == Some(&best)))
        .collect();
    let half = |labelled: &[&LabelledItem]| Half {
        labels: labelled.len() as u64,
        seconds: median_seconds(labelled),
        agreement: agreement_with_others(labelled, choices),
    };
    let (first, second) = own.split_at(own.len().div_ceil(2));
    let is_labelled = |labelled: &&&LabelledItem| labelled.label.verdict != Verdict::Skip;
    Person {
        name,
        labels: own.len() as u64,
        skips: own.iter().filter(|labelled| labelled.label.verdict == Verdict::Skip).count() as u64,
        seconds: median_seconds(&own),
        first_share: share(best.iter().copied()),
        agreement: agreement_with_others(&own, choices),
        halves: [half(first), half(second)],
        gold_right: gold.iter().filter(|labelled| labelled.label.best() == labelled.gold).count() as u64,
        gold: gold.iter().filter(is_labelled).count() as u64,
    }
}

fn median_seconds(labelled: &[&LabelledItem]) -> Option<f64> {
    let mut seconds: Vec<f64> = labelled.iter().map(|labelled| labelled.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

fn agreement_with_others(labelled: &[&LabelledItem], choices: &HashMap<ItemId, Vec<(&str, Choice)>>) -> Option<f64> {
    share(labelled.iter().flat_map(|labelled| {
        let own = choice(labelled);
        let of_item = choices.get(&labelled.item).into_iter().flatten();
        let others = of_item.filter(move |(name, _)| own.is_some() && *name != labelled.annotator);
        others.map(move |(_, other)| Some(*other) == own)
    }))
}

fn share(of: impl Iterator<Item = bool>) -> Option<f64> {
    let (mut yes, mut count) = (0.0, 0.0);
    for one in of {
        (yes, count) = (yes + f64::from(u8::from(one)), count + 1.0);
    }
    (count > 0.0).then(|| yes / count)
}
