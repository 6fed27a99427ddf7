//! Statistics of a store: number of labels, annotators, agreement, and preferred policies. Gold items are counted apart.

mod people;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agreement::{Agreement, Choice, Choices, agreeing_pairs, agreement, krippendorff_alpha};
use crate::error::Result;
use crate::label::Verdict;
use crate::policies::{Comparisons, Match, Outcome, Policy, policies};
use crate::store::{ItemId, LabelledItem, Store};

pub use people::{Half, Person};

/// Statistics of a store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Items to label, without gold items.
    pub items: u64,
    /// Items with as many labels as the overlap requires; skips are not counted.
    pub finished: u64,
    /// Gold items.
    pub gold: u64,
    /// Number of annotators for each item.
    pub overlap: u32,
    /// Labels of all kinds, without those of gold items.
    pub labels: u64,
    /// Number of these labels with each verdict: `first`, `later` (of the answers as shown), `tie`, `all_bad`, `skip`,
    /// `rated`.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Agreement of all annotators on the best answer; `None` if no item has two choices.
    pub agreement: Option<Agreement>,
    /// Agreement of each two annotators with common items.
    pub pairs: Vec<Pair>,
    /// Agreement on ratings: the overall ones, and those of each criterion.
    pub ratings: Vec<RatingAgreement>,
    /// Statistics of each annotator.
    pub annotators: Vec<Person>,
    /// Each policy whose answers were compared with those of another, the strongest first.
    pub policies: Vec<Policy>,
    /// Each pair of these policies, in both directions.
    pub matches: Vec<Match>,
    /// Items on which annotators chose differently, the least agreed first.
    pub disputed: Vec<Disputed>,
}

/// Two annotators with common items.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The first annotator.
    pub first: String,
    /// The second annotator.
    pub second: String,
    /// Their agreement.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// Agreement of annotators on the ratings of answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatingAgreement {
    /// The criterion; `None` for the overall rating.
    pub criterion: Option<String>,
    /// Answers that two or more annotators rated.
    pub answers: u64,
    /// Mean difference between two ratings of an answer.
    pub difference: f64,
    /// Krippendorff's alpha of interval data, if it is defined.
    pub alpha: Option<f64>,
}

/// An item on which annotators chose differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disputed {
    /// The item.
    pub item: ItemId,
    /// Beginning of the prompt.
    pub prompt: String,
    /// Share of the pairs of annotators who agree.
    pub share: f64,
    /// Number of annotators with each choice: `answer 0` (as stored), `tie` or `all bad`.
    pub votes: BTreeMap<String, u64>,
}

/// Computes the statistics of a store.
pub fn summary(store: &Store) -> Result<Summary> {
    let [items, finished, gold] = store.item_counts()?;
    let labelled = store.labelled()?;
    let open: Vec<&LabelledItem> = labelled.iter().filter(|labelled| labelled.gold.is_none()).collect();
    let mut verdicts = BTreeMap::new();
    for labelled in &open {
        *verdicts.entry(verdict_name(labelled)).or_insert(0) += 1;
    }
    let (policies, matches) = policies(&comparisons(&open));
    Ok(Summary {
        items,
        finished,
        gold,
        overlap: store.settings()?.overlap,
        labels: open.len() as u64,
        verdicts,
        agreement: agreement(&by_item(&open).map(choices).collect::<Vec<_>>()),
        pairs: pairs(&open),
        ratings: ratings(&open),
        annotators: people::people(store.names()?, &labelled),
        policies,
        matches,
        disputed: disputed(&open),
    })
}

fn verdict_name(labelled: &LabelledItem) -> &'static str {
    match (&labelled.label.verdict, labelled.label.best()) {
        (_, Some(best)) if labelled.shown.first() == Some(&best) => "first",
        (_, Some(_)) => "later",
        (Verdict::Tie, _) => "tie",
        (Verdict::AllBad, _) => "all_bad",
        (Verdict::Skip, _) => "skip",
        _ => "rated",
    }
}

/// Choice of a label for the agreement. Skips and labels with ratings only are not compared.
fn choice(labelled: &LabelledItem) -> Option<Choice> {
    match (&labelled.label.verdict, labelled.label.best()) {
        (_, Some(best)) => Some(Choice::Best(best)),
        (Verdict::Tie, _) => Some(Choice::Tie),
        (Verdict::AllBad, _) => Some(Choice::AllBad),
        _ => None,
    }
}

fn by_item<'a>(labelled: &'a [&'a LabelledItem]) -> impl Iterator<Item = &'a [&'a LabelledItem]> {
    labelled.chunk_by(|left, right| left.item == right.item)
}

fn choices(item: &[&LabelledItem]) -> Choices {
    Choices { answers: item[0].answers.len(), choices: item.iter().filter_map(|labelled| choice(labelled)).collect() }
}

fn pairs(labelled: &[&LabelledItem]) -> Vec<Pair> {
    let mut both: BTreeMap<(&str, &str), Vec<Choices>> = BTreeMap::new();
    for item in by_item(labelled) {
        let said: Vec<(&str, Choice)> =
            item.iter().filter_map(|labelled| Some((labelled.annotator.as_str(), choice(labelled)?))).collect();
        for (place, (first, one)) in said.iter().enumerate() {
            for (second, other) in &said[place + 1..] {
                let choices = Choices { answers: item[0].answers.len(), choices: vec![*one, *other] };
                both.entry((first, second)).or_default().push(choices);
            }
        }
    }
    let pair = |((first, second), items): ((&str, &str), Vec<Choices>)| {
        Some(Pair { first: first.to_string(), second: second.to_string(), agreement: agreement(&items)? })
    };
    both.into_iter().filter_map(pair).collect()
}

fn ratings(labelled: &[&LabelledItem]) -> Vec<RatingAgreement> {
    type ByAnswer = BTreeMap<(ItemId, usize), Vec<f64>>;
    let mut units: BTreeMap<Option<&str>, ByAnswer> = BTreeMap::new();
    for labelled in labelled {
        let overall = std::iter::once((None, &labelled.label.ratings));
        let criteria = labelled.label.criteria.iter().map(|(name, ratings)| (Some(name.as_str()), ratings));
        for (criterion, ratings) in overall.chain(criteria) {
            for (place, rating) in ratings.iter().enumerate().filter_map(|(place, rating)| Some((place, (*rating)?))) {
                units.entry(criterion).or_default().entry((labelled.item, place)).or_default().push(rating);
            }
        }
    }
    let agreement = |(criterion, units): (Option<&str>, BTreeMap<_, Vec<f64>>)| {
        let units: Vec<Vec<f64>> = units.into_values().filter(|unit| unit.len() > 1).collect();
        if units.is_empty() {
            return None;
        }
        let difference = units.iter().map(|unit| mean_difference(unit)).sum::<f64>() / units.len() as f64;
        Some(RatingAgreement {
            criterion: criterion.map(String::from),
            answers: units.len() as u64,
            difference,
            alpha: krippendorff_alpha(&units),
        })
    };
    units.into_iter().filter_map(agreement).collect()
}

/// Mean difference between two of the values.
fn mean_difference(values: &[f64]) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (place, value) in values.iter().enumerate() {
        for other in &values[place + 1..] {
            (sum, count) = (sum + (value - other).abs(), count + 1);
        }
    }
    sum / f64::from(count)
}

fn comparisons<'a>(labelled: &[&'a LabelledItem]) -> Comparisons<'a> {
    let mut comparisons = Comparisons::default();
    for labelled in labelled {
        for (place, answer) in labelled.answers.iter().enumerate() {
            for (later, other) in labelled.answers.iter().enumerate().skip(place + 1) {
                let (Some(first), Some(second)) = (&answer.policy, &other.policy) else { continue };
                if let Some(outcome) = outcome(labelled, place, later).filter(|_| first != second) {
                    comparisons.add(first, second, outcome);
                }
            }
        }
    }
    comparisons
}

/// Comparison of two answers; `None` if the label does not decide it.
fn outcome(labelled: &LabelledItem, first: usize, second: usize) -> Option<Outcome> {
    let best_is_first = match &labelled.label.verdict {
        Verdict::Best { answer } if [first, second].contains(answer) => *answer == first,
        Verdict::Ranking { answers } => *answers.iter().find(|place| [first, second].contains(place))? == first,
        Verdict::Tie | Verdict::AllBad => return Some(Outcome::Tie),
        _ => return None,
    };
    Some(if best_is_first { Outcome::Win } else { Outcome::Loss })
}

fn disputed(labelled: &[&LabelledItem]) -> Vec<Disputed> {
    let mut disputed: Vec<Disputed> = by_item(labelled)
        .filter_map(|item| {
            let choices = choices(item).choices;
            let share = if choices.len() > 1 { agreeing_pairs(&choices) } else { 1.0 };
            let mut votes = BTreeMap::new();
            for choice in &choices {
                let name = match choice {
                    Choice::Best(place) => format!("answer {place}"),
                    Choice::Tie => "tie".to_string(),
                    Choice::AllBad => "all bad".to_string(),
                };
                *votes.entry(name).or_insert(0) += 1;
            }
            let prompt = item[0].prompt_beginning();
            (share < 1.0).then(|| Disputed { item: item[0].item, prompt, share, votes })
        })
        .collect();
    disputed.sort_by(|left, right| left.share.total_cmp(&right.share));
    disputed
}

#[cfg(test)]
mod tests;
