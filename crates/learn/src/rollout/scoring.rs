//! Rewards of finished episodes, and summaries of many episodes.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use palestra_datasets::{MISSING_END, RULES};
use palestra_envs::baseline::score;
use palestra_envs::reward::{RewardSummary, Rewards};
use palestra_envs::{End, Episode, Turn};

use super::{RolloutResult, RolloutTimings, Take};
use crate::{Error, Result};
use palestra_report::Metrics;

/// Number of episodes that are scored together when they are passed on one by one.
const AT_ONCE: usize = 64;

/// Scores episodes, which adds the weighted scores to the last turn, and puts the rewards of all turns on the action
/// tokens. Returns the time spent on scoring, zero without reward functions.
///
/// # Errors
/// A reward that fails.
pub(super) fn score_episodes(rewards: &Rewards, played: &mut [RolloutResult]) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    if !rewards.is_empty() {
        let began = Instant::now();
        let mut episodes: Vec<Episode> = played.iter_mut().map(|played| std::mem::take(&mut played.episode)).collect();
        let scores = rewards.score(&mut episodes)?;
        for ((played, episode), score) in played.iter_mut().zip(episodes).zip(scores) {
            (played.episode, played.scores) = (episode, score.scores);
        }
        spent = began.elapsed();
    }
    played.iter_mut().for_each(|RolloutResult { episode, trajectory, .. }| trajectory.set_rewards(&episode.turns));
    Ok(spent)
}

/// Plays episodes, and scores those that have ended on a thread of its own, several at once. They are added to `finished`
/// with their numbers, in any order.
///
/// # Errors
/// Those of `play`, or a reward that fails.
pub(super) fn scored_beside<E: From<Error>>(
    rewards: &Rewards,
    finished: &mut Vec<(u64, RolloutResult)>,
    play: impl FnOnce(&mut Take<E>) -> Result<RolloutTimings, E>,
) -> Result<RolloutTimings, E> {
    let (ended, waiting) = channel::<(u64, RolloutResult)>();
    thread::scope(|scope| {
        let scorer = scope.spawn(move || -> Result<_> {
            let (mut scored, mut spent) = (Vec::new(), Duration::ZERO);
            while let Ok(first) = waiting.recv() {
                let next = std::iter::once(first).chain(waiting.try_iter().take(AT_ONCE - 1));
                let (numbers, mut played): (Vec<u64>, Vec<RolloutResult>) = next.unzip();
                spent += score_episodes(rewards, &mut played)?;
                scored.extend(numbers.into_iter().zip(played));
            }
            Ok((scored, spent))
        });
        // A scorer that failed takes no more, and tells why in the end.
        let timings = play(&mut |number, played| {
            _ = ended.send((number, played));
            Ok(())
        });
        drop(ended);
        let scored = scorer.join().unwrap_or_else(|panic| resume_unwind(panic));
        let mut timings = timings?;
        (*finished, timings.rewards) = scored?;
        Ok(timings)
    })
}

/// Queue that passes episodes on in the order in which they ended, after scoring several at once.
pub(super) struct EpisodeQueue<'a, E> {
    rewards: Rewards,
    take: &'a mut dyn FnMut(u64, RolloutResult) -> Result<(), E>,
    numbers: Vec<u64>,
    waiting: Vec<RolloutResult>,
    spent: Duration,
}

impl<'a, E: From<Error>> EpisodeQueue<'a, E> {
    pub fn new(rewards: Rewards, take: &'a mut dyn FnMut(u64, RolloutResult) -> Result<(), E>) -> Self {
        Self { rewards, take, numbers: Vec::new(), waiting: Vec::new(), spent: Duration::ZERO }
    }

    pub fn add(&mut self, number: u64, played: RolloutResult) -> Result<(), E> {
        self.numbers.push(number);
        self.waiting.push(played);
        if self.rewards.is_empty() || self.waiting.len() == AT_ONCE { self.hand_over() } else { Ok(()) }
    }

    /// Passes on the remaining episodes, and returns the time spent on scoring.
    pub fn finish(mut self) -> Result<Duration, E> {
        self.hand_over()?;
        Ok(self.spent)
    }

    fn hand_over(&mut self) -> Result<(), E> {
        self.spent += score_episodes(&self.rewards, &mut self.waiting)?;
        self.numbers.drain(..).zip(self.waiting.drain(..)).try_for_each(|(number, played)| (self.take)(number, played))
    }
}

/// Mean of each reward, before its weight, by name; and of the environment's own reward, as `rules`, unless it is
/// always 0.
pub fn reward_means(played: &[RolloutResult]) -> BTreeMap<String, f64> {
    let summaries = reward_summaries(played).into_iter().filter(|(_, summary)| summary.scored > 0);
    summaries.map(|(name, summary)| (name, summary.mean)).collect()
}

/// Summaries of the rewards by name, with the parts `missing_end` and, if there are others, `rules`, unless they are
/// always 0.
fn reward_summaries(played: &[RolloutResult]) -> BTreeMap<String, RewardSummary> {
    let mut summaries = RewardSummary::of(played.iter().map(|played| &played.scores));
    let penalty = |turn: &Turn| turn.reward_parts.get(MISSING_END).copied().unwrap_or(0.0);
    for (name, part) in [(MISSING_END, &penalty as &dyn Fn(&Turn) -> f32), (RULES, &Turn::by_rules)] {
        let sum = |played: &RolloutResult| played.episode.turns.iter().map(part).sum::<f32>();
        let is_told = name != RULES || !summaries.is_empty();
        if is_told && played.iter().any(|played| sum(played) != 0.0) {
            let mut summary = RewardSummary::default();
            played.iter().for_each(|played| summary.add(Some(sum(played))));
            summaries.insert(name.to_string(), summary);
        }
    }
    summaries
}

/// Summary metrics of episodes: returns, lengths, ends, the scores of each reward, and the mean of every number in the
/// environments' info. Episodes that lack a reward count only in that reward's `missing`.
pub fn summary(played: &[RolloutResult]) -> Metrics {
    let scored: Vec<&RolloutResult> = played.iter().filter(|played| played.is_scored()).collect();
    let all = score("", scored.iter().map(|played| (&played.episode, &played.info)));
    let truncated = scored.iter().filter(|played| played.episode.end == Some(End::Truncated)).count();
    let count = scored.len().max(1) as f64;
    let mut metrics = Metrics::from([
        ("episode/return_mean".to_string(), all.mean_return),
        ("episode/return_std".to_string(), all.standard_error * count.sqrt()),
        ("episode/length_mean".to_string(), all.mean_turns),
        ("episode/invalid_rate".to_string(), all.invalid_action_rate),
        ("episode/truncated_rate".to_string(), truncated as f64 / count),
    ]);
    metrics.extend(all.info.into_iter().map(|(name, mean)| (format!("episode/{name}_mean"), mean)));
    for (name, RewardSummary { mean, std, scored, missing }) in reward_summaries(played) {
        if scored > 0 {
            metrics.insert(format!("rewards/{name}_mean"), mean);
            metrics.insert(format!("rewards/{name}_std"), std);
        }
        metrics.insert(format!("rewards/{name}_missing"), missing as f64);
    }
    metrics
}
