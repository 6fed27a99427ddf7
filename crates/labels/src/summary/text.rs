//! The statistics of a store as lines of text.

use std::fmt;

use super::{Disputed, Half, Pair, Person, RatingAgreement, Summary};
use crate::agreement::Agreement;
use crate::policies::{Match, Policy};

/// Maximum number of disputed items in the text; JSON has all of them.
const MAX_DISPUTED: usize = 20;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { items, finished, gold, overlap, labels, .. } = self;
        writeln!(f, "items     {items}, {finished} labelled by {overlap} or more; {gold} checks besides")?;
        let verdicts: Vec<String> = self.verdicts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let verdicts = if verdicts.is_empty() { String::new() } else { format!(": {}", verdicts.join(", ")) };
        writeln!(f, "labels    {labels}{verdicts}")?;
        if let Some(agreement) = &self.agreement {
            writeln!(f, "agreement {}", shown(agreement))?;
        }
        for Pair { first, second, agreement } in &self.pairs {
            writeln!(f, "agreement {first} and {second}: {}", shown(agreement))?;
        }
        for RatingAgreement { criterion, answers, difference, alpha } in &self.ratings {
            let name = criterion.as_deref().map_or(String::new(), |name| format!("{name}: "));
            let alpha = number(*alpha);
            writeln!(
                f,
                "ratings   {name}{difference:.2} apart on average, Krippendorff's alpha {alpha}, on {answers} answers"
            )?;
        }
        self.people(f)?;
        self.policies(f)?;
        for Disputed { item, prompt, votes, .. } in self.disputed.iter().take(MAX_DISPUTED) {
            let votes: Vec<String> = votes.iter().map(|(choice, count)| format!("{choice} {count}")).collect();
            writeln!(f, "disputed  item {item}: {} ({prompt})", votes.join(", "))?;
        }
        match self.disputed.len().saturating_sub(MAX_DISPUTED) {
            0 => Ok(()),
            more => writeln!(f, "disputed  {more} more items; --json has all"),
        }
    }
}

impl Summary {
    fn people(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for Person { name, labels, skips, seconds, first_share, agreement, halves, gold_right, gold } in
            &self.annotators
        {
            write!(f, "person    {name}: {labels} labels, {skips} skipped")?;
            if let Some(seconds) = seconds {
                write!(f, ", median {seconds:.1} s")?;
            }
            if let Some(share) = first_share {
                write!(f, ", {} of the best shown first", percent(*share))?;
            }
            if let Some(share) = agreement {
                write!(f, ", agrees with {} of others' choices", percent(*share))?;
            }
            writeln!(f, ", checks right {gold_right} of {gold}")?;
            let [
                Half { seconds: Some(early), agreement: before, .. },
                Half { seconds: Some(late), agreement: after, .. },
            ] = halves
            else {
                continue;
            };
            write!(
                f,
                "drift     {name}: median {early:.1} s in the first half of the labels, {late:.1} s in the second"
            )?;
            if let (Some(before), Some(after)) = (before, after) {
                write!(f, "; agrees with {}, then {}", percent(*before), percent(*after))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn policies(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for Policy { name, results, elo } in &self.policies {
            let [low, high] = results.interval;
            let (wins, losses, ties) = (results.wins, results.losses, results.ties);
            write!(f, "policy    {name}: wins {}", percent(results.share))?;
            write!(f, " ({} to {}): {wins} won, {losses} lost, {ties} neither", percent(low), percent(high))?;
            match elo {
                Some(elo) => {
                    let [low, high] = elo.interval;
                    writeln!(f, "; Elo {:.0} ({low:.0} to {high:.0})", elo.score)?;
                }
                None => writeln!(f, "; no Elo, as not all policies are linked by comparisons")?,
            }
        }
        // Two policies are compared in the lines above.
        let matches = self.matches.iter().filter(|_| self.policies.len() > 2);
        for Match { first, second, results } in matches {
            let [low, high] = results.interval;
            let count = results.wins + results.losses + results.ties;
            let share = percent(results.share);
            let interval = format!("{} to {}", percent(low), percent(high));
            writeln!(f, "match     {first} against {second}: wins {share} ({interval}) of {count}")?;
        }
        Ok(())
    }
}

fn shown(agreement: &Agreement) -> String {
    let Agreement { items, share, kappa } = agreement;
    format!("{} of choices on {items} items, kappa {}", percent(*share), number(*kappa))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn number(value: Option<f64>) -> String {
    value.map_or("undefined".to_string(), |value| format!("{value:.3}"))
}
