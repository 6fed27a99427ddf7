//! Aggregation of the labels of several annotators.

use std::collections::HashMap;

use super::{Preference, Record};
use crate::Content;

/// Rule for answers that annotators label differently. A record's `weight` counts as that many annotators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Majority vote: the label with the most weight, or the median of ratings. If two labels tie for the most weight,
    /// pairs become a tie, and records that are not pairs are dropped.
    Majority,
    /// Every label is kept, weighted by its share of the weight, so that the weights for the same answers sum to 1.
    Share,
}

/// Result of [`resolve`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The remaining records, in the order in which the answers first occurred.
    pub records: Vec<Record>,
    /// Number of answers, or pairs of them, with conflicting labels.
    pub conflicts: usize,
    /// Number of dropped answers, because no label had more weight than another.
    pub dropped: usize,
}

/// Resolves labels of the same answers to the same prompt by a rule.
///
/// # Errors
/// An annotator who labelled the same answers twice and differently, with the two labels. Identical labels count once.
pub fn resolve(records: impl IntoIterator<Item = Record>, rule: Rule) -> Result<Resolved, String> {
    let mut places: HashMap<Subject, usize> = HashMap::new();
    let mut groups: Vec<Vec<Record>> = Vec::new();
    for record in records {
        let place = *places.entry(subject_of(&record)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        let same_person = |other: &&Record| other.annotator.is_some() && other.annotator == record.annotator;
        match groups[place].iter().find(same_person) {
            None => groups[place].push(record),
            Some(other) if verdict_of(other) == verdict_of(&record) => {}
            Some(other) => return Err(twice(other, &record)),
        }
    }
    let mut resolved = Resolved { records: Vec::new(), conflicts: 0, dropped: 0 };
    for group in groups {
        let verdicts = verdicts_of(group);
        resolved.conflicts += usize::from(verdicts.len() > 1);
        match rule {
            Rule::Majority => match majority(verdicts) {
                Some(record) => resolved.records.push(record),
                None => resolved.dropped += 1,
            },
            Rule::Share => {
                let total: f64 = verdicts.iter().map(|record| record.weight).sum();
                let shares = verdicts.into_iter().map(|record| Record { weight: record.weight / total, ..record });
                resolved.records.extend(shares);
            }
        }
    }
    Ok(resolved)
}

/// The labelled item, independent of the label and of the order of the answers.
#[derive(PartialEq, Eq, Hash)]
struct Subject {
    kind: &'static str,
    prompt: Content,
    answers: Vec<Content>,
}

/// The part of a record that distinguishes labels of the same answers.
#[derive(PartialEq)]
enum Verdict {
    Chosen(Content),
    Tie,
    Good(Vec<bool>),
    Rating(f64),
}

fn subject_of(record: &Record) -> Subject {
    let (kind, answers) = match &record.preference {
        Preference::Better { chosen: one, rejected: other, .. } | Preference::Tie { answers: [one, other] } => {
            let mut answers = vec![one.clone(), other.clone()];
            answers.sort_by_cached_key(Content::canonical_json);
            ("pair", answers)
        }
        Preference::Label { completion, .. } => ("label", vec![completion.clone()]),
        Preference::Steps { completions, .. } => ("steps", completions.clone()),
        Preference::Best { completions, .. } => {
            let mut answers = completions.clone();
            answers.sort_by_cached_key(Content::canonical_json);
            ("best", answers)
        }
        Preference::Rating { completion, .. } => ("rating", vec![completion.clone()]),
    };
    Subject { kind, prompt: record.prompt.clone(), answers }
}

fn verdict_of(record: &Record) -> Verdict {
    match &record.preference {
        Preference::Better { chosen, .. } => Verdict::Chosen(chosen.clone()),
        Preference::Tie { .. } => Verdict::Tie,
        Preference::Label { good, .. } => Verdict::Good(vec![*good]),
        Preference::Steps { good, .. } => Verdict::Good(good.clone()),
        Preference::Best { completions, best } => Verdict::Chosen(completions[*best].clone()),
        Preference::Rating { rating, .. } => Verdict::Rating(*rating),
    }
}

/// Returns one record per label, with the total weight of its annotators; it keeps the annotator only if there is one.
fn verdicts_of(group: Vec<Record>) -> Vec<Record> {
    let mut verdicts: Vec<Record> = Vec::new();
    for record in group {
        match verdicts.iter_mut().find(|other| verdict_of(other) == verdict_of(&record)) {
            Some(other) => {
                other.weight += record.weight;
                other.annotator = None;
            }
            None => verdicts.push(record),
        }
    }
    verdicts
}

fn majority(mut verdicts: Vec<Record>) -> Option<Record> {
    if matches!(verdicts[0].preference, Preference::Rating { .. }) {
        return Some(median(verdicts));
    }
    verdicts.sort_by(|left, right| right.weight.total_cmp(&left.weight));
    let is_open = verdicts.get(1).is_some_and(|second| second.weight == verdicts[0].weight);
    let first = Record { weight: 1.0, ..verdicts.swap_remove(0) };
    match first.preference {
        _ if !is_open => Some(first),
        Preference::Better { chosen, rejected, .. } => {
            let preference = Preference::Tie { answers: [chosen, rejected] };
            Some(Record { preference, annotator: None, ..first })
        }
        Preference::Tie { .. } => Some(Record { annotator: None, ..first }),
        _ => None,
    }
}

/// Returns the weighted median of the ratings; the midpoint of two if both are medians.
fn median(mut ratings: Vec<Record>) -> Record {
    let rating_of = |record: &Record| match record.preference {
        Preference::Rating { rating, .. } => rating,
        _ => unreachable!("a group is of one kind"),
    };
    ratings.sort_by(|left, right| rating_of(left).total_cmp(&rating_of(right)));
    let half = ratings.iter().map(|record| record.weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let place = ratings.iter().position(|record| {
        below += record.weight;
        below >= half
    });
    let place = place.expect("all weights together are more than half of them");
    let next = ratings.get(place + 1).filter(|_| below == half).unwrap_or(&ratings[place]);
    let rating = (rating_of(&ratings[place]) + rating_of(next)) / 2.0;
    let annotator = if ratings.len() == 1 { ratings[0].annotator.clone() } else { None };
    let record = ratings.swap_remove(place);
    let Preference::Rating { completion, .. } = record.preference else { unreachable!("a group is of one kind") };
    Record { preference: Preference::Rating { completion, rating }, annotator, weight: 1.0, ..record }
}

fn twice(first: &Record, second: &Record) -> String {
    let who = first.annotator.as_deref().unwrap_or_default();
    format!(
        "annotator {who:?} labelled the same answers twice, and not alike: {} and {}; keep one of the two",
        told(&first.preference),
        told(&second.preference)
    )
}

fn told(preference: &Preference) -> String {
    let short = |answer: &Content| format!("{:?}", answer.as_text().chars().take(40).collect::<String>());
    match preference {
        Preference::Better { chosen, .. } => format!("chosen {}", short(chosen)),
        Preference::Tie { .. } => "a tie".to_string(),
        Preference::Label { good, .. } => format!("label {good}"),
        Preference::Steps { good, .. } => format!("labels {good:?}"),
        Preference::Best { completions, best } => format!("best {}", short(&completions[*best])),
        Preference::Rating { rating, .. } => format!("rating {rating}"),
    }
}
