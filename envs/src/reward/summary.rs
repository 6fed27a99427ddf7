//! Statistics of a reward over many episodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Scores;

/// Statistics of one reward, before its weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardSummary {
    /// Mean of the scores.
    pub mean: f64,
    /// Standard deviation of the scores.
    pub std: f64,
    /// Number of episodes with a score.
    pub scored: u64,
    /// Number of episodes without a score.
    pub missing: u64,
}

impl RewardSummary {
    /// Adds one episode.
    pub fn add(&mut self, score: Option<f32>) {
        let Some(score) = score.map(f64::from) else {
            self.missing += 1;
            return;
        };
        let before = self.scored as f64;
        let squares = self.std.powi(2) * (before - 1.0).max(0.0);
        let off = score - self.mean; // Welford's algorithm
        self.scored += 1;
        self.mean += off / (before + 1.0);
        self.std = ((squares + off * (score - self.mean)) / before.max(1.0)).sqrt();
    }

    /// Statistics of each reward, by its name.
    pub fn of<'a>(scores: impl IntoIterator<Item = &'a Scores>) -> BTreeMap<String, Self> {
        let mut summaries: BTreeMap<String, Self> = BTreeMap::new();
        for (name, score) in scores.into_iter().flatten() {
            summaries.entry(name.clone()).or_default().add(*score);
        }
        summaries
    }
}
