//! Statistics of few runs (Agarwal et al. 2021), as pure functions on scores.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// An estimate with its 95 % percentile interval, which is NaN of a single run: it tells nothing of other seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// Estimate from all scores.
    pub value: f64,
    /// 2.5 % percentile of the resampled estimates.
    pub low: f64,
    /// 97.5 % percentile of the resampled estimates.
    pub high: f64,
}

impl Interval {
    /// True if it comes from more than one run.
    pub fn is_known(&self) -> bool {
        !self.low.is_nan()
    }
}

/// Mean; NaN of none.
pub fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// Mean of the middle half of the scores: a quarter is cut off at each end, with parts of scores where a quarter is no
/// whole number. NaN of none.
pub fn interquartile_mean(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() as f64 / 4.0;
    let end = sorted.len() as f64 - quarter;
    // The weight of score i is the part of [i, i + 1] that lies in the middle half.
    let weight = |at: usize| ((at as f64 + 1.0).min(end) - (at as f64).max(quarter)).max(0.0);
    let sum: f64 = sorted.iter().enumerate().map(|(at, score)| weight(at) * score).sum();
    sum / (end - quarter)
}

/// Probability that a score of the first group is higher than one of the second; equal scores count half.
pub fn probability_of_improvement(ours: &[f64], theirs: &[f64]) -> f64 {
    let won = |our: &f64, their: &f64| match our.partial_cmp(their) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let sum: f64 = ours.iter().flat_map(|our| theirs.iter().map(move |their| won(our, their))).sum();
    sum / (ours.len() * theirs.len()) as f64
}

/// A statistic of scores with its interval by bootstrap.
pub(super) fn bootstrap(scores: &[f64], statistic: impl Fn(&[f64]) -> f64) -> Interval {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let value = statistic(scores);
    if scores.len() < 2 {
        return Interval { value, low: f64::NAN, high: f64::NAN };
    }
    interval(value, (0..RESAMPLES).map(|_| statistic(&resampled(scores, &mut rng))))
}

/// A statistic of two groups, which are resampled apart, with its interval by bootstrap.
pub(super) fn bootstrap_pair(ours: &[f64], theirs: &[f64], statistic: impl Fn(&[f64], &[f64]) -> f64) -> Interval {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let value = statistic(ours, theirs);
    if ours.len().min(theirs.len()) < 2 {
        return Interval { value, low: f64::NAN, high: f64::NAN };
    }
    let draws = (0..RESAMPLES).map(|_| statistic(&resampled(ours, &mut rng), &resampled(theirs, &mut rng)));
    interval(value, draws)
}

fn resampled(scores: &[f64], rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..scores.len()).map(|_| scores[rng.random_range(0..scores.len())]).collect()
}

fn interval(value: f64, draws: impl Iterator<Item = f64>) -> Interval {
    let mut draws: Vec<f64> = draws.collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws[((draws.len() - 1) as f64 * share).round() as usize];
    Interval { value, low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interquartile_mean_cuts_a_quarter_at_each_end() {
        // scipy.stats.trim_mean(x, 0.25) where a quarter is whole.
        assert_eq!(interquartile_mean(&[100.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(interquartile_mean(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0]), 3.5);
        // 0.25 of each end of two scores: half of each is left.
        assert_eq!(interquartile_mean(&[1.0, 3.0]), 2.0);
        assert_eq!(interquartile_mean(&[5.0]), 5.0);
    }

    #[test]
    fn a_group_improves_on_another_by_the_share_of_pairs_that_it_wins() {
        assert_eq!(probability_of_improvement(&[2.0, 3.0], &[1.0, 2.0]), 0.875);
        assert_eq!(probability_of_improvement(&[1.0], &[1.0]), 0.5);
    }

    #[test]
    fn an_interval_is_around_its_value_and_always_the_same() {
        let scores = [1.0, 2.0, 4.0, 8.0, 16.0];
        let found = bootstrap(&scores, mean);
        assert!(found.low < found.value && found.value < found.high && found.low >= 1.0 && found.high <= 16.0);
        assert_eq!(found, bootstrap(&scores, mean));
        // The standard error of the mean is 2.7 (population formula 2.43): 95 % reach about twice as far.
        assert!((3.0..7.0).contains(&(found.high - found.value)), "{found:?}");
    }
}
