//! Weighted sum of several rewards, with each part reported separately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Missing, Reward, RewardDefinition, RewardSource};
use crate::{Episode, Error, Result};

/// Score of each reward for an episode, by its name, before weights; `None` if there is no score.
pub type Scores = BTreeMap<String, Option<f32>>;

/// Rewards that are summed by weight. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rewards {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    name: String,
    weight: f32,
    missing: Missing,
    reward: Arc<dyn Reward>,
}

/// Scores of one episode.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RewardScores {
    /// The weighted sum; `None` if a score is missing.
    pub total: Option<f32>,
    /// The score of each reward, before weights.
    pub scores: Scores,
}

impl Rewards {
    /// Combines rewards with their definitions, which give names and weights.
    ///
    /// # Errors
    /// Two rewards of one name, an invalid name, or a weight that is not a number.
    pub fn new(parts: impl IntoIterator<Item = (RewardDefinition, Box<dyn Reward>)>) -> Result<Self> {
        let (mut names, mut all) = (BTreeSet::new(), Vec::new());
        for (definition, reward) in parts {
            definition.check()?;
            let name = definition.name().to_string();
            if !names.insert(name.clone()) {
                let reason = format!("name: there are two rewards `{name}`; give each a name of its own");
                return Err(definition.options.blame("kind", Error::Definition(reason)));
            }
            let missing = definition.missing.unwrap_or(reward.when_missing());
            all.push(Part { name, weight: definition.weight, missing, reward: reward.into() });
        }
        Ok(Self { parts: all })
    }

    /// True if there are no rewards.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The names of the rewards, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// Source of the rewards.
    pub fn source(&self) -> RewardSource {
        self.parts.iter().map(|part| part.reward.source()).max().unwrap_or(RewardSource::Rules)
    }

    /// Scores episodes, and adds the weighted sum to the reward of each one's last turn. Its reward parts list each
    /// weighted score by its name, and the environment's own reward as `rules` if it is not 0. An episode that lacks a
    /// score is left unchanged.
    ///
    /// # Errors
    /// A reward that fails, gives a score that is not a number, or has no score although its `missing` is `error`.
    pub fn score(&self, episodes: &mut [Episode]) -> Result<Vec<RewardScores>> {
        let mut scores = vec![RewardScores::default(); episodes.len()];
        for part in &self.parts {
            for (scores_of_one, score) in scores.iter_mut().zip(part.score(episodes)?) {
                scores_of_one.scores.insert(part.name.clone(), score);
            }
        }
        for (scores_of_one, episode) in scores.iter_mut().zip(episodes) {
            scores_of_one.total = self.add_to(episode, &scores_of_one.scores);
        }
        Ok(scores)
    }

    fn add_to(&self, episode: &mut Episode, scores: &Scores) -> Option<f32> {
        if self.is_empty() {
            return Some(0.0);
        }
        let weighted = |part: &Part| Some((part.name.clone(), part.weight * scores[&part.name]?));
        let parts: BTreeMap<String, f32> = self.parts.iter().map(weighted).collect::<Option<_>>()?;
        let total = parts.values().map(|part| f64::from(*part)).sum::<f64>() as f32;
        episode.turns.last_mut()?.add_rewards(parts);
        episode.reward_source = Some(self.source().name().to_string());
        Some(total)
    }
}

impl Part {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let failed = |reason: String| Error::Reward { name: self.name.clone(), reason };
        let scores = self.reward.score(episodes).map_err(|error| match error {
            Error::Reward { reason, .. } => failed(reason),
            other => failed(other.to_string()),
        })?;
        if scores.len() != episodes.len() {
            return Err(failed(format!("it gave {} scores for {} episodes", scores.len(), episodes.len())));
        }
        for (score, Episode { id, .. }) in scores.iter().zip(episodes) {
            match score {
                Some(score) if !score.is_finite() => {
                    return Err(failed(format!("episode {id}: {score} is no score; it must be a finite number")));
                }
                None if self.missing == Missing::Error => {
                    return Err(failed(format!(
                        "episode {id} has no score; missing = \"drop\" leaves out such episodes and counts them"
                    )));
                }
                _ => {}
            }
        }
        Ok(scores)
    }
}
