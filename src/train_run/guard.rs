//! Divergence guard: warns, once for each reason, when a metric is far from the usual, and says what to change.

use std::collections::{BTreeMap, BTreeSet};

use palestra_report::Metrics;

/// Updates that a run's own level is known from.
const KNOWN_AFTER: u32 = 10;

/// Limit of a metric.
enum Limit {
    /// Greatest usual value in every run.
    Above(f64),
    /// Multiple of the run's own mean so far.
    TimesMean(f64),
}

/// Metrics with their limits, and what helps. An implicit reward margin of 10 with `beta = 0.1` is 100 nats between two
/// answers; RLHF usually ends below 20 nats a completion (Stiennon et al. 2020, figure 5).
const LIMITS: [(&str, Limit, &str); 5] = [
    (
        "rewards/margins",
        Limit::Above(10.0),
        "the policy has left its start far behind: lower optimizer.learning_rate, or train fewer updates",
    ),
    ("objective/kl", Limit::Above(50.0), "raise kl_coefficient, or lower optimizer.learning_rate"),
    (
        "policy/approxkl_avg",
        Limit::Above(0.5),
        "a single update moves the policy too far: lower optimizer.learning_rate or epochs, or set target_kl",
    ),
    ("optimizer/grad_norm", Limit::TimesMean(50.0), "lower optimizer.learning_rate, or raise optimizer.warmup"),
    (
        "loss/nll",
        Limit::TimesMean(3.0),
        "lower optimizer.learning_rate, or look at the rows of these steps (palestra rows)",
    ),
];

/// Watcher of a run's metrics.
#[derive(Default)]
pub(super) struct Guard {
    /// Sum and count of each metric that is compared with its own level.
    seen: BTreeMap<&'static str, (f64, u32)>,
    warned: BTreeSet<&'static str>,
}

impl Guard {
    /// Warnings about the metrics of an update.
    pub fn check(&mut self, update: u64, metrics: &Metrics) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, limit, advice) in &LIMITS {
            let Some(&value) = metrics.get(*name) else { continue };
            let limit = match limit {
                Limit::Above(limit) => Some(*limit),
                Limit::TimesMean(factor) => {
                    let (sum, count) = self.seen.entry(name).or_default();
                    let limit = (*count >= KNOWN_AFTER).then(|| factor * *sum / f64::from(*count));
                    (*sum, *count) = (*sum + value, *count + 1);
                    limit
                }
            };
            if limit.is_some_and(|limit| value > limit) && self.warned.insert(name) {
                let limit = limit.unwrap_or_default();
                warnings.push(format!("update {update}: {name} is {value:.4}, more than {limit:.4}: {advice}"));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(name: &str, value: f64) -> Metrics {
        Metrics::from([(name.to_string(), value)])
    }

    #[test]
    fn a_margin_far_from_the_start_is_warned_of_once() {
        let mut guard = Guard::default();
        assert!(guard.check(1, &metrics("rewards/margins", 2.0)).is_empty());
        let warnings = guard.check(3, &metrics("rewards/margins", 27.0));
        assert!(warnings[0].starts_with("update 3: rewards/margins is 27.0000, more than 10.0000"), "{warnings:?}");
        assert!(guard.check(4, &metrics("rewards/margins", 30.0)).is_empty());
    }

    #[test]
    fn a_norm_is_compared_with_the_run_itself() {
        let mut guard = Guard::default();
        assert!(guard.check(0, &metrics("optimizer/grad_norm", 900.0)).is_empty(), "nothing is known yet");
        let mut guard = Guard::default();
        for update in 0..u64::from(KNOWN_AFTER) {
            assert!(guard.check(update, &metrics("optimizer/grad_norm", 2.0)).is_empty());
        }
        assert!(guard.check(11, &metrics("optimizer/grad_norm", 99.0)).is_empty());
        assert_eq!(guard.check(12, &metrics("optimizer/grad_norm", 900.0)).len(), 1);
    }
}
