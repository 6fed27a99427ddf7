//! Statistics of a store: number of labels, annotators, agreement, and preferred policies.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::agreement::{cohen_kappa, fleiss_kappa};
use crate::error::Result;
use crate::label::Verdict;
use crate::store::{LabelledItem, Store};

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
    /// Labels of all kinds.
    pub labels: u64,
    /// Number of labels with each verdict: `first`, `later` (of the answers as shown), `tie`, `all_bad`, `skip`,
    /// `rated`.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Statistics of each annotator.
    pub annotators: Vec<Person>,
    /// Statistics of each policy whose answers were compared with those of another.
    pub policies: Vec<Policy>,
    /// Cohen's kappa of each pair of annotators with common items.
    pub cohen: Vec<Pair>,
    /// Fleiss' kappa of all annotators.
    pub fleiss: Option<f64>,
    /// Number of items that it is computed from: those with two or more labels.
    pub fleiss_items: u64,
}

/// Statistics of one annotator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Person {
    /// The name.
    pub name: String,
    /// Labels, including skips.
    pub labels: u64,
    /// Items that the annotator skipped.
    pub skips: u64,
    /// Median of the seconds per label.
    pub seconds: Option<f64>,
    /// Gold items that the annotator labeled correctly.
    pub gold_right: u64,
    /// Gold items that the annotator labeled and did not skip.
    pub gold: u64,
}

/// Results of one policy in comparisons with answers of other policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// The name.
    pub name: String,
    /// Comparisons of two answers that its answer won.
    pub wins: u64,
    /// Comparisons that the other answer won.
    pub losses: u64,
    /// Comparisons that neither won.
    pub ties: u64,
}

/// Two annotators with common items.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The first annotator.
    pub first: String,
    /// The second annotator.
    pub second: String,
    /// Items that both labeled and neither skipped.
    pub items: u64,
    /// Cohen's kappa, if it is defined.
    pub kappa: Option<f64>,
}

/// Computes the statistics of a store.
pub fn summary(store: &Store) -> Result<Summary> {
    let [items, finished, gold] = store.item_counts()?;
    let labelled = store.labelled()?;
    let open: Vec<&LabelledItem> = labelled.iter().filter(|labelled| labelled.gold.is_none()).collect();
    let mut verdicts = BTreeMap::new();
    for labelled in &labelled {
        *verdicts.entry(verdict_name(labelled)).or_insert(0) += 1;
    }
    let (fleiss, fleiss_items) = fleiss(&open);
    Ok(Summary {
        items,
        finished,
        gold,
        overlap: store.settings()?.overlap,
        labels: labelled.len() as u64,
        verdicts,
        annotators: store.names()?.into_iter().map(|name| person(name, &labelled)).collect(),
        policies: policies(&open),
        cohen: cohen(&open),
        fleiss,
        fleiss_items,
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

/// Category of a label for the agreement: the best answer, or no best answer. Skips and labels with ratings only are
/// not compared.
fn category(labelled: &LabelledItem) -> Option<usize> {
    match (&labelled.label.verdict, labelled.label.best()) {
        (_, Some(best)) => Some(2 + best),
        (Verdict::Tie, _) => Some(0),
        (Verdict::AllBad, _) => Some(1),
        _ => None,
    }
}

fn person(name: String, labelled: &[LabelledItem]) -> Person {
    let own: Vec<&LabelledItem> = labelled.iter().filter(|labelled| labelled.annotator == name).collect();
    let mut seconds: Vec<f64> = own.iter().map(|labelled| labelled.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let count = |is: &dyn Fn(&LabelledItem) -> bool| own.iter().filter(|labelled| is(labelled)).count() as u64;
    let is_labelled = |labelled: &LabelledItem| labelled.gold.is_some() && labelled.label.verdict != Verdict::Skip;
    Person {
        name,
        labels: own.len() as u64,
        skips: count(&|labelled| labelled.label.verdict == Verdict::Skip),
        seconds: seconds.get(seconds.len() / 2).copied(),
        gold_right: count(&|labelled| labelled.gold.is_some() && labelled.label.best() == labelled.gold),
        gold: count(&is_labelled),
    }
}

fn policies(labelled: &[&LabelledItem]) -> Vec<Policy> {
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    let mut of = |name: &str, add: fn(&mut Policy)| {
        let new = || Policy { name: name.to_string(), wins: 0, losses: 0, ties: 0 };
        add(policies.entry(name.to_string()).or_insert_with(new));
    };
    for labelled in labelled {
        let names: Vec<Option<&str>> = labelled.answers.iter().map(|answer| answer.policy.as_deref()).collect();
        for (place, name) in names.iter().enumerate() {
            for (later, other) in names.iter().enumerate().skip(place + 1) {
                let (Some(name), Some(other)) = (name, other) else { continue };
                if name == other {
                    continue;
                }
                match outcome(labelled, place, later) {
                    Some(true) => {
                        of(name, |policy| policy.wins += 1);
                        of(other, |policy| policy.losses += 1);
                    }
                    Some(false) => {
                        of(name, |policy| policy.losses += 1);
                        of(other, |policy| policy.wins += 1);
                    }
                    None if matches!(labelled.label.verdict, Verdict::Tie | Verdict::AllBad) => {
                        of(name, |policy| policy.ties += 1);
                        of(other, |policy| policy.ties += 1);
                    }
                    None => {}
                }
            }
        }
    }
    policies.into_values().collect()
}

/// True if the first of two answers is better than the second; `None` if the label does not decide it.
fn outcome(labelled: &LabelledItem, first: usize, second: usize) -> Option<bool> {
    match &labelled.label.verdict {
        Verdict::Best { answer } if *answer == first || *answer == second => Some(*answer == first),
        Verdict::Ranking { answers } => {
            answers.iter().find(|place| [first, second].contains(place)).map(|place| *place == first)
        }
        _ => None,
    }
}

fn cohen(labelled: &[&LabelledItem]) -> Vec<Pair> {
    let mut both: BTreeMap<(&str, &str), Vec<(usize, usize)>> = BTreeMap::new();
    for item in labelled.chunk_by(|left, right| left.item == right.item) {
        let said: Vec<(&str, usize)> =
            item.iter().filter_map(|labelled| Some((labelled.annotator.as_str(), category(labelled)?))).collect();
        for (place, (first, one)) in said.iter().enumerate() {
            for (second, other) in &said[place + 1..] {
                both.entry((first, second)).or_default().push((*one, *other));
            }
        }
    }
    let pair = |((first, second), labelled): ((&str, &str), Vec<(usize, usize)>)| Pair {
        first: first.to_string(),
        second: second.to_string(),
        items: labelled.len() as u64,
        kappa: cohen_kappa(&labelled),
    };
    both.into_iter().map(pair).collect()
}

fn fleiss(labelled: &[&LabelledItem]) -> (Option<f64>, u64) {
    let counts_of = |item: &[&LabelledItem]| {
        let mut counts = vec![0; 2 + item[0].answers.len()];
        item.iter().filter_map(|labelled| category(labelled)).for_each(|category| counts[category] += 1);
        counts
    };
    let counts: Vec<Vec<usize>> = labelled.chunk_by(|left, right| left.item == right.item).map(counts_of).collect();
    let compared = counts.iter().filter(|counts| counts.iter().sum::<usize>() > 1).count();
    (fleiss_kappa(&counts), compared as u64)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kappa = |kappa: Option<f64>| kappa.map_or("undefined".to_string(), |kappa| format!("{kappa:.3}"));
        let Self { items, finished, gold, overlap, labels, .. } = self;
        writeln!(f, "items     {items}, {finished} labelled by {overlap} or more; {gold} checks")?;
        let verdicts: Vec<String> = self.verdicts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "labels    {labels}: {}", verdicts.join(", "))?;
        for Person { name, labels, skips, seconds, gold_right, gold } in &self.annotators {
            let seconds = seconds.map_or(String::new(), |seconds| format!(", median {seconds:.1} s"));
            writeln!(
                f,
                "person    {name}: {labels} labels, {skips} skipped{seconds}, checks right {gold_right} of {gold}"
            )?;
        }
        for Policy { name, wins, losses, ties } in &self.policies {
            writeln!(f, "policy    {name}: {wins} won, {losses} lost, {ties} neither")?;
        }
        for Pair { first, second, items, kappa: of_two } in &self.cohen {
            writeln!(f, "agreement {first} and {second}: Cohen's kappa {} on {items} items", kappa(*of_two))?;
        }
        if self.fleiss_items > 0 {
            writeln!(f, "agreement of all: Fleiss' kappa {} on {} items", kappa(self.fleiss), self.fleiss_items)?;
        }
        Ok(())
    }
}
