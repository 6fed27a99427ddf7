//! Summary statistics and histograms.

use palestra_display::{grouped, significant};
use std::fmt;

use serde::Serialize;

/// Approximate maximum number of histogram bars, so that it fits on a screen.
const MAX_BARS: f64 = 20.0;
/// Length of the longest bar in characters.
const MAX_BAR_LENGTH: u64 = 40;

/// Summary of the distribution of some numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (of these numbers themselves: divided by `count`).
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The quartiles (25 %, 50 %, 75 %), interpolated linearly.
    pub quartiles: [f64; 3],
    /// The largest.
    pub max: f64,
    /// The 5 % quantile: a minimum without outliers.
    pub low: f64,
    /// The histogram.
    pub histogram: Histogram,
}

/// Counts of numbers, in bars with round edges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// The start of each bar in order, followed by the end of the last: one more than `counts`.
    pub edges: Vec<f64>,
    /// Number of values of each bar, from its edge up to but not including the next.
    pub counts: Vec<u64>,
}

impl Summary {
    /// Summarizes finite numbers, in any order; `None` if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Some(Self {
            count: values.len() as u64,
            mean,
            std: variance.sqrt(),
            min,
            quartiles: [0.25, 0.5, 0.75].map(|share| quantile(&values, share)),
            max,
            low: quantile(&values, 0.05),
            histogram: Histogram::of(&values),
        })
    }
}

impl Histogram {
    fn of(sorted: &[f64]) -> Self {
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let is_whole = sorted.iter().all(|value| value.fract() == 0.0);
        let width = round_up((max - min) / MAX_BARS).max(if is_whole || min == max { 1.0 } else { 0.0 });
        // 0.7 / 0.1 is slightly less than 7, and 0.7 belongs to the bar that starts there.
        let bar = |value: f64| (value / width + 1e-9).floor();
        let first = bar(min);
        let mut counts = vec![0; (bar(max) - first) as usize + 1];
        for value in sorted {
            counts[(bar(*value) - first) as usize] += 1;
        }
        let edges = (0..=counts.len()).map(|index| (first + index as f64) * width).collect();
        Self { edges, counts }
    }
}

/// Returns a quantile of sorted numbers.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    below + (sorted[place.ceil() as usize] - below) * place.fract()
}

/// Returns the smallest of 1, 2 or 5 times a power of ten that is at least this width.
fn round_up(width: f64) -> f64 {
    if width <= 0.0 {
        return 0.0;
    }
    let power = 10_f64.powf(width.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|round| *round >= width).unwrap_or(10.0 * power)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lower, median, upper] = self.quartiles.map(significant);
        write!(
            f,
            "mean {}, std {}, min {}, quartiles {lower} {median} {upper}, max {}",
            significant(self.mean),
            significant(self.std),
            significant(self.min),
            significant(self.max)
        )
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edges: Vec<String> = self.edges.iter().map(|edge| significant(*edge)).collect();
        let wide = edges.iter().map(String::len).max().unwrap_or_default();
        let highest = self.counts.iter().max().copied().unwrap_or_default().max(1);
        for (edge, count) in edges.iter().zip(&self.counts) {
            // A non-zero count has at least one character.
            let bar = "#".repeat((count * MAX_BAR_LENGTH).div_ceil(highest) as usize);
            writeln!(f, "{edge:>wide$} | {bar:<width$} {}", grouped(*count), width = MAX_BAR_LENGTH as usize)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_numpy() {
        let summary = Summary::of(vec![4.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!(summary.count, 4);
        assert_eq!(summary.mean, 4.25);
        assert!((summary.std - 3.491_060_010_942_235).abs() < 1e-12);
        assert_eq!((summary.min, summary.max), (1.0, 10.0));
        assert_eq!(summary.quartiles, [1.75, 3.0, 5.5]);
        assert_eq!(Summary::of(vec![]), None);
    }

    #[test]
    fn success_and_failure_are_two_bars() {
        let histogram = Summary::of(vec![0.0, 1.0, 1.0]).unwrap().histogram;
        assert_eq!(histogram, Histogram { edges: vec![0.0, 1.0, 2.0], counts: vec![1, 2] });
    }

    #[test]
    fn a_round_number_stands_in_the_bar_that_begins_with_it() {
        let histogram = Summary::of((0..=20).map(|tenth| f64::from(tenth) * 0.1).collect()).unwrap().histogram;
        assert_eq!(histogram.counts, vec![1; 21]);
        assert_eq!(histogram.edges.len(), 22);
    }

    #[test]
    fn equal_numbers_are_one_bar() {
        let histogram = Summary::of(vec![-0.5; 3]).unwrap().histogram;
        assert_eq!(histogram, Histogram { edges: vec![-1.0, 0.0], counts: vec![3] });
    }

    #[test]
    fn many_numbers_are_few_bars() {
        let histogram = Summary::of((0..10_000).map(f64::from).collect()).unwrap().histogram;
        assert_eq!(histogram.edges[..3], [0.0, 500.0, 1000.0]);
        assert_eq!(histogram.counts, vec![500; 20]);
        assert!(histogram.to_string().starts_with("   0 | ########"), "{histogram}");
    }
}
