//! Policies compared by people: wins with intervals, each pair of policies, and strengths by the Bradley-Terry model.

use std::collections::BTreeMap;

use serde::Serialize;

/// Result of one comparison of answers of two policies, from the side of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer of the first policy is better.
    Win,
    /// The answer of the second policy is better.
    Loss,
    /// Neither is better.
    Tie,
}

/// Results of a policy, or of a policy against one other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Results {
    /// Comparisons that it won.
    pub wins: u64,
    /// Comparisons that the other answer won.
    pub losses: u64,
    /// Comparisons that neither won.
    pub ties: u64,
    /// Share of the comparisons that it won; a tie is half a win.
    pub share: f64,
    /// Wilson's 95 % interval of the share, as if the comparisons were independent.
    pub interval: [f64; 2],
}

/// A policy in comparisons with answers of other policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// The name.
    pub name: String,
    /// Results against all other policies.
    #[serde(flatten)]
    pub results: Results,
    /// Strength on the Elo scale; `None` if some policies are not linked by comparisons. See [`policies`].
    pub elo: Option<Elo>,
}

/// Strength of a policy: 400 points more are odds of 10 to 1. The mean of all policies is 1000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Elo {
    /// The strength.
    pub score: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
}

/// A policy against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// The first policy, whose results these are.
    pub first: String,
    /// The second policy.
    pub second: String,
    /// The results of the first policy.
    #[serde(flatten)]
    pub results: Results,
}

/// Standard deviations of a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// Comparisons of each two policies, with the first and the second name in alphabetical order.
#[derive(Debug, Default)]
pub struct Comparisons<'a>(BTreeMap<(&'a str, &'a str), Results>);

impl<'a> Comparisons<'a> {
    /// Adds a comparison of two different policies.
    pub fn add(&mut self, first: &'a str, second: &'a str, outcome: Outcome) {
        let (pair, outcome) = match outcome {
            _ if first < second => ((first, second), outcome),
            Outcome::Win => ((second, first), Outcome::Loss),
            Outcome::Loss => ((second, first), Outcome::Win),
            Outcome::Tie => ((second, first), Outcome::Tie),
        };
        let results = self.0.entry(pair).or_default();
        match outcome {
            Outcome::Win => results.wins += 1,
            Outcome::Loss => results.losses += 1,
            Outcome::Tie => results.ties += 1,
        }
    }
}

/// All policies, the strongest first, and all pairs of compared policies, each in both directions.
///
/// Strengths are those of the Bradley-Terry model, P(i beats j) = 1 / (1 + exp(s_j - s_i)), by maximum likelihood, where a
/// tie is half a win. One tie is added to each pair that was compared, so that a policy that won every comparison has a
/// finite strength. Intervals are of the inverse Fisher information.
pub fn policies(comparisons: &Comparisons) -> (Vec<Policy>, Vec<Match>) {
    let mut names: Vec<&str> = comparisons.0.keys().flat_map(|(first, second)| [*first, *second]).collect();
    names.sort_unstable();
    names.dedup();
    let mut totals = vec![Results::default(); names.len()];
    let mut matches = Vec::new();
    let mut games = Vec::new();
    for ((first, second), results) in &comparisons.0 {
        let index = |name: &str| names.partition_point(|other| *other < name);
        let turned = Results { wins: results.losses, losses: results.wins, ..*results };
        for (name, other, results) in [(first, second, results), (second, first, &turned)] {
            let total = &mut totals[index(name)];
            total.wins += results.wins;
            total.losses += results.losses;
            total.ties += results.ties;
            matches.push(Match { first: name.to_string(), second: other.to_string(), results: with_share(*results) });
        }
        let halves = 0.5 * (results.ties + 1) as f64;
        let wins = [results.wins as f64 + halves, results.losses as f64 + halves];
        games.push(Games { pair: [index(first), index(second)], wins });
    }
    matches.sort_by(|left, right| (&left.first, &left.second).cmp(&(&right.first, &right.second)));
    let strengths = bradley_terry(names.len(), &games);
    let policy = |(at, name): (usize, &&str)| Policy {
        name: name.to_string(),
        results: with_share(totals[at]),
        elo: strengths.as_ref().map(|strengths| elo(strengths[at])),
    };
    let mut policies: Vec<Policy> = names.iter().enumerate().map(policy).collect();
    let key = |policy: &Policy| policy.elo.map_or(policy.results.share, |elo| elo.score);
    policies.sort_by(|left, right| key(right).total_cmp(&key(left)));
    (policies, matches)
}

fn with_share(results: Results) -> Results {
    let count = (results.wins + results.losses + results.ties) as f64;
    let share = (results.wins as f64 + 0.5 * results.ties as f64) / count;
    Results { share, interval: wilson(share, count), ..results }
}

/// Wilson's 95 % interval of a share of `count` observations (Wilson 1927, Probable inference).
pub fn wilson(share: f64, count: f64) -> [f64; 2] {
    let z2 = Z * Z / count;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = (share * (1.0 - share) / count + z2 / (4.0 * count)).sqrt() * Z / (1.0 + z2);
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

fn elo((strength, error): (f64, f64)) -> Elo {
    let points = 400.0 / std::f64::consts::LN_10;
    let score = 1000.0 + points * strength;
    Elo { score, interval: [score - Z * points * error, score + Z * points * error] }
}

/// Wins of two policies against each other; a tie is half a win of each.
struct Games {
    pair: [usize; 2],
    wins: [f64; 2],
}

/// Strength of each policy and its standard error; the mean strength is 0. `None` if the policies are not linked.
fn bradley_terry(count: usize, games: &[Games]) -> Option<Vec<(f64, f64)>> {
    let mut strengths = vec![0.0; count];
    // Newton's method on a concave function. A step is at most 1, so that it converges from 0.
    for _ in 0..200 {
        let (gradient, covariance) = derivatives(&strengths, games)?;
        let step: Vec<f64> = covariance.iter().map(|row| row.iter().zip(&gradient).map(|(a, b)| a * b).sum()).collect();
        let longest = step.iter().fold(0.0f64, |longest, part| longest.max(part.abs()));
        let scale = 1.0 / longest.max(1.0);
        strengths.iter_mut().zip(&step).for_each(|(strength, part)| *strength += scale * part);
        if longest < 1e-10 {
            break;
        }
    }
    let (_, covariance) = derivatives(&strengths, games)?;
    // The matrix that makes the information invertible adds 1/n to each element of the inverse.
    let error = |at: usize| (covariance[at][at] - 1.0 / count as f64).max(0.0).sqrt();
    Some(strengths.iter().enumerate().map(|(at, strength)| (*strength, error(at))).collect())
}

/// Gradient of the log-likelihood, and the inverse of (information + 1/n in each element).
fn derivatives(strengths: &[f64], games: &[Games]) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
    let count = strengths.len();
    let mut gradient = vec![0.0; count];
    let mut information = vec![vec![1.0 / count as f64; count]; count];
    for Games { pair: [first, second], wins } in games {
        let probability = 1.0 / (1.0 + (strengths[*second] - strengths[*first]).exp());
        let total = wins[0] + wins[1];
        let surprise = wins[0] - total * probability;
        gradient[*first] += surprise;
        gradient[*second] -= surprise;
        let weight = total * probability * (1.0 - probability);
        for (row, column, sign) in
            [(first, first, 1.0), (second, second, 1.0), (first, second, -1.0), (second, first, -1.0)]
        {
            information[*row][*column] += sign * weight;
        }
    }
    Some((gradient, inverse(information)?))
}

/// Inverse of a symmetric positive definite matrix by Gauss-Jordan elimination; `None` if it is singular.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let count = matrix.len();
    for (at, row) in matrix.iter_mut().enumerate() {
        row.extend((0..count).map(|column| f64::from(u8::from(column == at))));
    }
    for at in 0..count {
        let pivot = matrix[at][at];
        if pivot < 1e-9 {
            return None;
        }
        matrix[at].iter_mut().for_each(|cell| *cell /= pivot);
        let own = matrix[at].clone();
        for (_, row) in matrix.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let factor = row[at];
            row.iter_mut().zip(&own).for_each(|(cell, own)| *cell -= factor * own);
        }
    }
    Some(matrix.into_iter().map(|row| row[count..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(games: &[(&'static str, &'static str, u64, u64, u64)]) -> (Vec<Policy>, Vec<Match>) {
        let mut comparisons = Comparisons::default();
        for (first, second, wins, losses, ties) in games {
            for (outcome, count) in [(Outcome::Win, wins), (Outcome::Loss, losses), (Outcome::Tie, ties)] {
                (0..*count).for_each(|_| comparisons.add(first, second, outcome));
            }
        }
        policies(&comparisons)
    }

    /// 60 of 100 may be chance, 120 of 200 is not: the intervals of R's `prop.test(60, 100, correct = FALSE)` and
    /// `prop.test(120, 200, correct = FALSE)`.
    #[test]
    fn intervals_of_wilson() {
        let shown = |[low, high]: [f64; 2]| format!("{low:.4} {high:.4}");
        assert_eq!(shown(wilson(0.6, 100.0)), "0.5020 0.6906");
        assert_eq!(shown(wilson(0.6, 200.0)), "0.5308 0.6654");
        assert_eq!(shown(wilson(1.0, 4.0)), "0.5101 1.0000");
    }

    #[test]
    fn two_policies_have_the_strengths_of_their_odds() {
        let (policies, matches) = compared(&[("old", "new", 10, 29, 1)]);
        assert_eq!(policies.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        // With the added tie, 30 wins against 11: a difference of ln(30 / 11), half of it on each side.
        let elo = policies[0].elo.unwrap();
        let half = 0.5 * (30.0f64 / 11.0).ln();
        let points = 400.0 / std::f64::consts::LN_10;
        assert!((elo.score - 1000.0 - points * half).abs() < 1e-6, "{elo:?}");
        // Variance of the difference: 1 / (n p q) = 1/30 + 1/11; each side has a quarter of it.
        let error = 0.5 * (1.0f64 / 30.0 + 1.0 / 11.0).sqrt();
        assert!((elo.interval[1] - elo.score - Z * points * error).abs() < 1e-6, "{elo:?}");
        let [new, old] = &matches[..] else { panic!("{matches:?}") };
        assert_eq!((new.results.wins, new.results.losses, new.results.ties, new.results.share), (29, 10, 1, 0.7375));
        assert_eq!((old.first.as_str(), old.results.wins, old.results.share), ("old", 10, 0.2625));
    }

    #[test]
    fn strengths_of_three_make_the_wins_that_were_seen() {
        let games = [("a", "b", 7, 3, 0), ("b", "c", 20, 0, 0), ("c", "a", 1, 1, 4)];
        let (policies, _) = compared(&games);
        let strength = |name: &str| {
            let score = policies.iter().find(|policy| policy.name == name).unwrap().elo.unwrap().score;
            (score - 1000.0) * std::f64::consts::LN_10 / 400.0
        };
        for name in ["a", "b", "c"] {
            let (mut seen, mut expected) = (0.0, 0.0);
            for (first, second, wins, losses, ties) in games {
                let count = (wins + losses + ties + 1) as f64;
                let halves = 0.5 * (ties + 1) as f64;
                let probability = 1.0 / (1.0 + (strength(second) - strength(first)).exp());
                if name == first {
                    (seen, expected) = (seen + wins as f64 + halves, expected + count * probability);
                } else if name == second {
                    (seen, expected) = (seen + losses as f64 + halves, expected + count * (1.0 - probability));
                }
            }
            assert!((seen - expected).abs() < 1e-6, "{name}: {seen} {expected}");
        }
    }

    #[test]
    fn policies_without_a_link_have_no_common_scale() {
        let (policies, matches) = compared(&[("a", "b", 3, 1, 0), ("c", "d", 1, 0, 0)]);
        assert!(policies.len() == 4 && matches.len() == 4 && policies.iter().all(|policy| policy.elo.is_none()));
        assert!(compared(&[]).0.is_empty());
        let (always, _) = compared(&[("a", "b", 50, 0, 0)]);
        assert!(always[0].elo.unwrap().interval.iter().all(|end| end.is_finite()), "{always:?}");
    }
}
