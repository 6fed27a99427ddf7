//! How much was judged, by whom, how far people agree, and which policy they prefer.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::agreement::{cohen_kappa, fleiss_kappa};
use crate::error::Result;
use crate::label::Verdict;
use crate::store::{Judged, Store};

/// How a store stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Items to judge, without those that check who judges.
    pub items: u64,
    /// Items that as many people judged as should.
    pub finished: u64,
    /// Items that check who judges.
    pub gold: u64,
    /// How many people should judge each item.
    pub overlap: u32,
    /// Labels of all kinds.
    pub labels: u64,
    /// How often each verdict was given: `first`, `later` (of the answers as shown), `tie`, `all_bad`, `skip`, `rated`.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Each person.
    pub annotators: Vec<Person>,
    /// Each policy whose answers stood against those of another.
    pub policies: Vec<Policy>,
    /// Cohen's kappa of each two people who judged the same items.
    pub cohen: Vec<Pair>,
    /// Fleiss' kappa of all.
    pub fleiss: Option<f64>,
    /// The items that it is from: those that two or more judged.
    pub fleiss_items: u64,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Person {
    /// The name.
    pub name: String,
    /// Labels, with skips.
    pub labels: u64,
    /// Items that the person could not judge.
    pub skips: u64,
    /// The median of the seconds that a label took.
    pub seconds: Option<f64>,
    /// Checks that the person judged as is known to be right.
    pub gold_right: u64,
    /// Checks that the person judged.
    pub gold: u64,
}

/// One policy, in comparisons with answers of others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// The name.
    pub name: String,
    /// Comparisons of two answers in which its own was better.
    pub wins: u64,
    /// Comparisons in which the other was.
    pub losses: u64,
    /// Comparisons in which neither was.
    pub ties: u64,
}

/// Two people who judged the same items.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// One of them.
    pub first: String,
    /// The other.
    pub second: String,
    /// Items that both judged and neither skipped.
    pub items: u64,
    /// Cohen's kappa, where it is defined.
    pub kappa: Option<f64>,
}

/// Sums up a store.
pub fn summary(store: &Store) -> Result<Summary> {
    let [items, finished, gold] = store.item_counts()?;
    let judged = store.judged()?;
    let open: Vec<&Judged> = judged.iter().filter(|judged| judged.gold.is_none()).collect();
    let mut verdicts = BTreeMap::new();
    for judged in &judged {
        *verdicts.entry(verdict_name(judged)).or_insert(0) += 1;
    }
    let (fleiss, fleiss_items) = fleiss(&open);
    Ok(Summary {
        items,
        finished,
        gold,
        overlap: store.settings()?.overlap,
        labels: judged.len() as u64,
        verdicts,
        annotators: store.names()?.into_iter().map(|name| person(name, &judged)).collect(),
        policies: policies(&open),
        cohen: cohen(&open),
        fleiss,
        fleiss_items,
    })
}

fn verdict_name(judged: &Judged) -> &'static str {
    match (&judged.label.verdict, judged.label.best()) {
        (_, Some(best)) if judged.shown.first() == Some(&best) => "first",
        (_, Some(_)) => "later",
        (Verdict::Tie, _) => "tie",
        (Verdict::AllBad, _) => "all_bad",
        (Verdict::Skip, _) => "skip",
        _ => "rated",
    }
}

/// What agreement is about: which answer is best, or that none is. Skips and mere ratings are not compared.
fn category(judged: &Judged) -> Option<usize> {
    match (&judged.label.verdict, judged.label.best()) {
        (_, Some(best)) => Some(2 + best),
        (Verdict::Tie, _) => Some(0),
        (Verdict::AllBad, _) => Some(1),
        _ => None,
    }
}

fn person(name: String, judged: &[Judged]) -> Person {
    let own: Vec<&Judged> = judged.iter().filter(|judged| judged.annotator == name).collect();
    let mut seconds: Vec<f64> = own.iter().map(|judged| judged.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let count = |is: &dyn Fn(&Judged) -> bool| own.iter().filter(|judged| is(judged)).count() as u64;
    let is_judged = |judged: &Judged| judged.gold.is_some() && judged.label.verdict != Verdict::Skip;
    Person {
        name,
        labels: own.len() as u64,
        skips: count(&|judged| judged.label.verdict == Verdict::Skip),
        seconds: seconds.get(seconds.len() / 2).copied(),
        gold_right: count(&|judged| judged.gold.is_some() && judged.label.best() == judged.gold),
        gold: count(&is_judged),
    }
}

fn policies(judged: &[&Judged]) -> Vec<Policy> {
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    let mut of = |name: &str, add: fn(&mut Policy)| {
        let new = || Policy { name: name.to_string(), wins: 0, losses: 0, ties: 0 };
        add(policies.entry(name.to_string()).or_insert_with(new));
    };
    for judged in judged {
        let names: Vec<Option<&str>> = judged.answers.iter().map(|answer| answer.policy.as_deref()).collect();
        for (place, name) in names.iter().enumerate() {
            for (later, other) in names.iter().enumerate().skip(place + 1) {
                let (Some(name), Some(other)) = (name, other) else { continue };
                if name == other {
                    continue;
                }
                match outcome(judged, place, later) {
                    Some(true) => {
                        of(name, |policy| policy.wins += 1);
                        of(other, |policy| policy.losses += 1);
                    }
                    Some(false) => {
                        of(name, |policy| policy.losses += 1);
                        of(other, |policy| policy.wins += 1);
                    }
                    None if matches!(judged.label.verdict, Verdict::Tie | Verdict::AllBad) => {
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

/// Whether the first of two answers is better than the second, where the label says it.
fn outcome(judged: &Judged, first: usize, second: usize) -> Option<bool> {
    match &judged.label.verdict {
        Verdict::Best { answer } if *answer == first || *answer == second => Some(*answer == first),
        Verdict::Ranking { answers } => {
            answers.iter().find(|place| [first, second].contains(place)).map(|place| *place == first)
        }
        _ => None,
    }
}

fn cohen(judged: &[&Judged]) -> Vec<Pair> {
    let mut both: BTreeMap<(&str, &str), Vec<(usize, usize)>> = BTreeMap::new();
    for item in judged.chunk_by(|left, right| left.item == right.item) {
        let said: Vec<(&str, usize)> =
            item.iter().filter_map(|judged| Some((judged.annotator.as_str(), category(judged)?))).collect();
        for (place, (first, one)) in said.iter().enumerate() {
            for (second, other) in &said[place + 1..] {
                both.entry((first, second)).or_default().push((*one, *other));
            }
        }
    }
    let pair = |((first, second), judged): ((&str, &str), Vec<(usize, usize)>)| Pair {
        first: first.to_string(),
        second: second.to_string(),
        items: judged.len() as u64,
        kappa: cohen_kappa(&judged),
    };
    both.into_iter().map(pair).collect()
}

fn fleiss(judged: &[&Judged]) -> (Option<f64>, u64) {
    let counts_of = |item: &[&Judged]| {
        let mut counts = vec![0; 2 + item[0].answers.len()];
        item.iter().filter_map(|judged| category(judged)).for_each(|category| counts[category] += 1);
        counts
    };
    let counts: Vec<Vec<usize>> = judged.chunk_by(|left, right| left.item == right.item).map(counts_of).collect();
    let compared = counts.iter().filter(|counts| counts.iter().sum::<usize>() > 1).count();
    (fleiss_kappa(&counts), compared as u64)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kappa = |kappa: Option<f64>| kappa.map_or("undefined".to_string(), |kappa| format!("{kappa:.3}"));
        let Self { items, finished, gold, overlap, labels, .. } = self;
        writeln!(f, "items     {items}, {finished} judged by {overlap} or more; {gold} checks")?;
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
