//! Agreement of rewards with human preferences: accuracy, margins, calibration.
//!
//! This module knows rated prompts and numbers; it knows neither models nor runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::PromptPreferences;
use palestra_report::{Figure, Metrics, Plot, Series};

/// Bins of a reliability diagram, from 1/2 to 1.
const BINS: usize = 10;

/// Agreement of rewards with preferences.
///
/// A comparison has two answers to a prompt: those of a pair that is not a tie, or the best of several and one of the
/// others. Ratings are compared if they differ. An answer labelled good or bad is compared with the reward 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreferenceScore {
    /// Number of comparisons.
    pub comparisons: u64,
    /// Fraction in which the better answer has the higher reward; equal rewards count as half.
    pub accuracy: f64,
    /// Accuracy of each group of prompts, such as a topic, if there are groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accuracy_by_group: BTreeMap<String, f64>,
    /// Mean reward of better answers.
    pub mean_chosen: f64,
    /// Mean reward of worse answers.
    pub mean_rejected: f64,
    /// Mean margin: reward of the better answer less that of the worse.
    pub mean_margin: f64,
    /// Mean of `-log s(margin)`, in nats.
    pub mean_nll: f64,
    /// Expected calibration error of `s(margin)` as the probability that people prefer the answer with the higher
    /// reward: the mean distance from the fraction of cases in which they do
    /// ([Guo et al. 2017](https://arxiv.org/abs/1706.04599), eq. 3), over ten bins.
    pub calibration_error: f64,
    /// The bins.
    pub reliability: Vec<ReliabilityBin>,
    /// Mean reward of all answers.
    pub mean_reward: f64,
    /// Standard deviation of the rewards of all answers.
    pub std_reward: f64,
}

/// Comparisons of similar confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Number of comparisons.
    pub comparisons: u64,
    /// Mean probability, according to the rewards, that the answer with the higher reward is the better one.
    pub confidence: f64,
    /// Fraction in which it is the better one.
    pub accuracy: f64,
}

/// Rewards of a better and a worse answer.
struct Comparison {
    chosen: f64,
    rejected: f64,
    group: Option<Arc<str>>,
}

impl PreferenceScore {
    /// Scores rewards, one for each answer of the prompts in order. `scale` turns a difference of rewards into
    /// log-odds. `None` if nothing can be compared.
    pub fn new(prompts: &[PromptPreferences], rewards: &[f32], scale: f64) -> Option<Self> {
        let comparisons = compare(prompts, rewards);
        if comparisons.is_empty() {
            return None;
        }
        let count = comparisons.len() as f64;
        let mean = |of: &dyn Fn(&Comparison) -> f64| comparisons.iter().map(of).sum::<f64>() / count;
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for comparison in &comparisons {
            if let Some(group) = &comparison.group {
                groups.entry(group.to_string()).or_default().push(comparison.hit());
            }
        }
        let accuracy_by_group =
            groups.into_iter().map(|(name, hits)| (name, hits.iter().sum::<f64>() / hits.len() as f64)).collect();
        let reliability = reliability(&comparisons, scale);
        let gap = |bin: &ReliabilityBin| bin.comparisons as f64 * (bin.accuracy - bin.confidence).abs();
        let mean_reward = rewards.iter().map(|&reward| f64::from(reward)).sum::<f64>() / rewards.len() as f64;
        let variance = rewards.iter().map(|&reward| (f64::from(reward) - mean_reward).powi(2)).sum::<f64>();
        Some(Self {
            comparisons: comparisons.len() as u64,
            accuracy: mean(&Comparison::hit),
            accuracy_by_group,
            mean_chosen: mean(&|comparison| comparison.chosen),
            mean_rejected: mean(&|comparison| comparison.rejected),
            mean_margin: mean(&Comparison::margin),
            mean_nll: mean(&|comparison| softplus(-scale * comparison.margin())),
            calibration_error: reliability.iter().map(gap).sum::<f64>() / count,
            reliability,
            mean_reward,
            std_reward: (variance / rewards.len() as f64).sqrt(),
        })
    }

    /// Returns the score as metrics of the validation data.
    pub fn metrics(&self) -> Metrics {
        let named = [
            ("eval/rewards/accuracies", self.accuracy),
            ("eval/rewards/chosen", self.mean_chosen),
            ("eval/rewards/rejected", self.mean_rejected),
            ("eval/rewards/margins", self.mean_margin),
            ("eval/nll", self.mean_nll),
            ("eval/calibration_error", self.calibration_error),
        ];
        named.map(|(name, value)| (name.to_string(), value)).into()
    }

    /// Reliability diagram: how often the answer with the higher reward is the better one, by its probability.
    pub fn reliability_diagram(&self) -> Figure {
        let points = self.reliability.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
        // Two standard errors of a fraction.
        let error =
            |bin: &ReliabilityBin| 2.0 * (bin.accuracy * (1.0 - bin.accuracy) / bin.comparisons.max(1) as f64).sqrt();
        let measured = Series {
            name: "measured".into(),
            points,
            errors: self.reliability.iter().map(error).map(|error| (error, error)).collect(),
        };
        let calibrated = Series { name: "calibrated".into(), points: vec![(0.5, 0.5), (1.0, 1.0)], errors: Vec::new() };
        let plot = Plot {
            title: "How often the answer of the higher reward is the better one".into(),
            across: "probability by the rewards".into(),
            series: vec![measured, calibrated],
            references: Vec::new(),
        };
        Figure { title: "Reliability".into(), file: "plots/reliability.svg".into(), plots: vec![plot] }
    }
}

impl Comparison {
    fn margin(&self) -> f64 {
        self.chosen - self.rejected
    }

    fn hit(&self) -> f64 {
        match self.margin().partial_cmp(&0.0) {
            Some(std::cmp::Ordering::Greater) => 1.0,
            Some(std::cmp::Ordering::Equal) => 0.5,
            _ => 0.0,
        }
    }
}

fn compare(prompts: &[PromptPreferences], rewards: &[f32]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    let mut first = 0;
    let mut rated: Option<(f32, f64)> = None;
    for prompt in prompts {
        let reward = |answer: usize| f64::from(rewards[first + answer]);
        let mut add = |chosen, rejected| {
            comparisons.push(Comparison { chosen, rejected, group: prompt.group.clone() });
        };
        for pair in prompt.pairs.iter().filter(|pair| !pair.is_tie) {
            add(reward(pair.chosen), reward(pair.rejected));
        }
        for choice in &prompt.choices {
            choice.answers[1..].iter().for_each(|&other| add(reward(choice.answers[0]), reward(other)));
        }
        for label in &prompt.labels {
            let reward = reward(label.answer);
            if label.value > 0.5 { add(reward, 0.0) } else { add(0.0, reward) }
        }
        // Each rating is compared with the one before it, since a prompt may have only one.
        for rating in &prompt.ratings {
            let own = (rating.value, reward(rating.answer));
            if let Some(before) = rated.replace(own) {
                match own.0.total_cmp(&before.0) {
                    std::cmp::Ordering::Greater => add(own.1, before.1),
                    std::cmp::Ordering::Less => add(before.1, own.1),
                    std::cmp::Ordering::Equal => {}
                }
            }
        }
        first += prompt.answers.len();
    }
    comparisons
}

fn reliability(comparisons: &[Comparison], scale: f64) -> Vec<ReliabilityBin> {
    let mut bins = vec![(0u64, 0.0, 0.0); BINS];
    for comparison in comparisons {
        let confidence = 1.0 / (1.0 + (-scale * comparison.margin().abs()).exp());
        let bin = (((confidence - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1);
        let (count, confidences, hits) = &mut bins[bin];
        (*count, *confidences, *hits) = (*count + 1, *confidences + confidence, *hits + comparison.hit());
    }
    let filled = bins.into_iter().filter(|(count, ..)| *count > 0);
    let mean = |(comparisons, confidences, hits): (u64, f64, f64)| ReliabilityBin {
        comparisons,
        confidence: confidences / comparisons as f64,
        accuracy: hits / comparisons as f64,
    };
    filled.map(mean).collect()
}

/// `log(1 + e^x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl fmt::Display for PreferenceScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comparisons, accuracy, mean_margin, mean_nll, calibration_error, .. } = self;
        write!(
            f,
            "accuracy {accuracy:.4}, mean margin {mean_margin:.4}, mean negative log-likelihood {mean_nll:.4}, calibration \
             error {calibration_error:.4}, over {comparisons} comparisons"
        )?;
        let groups = self.accuracy_by_group.iter();
        groups.into_iter().try_for_each(|(group, accuracy)| write!(f, "\n  {accuracy:.4}  {group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Choice, Pair, Single};

    fn prompt(group: &str, pairs: &[(usize, usize)]) -> PromptPreferences {
        let pair = |&(chosen, rejected)| Pair { chosen, rejected, is_tie: false, margin: 0.0, weight: 1.0 };
        PromptPreferences {
            answers: vec![Default::default(); 3],
            pairs: pairs.iter().map(pair).collect(),
            group: Some(group.into()),
            ..PromptPreferences::default()
        }
    }

    #[test]
    fn accuracy_margins_and_calibration_by_hand() {
        let mut second = prompt("b", &[(0, 1)]);
        second.pairs.push(Pair { chosen: 0, rejected: 2, is_tie: true, margin: 0.0, weight: 1.0 });
        let prompts = [prompt("a", &[(0, 1), (1, 0)]), second];
        // Log-odds 2, -2, 0; the tie is no comparison.
        let score = PreferenceScore::new(&prompts, &[1.0, 0.0, 9.0, 3.0, 3.0, 0.0], 2.0).unwrap();
        assert_eq!((score.comparisons, score.accuracy), (3, 0.5));
        assert_eq!(score.accuracy_by_group, BTreeMap::from([("a".to_string(), 0.5), ("b".to_string(), 0.5)]));
        assert_eq!((score.mean_chosen, score.mean_rejected, score.mean_margin), (4.0 / 3.0, 4.0 / 3.0, 0.0));
        let sigmoid = 1.0 / (1.0 + (-2f64).exp());
        let nll = (-sigmoid.ln() - (1.0 - sigmoid).ln() + 2f64.ln()) / 3.0;
        assert!((score.mean_nll - nll).abs() < 1e-12);
        assert!((score.calibration_error - (2.0 * (sigmoid - 0.5)) / 3.0).abs() < 1e-12);
        assert_eq!(score.reliability.len(), 2);
        assert!(score.reliability_diagram().to_svg().starts_with("<svg"));
    }

    #[test]
    fn choices_labels_and_ratings_are_compared_too() {
        let single = |answer, value| Single { answer, value, weight: 1.0 };
        let of = |prompt: PromptPreferences| {
            let prompt = PromptPreferences { answers: vec![Default::default(); 3], group: None, ..prompt };
            PreferenceScore::new(&[prompt], &[1.0, 2.0, -1.0], 1.0)
        };
        let choice = Choice { answers: vec![1, 0, 2], weight: 1.0 };
        let score = of(PromptPreferences { choices: vec![choice], ..PromptPreferences::default() }).unwrap();
        assert_eq!((score.comparisons, score.accuracy, score.mean_margin), (2, 1.0, 2.0));
        let labels = vec![single(0, 1.0), single(1, 0.0), single(2, 0.0)];
        let score = of(PromptPreferences { labels, ..PromptPreferences::default() }).unwrap();
        assert_eq!((score.comparisons, score.accuracy), (3, 2.0 / 3.0));
        let ratings = vec![single(0, 3.0), single(1, 5.0), single(2, 5.0), single(0, 4.0)];
        let score = of(PromptPreferences { ratings, ..PromptPreferences::default() }).unwrap();
        assert_eq!((score.comparisons, score.accuracy), (2, 0.5));
        assert!(of(PromptPreferences::default()).is_none());
    }
}
