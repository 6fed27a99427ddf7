//! Weighted sum of several rewards, with each part reported separately.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definition::Per;
use super::extract::Extractor;
use super::{Missing, Reward, RewardDefinition, RewardSource};
use crate::{Episode, Error, Result};

/// Score of each reward for an episode, by its name, before weights; the sum over its turns where every turn is scored;
/// `None` if there is no score.
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
    extractor: Option<Extractor>,
    per: Per,
    reward: Arc<dyn Reward>,
}

/// Scores of the turns of an episode, or the one of its last turn; `None` if one is missing.
type TurnScores = Option<Vec<f32>>;

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
            let (weight, per, extractor) = (definition.weight, definition.per, definition.extractor()?);
            all.push(Part { name, weight, missing, extractor, per, reward: reward.into() });
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

    /// Scores episodes, and adds each weighted score to the reward of the turn that it is for: the last one, unless every
    /// turn is scored. Reward parts list each weighted score by its name, and the environment's own reward as `rules` if
    /// it is not 0. An episode that lacks a score is left unchanged.
    ///
    /// # Errors
    /// A reward that fails, gives a score that is not a number, or has no score although its `missing` is `error`.
    pub fn score(&self, episodes: &mut [Episode]) -> Result<Vec<RewardScores>> {
        let scored: Vec<Vec<TurnScores>> = self.parts.iter().map(|part| part.score(episodes)).collect::<Result<_>>()?;
        let of_one = |(at, episode): (usize, &mut Episode)| {
            let of_parts: Vec<(&Part, &TurnScores)> =
                self.parts.iter().zip(&scored).map(|(part, scores)| (part, &scores[at])).collect();
            let sum = |scores: &Vec<f32>| scores.iter().map(|score| f64::from(*score)).sum::<f64>() as f32;
            let scores = of_parts.iter().map(|(part, scores)| (part.name.clone(), scores.as_ref().map(sum))).collect();
            RewardScores { total: self.add_to(episode, &of_parts), scores }
        };
        Ok(episodes.iter_mut().enumerate().map(of_one).collect())
    }

    /// Adds scores to an episode, and returns their weighted sum; `None` if one is missing.
    fn add_to(&self, episode: &mut Episode, of_parts: &[(&Part, &TurnScores)]) -> Option<f32> {
        if self.is_empty() {
            return Some(0.0);
        }
        if episode.turns.is_empty() || of_parts.iter().any(|(_, scores)| scores.is_none()) {
            return None;
        }
        let mut total = 0.0; // in f64, so that the order of the parts does not matter
        let turns = episode.turns.len();
        for (at, turn) in episode.turns.iter_mut().enumerate() {
            let mut parts = BTreeMap::new();
            for (part, scores) in of_parts {
                let scores = scores.as_deref().unwrap_or_default();
                if let Some(score) = (at + scores.len()).checked_sub(turns).and_then(|index| scores.get(index)) {
                    parts.insert(part.name.clone(), part.weight * score);
                    total += f64::from(part.weight * score);
                }
            }
            if !parts.is_empty() {
                turn.add_rewards(parts);
            }
        }
        episode.reward_source = Some(self.source().name().to_string());
        Some(total as f32)
    }
}

impl Part {
    /// Scores of each episode's turns.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<TurnScores>> {
        if self.per == Per::Episode {
            let scores = self.scores(self.extracted(episodes))?;
            return Ok(scores.into_iter().map(|score| score.map(|score| vec![score])).collect());
        }
        let mut prefixes = Vec::new();
        for episode in episodes {
            let part = |last: usize| Episode { turns: episode.turns[..=last].to_vec(), ..episode.clone() };
            prefixes.extend((0..episode.turns.len()).map(part));
        }
        let mut scores = self.scores(self.extracted(&prefixes))?.into_iter();
        Ok(episodes
            .iter()
            .map(|episode| scores.by_ref().take(episode.turns.len()).collect::<Vec<_>>().into_iter().collect())
            .collect())
    }

    /// Episodes whose last action is the answer proper in it.
    fn extracted<'a>(&self, episodes: &'a [Episode]) -> Cow<'a, [Episode]> {
        let Some(extractor) = &self.extractor else { return Cow::Borrowed(episodes) };
        let mut episodes = episodes.to_vec();
        for turn in episodes.iter_mut().filter_map(|episode| episode.turns.last_mut()) {
            turn.action = extractor.find(&turn.action).unwrap_or_default().to_string();
            (turn.action_ids, turn.log_probs) = (None, None); // those of the whole text
        }
        Cow::Owned(episodes)
    }

    fn scores(&self, episodes: Cow<[Episode]>) -> Result<Vec<Option<f32>>> {
        let episodes = &*episodes;
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
