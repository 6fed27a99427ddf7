//! Whole episodes with simple players, and what they score: the numbers that a learner is held against.

use std::collections::BTreeMap;

use palestra_datasets::Episode;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::player::{Choice, Player, Random, Scripted, random_action};
use crate::reward::RewardSummary;
use crate::{Env, Info, Observation, Result, Rewards, record};

/// What a player scored over some episodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The player.
    pub policy: String,
    /// How many episodes it played.
    pub episodes: u64,
    /// The mean of the episodes' undiscounted returns.
    pub mean_return: f64,
    /// The standard error of `mean_return`.
    pub standard_error: f64,
    /// The mean number of turns of an episode.
    pub mean_turns: f64,
    /// Which part of all actions the environment could not read or forbade.
    pub invalid_action_rate: f64,
    /// The mean of every number, and the share of every truth, that the environment tells of an episode's last state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub info: BTreeMap<String, f64>,
}

/// Plays the episode of a seed: the policy answers each observation.
///
/// # Errors
/// Whatever the environment reports.
pub fn play(env: &mut dyn Env, seed: u64, policy: &mut dyn FnMut(&Observation) -> String) -> Result<Episode> {
    Ok(record::play(env, seed, &mut Answers(policy), &mut own_stream(seed))?.0)
}

/// Plays the episode of a seed with the environment's own scripted player.
///
/// # Errors
/// An environment without a scripted player.
pub fn play_scripted(env: &mut dyn Env, seed: u64) -> Result<Episode> {
    Ok(record::play(env, seed, &mut Scripted, &mut own_stream(seed))?.0)
}

/// A player that chooses every legal action with equal probability. Where an environment lists none, it says nothing.
pub fn random_policy(seed: u64) -> impl FnMut(&Observation) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |observation| random_action(observation, &mut rng).unwrap_or_default()
}

/// Scores the random player over episodes `0..episodes` of a run.
///
/// # Errors
/// An environment that lists no legal actions has no random player.
pub fn random(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    play_many(env, episodes, run_seed, &mut Random, &Rewards::default())
}

/// Scores the environment's scripted player over episodes `0..episodes` of a run.
///
/// # Errors
/// An environment without a scripted player.
pub fn scripted(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    play_many(env, episodes, run_seed, &mut Scripted, &Rewards::default())
}

/// Scores a player over episodes `0..episodes` of a run, by the environment's rules and by rewards, whose means stand among
/// the numbers of `info`. Episodes that lack a reward are left out.
///
/// # Errors
/// Whatever the player, the environment or a reward reports.
pub fn play_many(
    env: &mut dyn Env,
    episodes: u64,
    run_seed: u64,
    player: &mut dyn Player,
    rewards: &Rewards,
) -> Result<Baseline> {
    let played = (0..episodes).map(|number| record::play_number(env, run_seed, number, player));
    let (mut episodes, infos): (Vec<Episode>, Vec<Info>) = played.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let judged = rewards.judge(&mut episodes)?;
    let scored = episodes.iter().zip(&infos).zip(&judged).filter(|(_, judged)| judged.total.is_some());
    let mut baseline = score(&player.name(), scored.map(|(played, _)| played));
    let summaries = RewardSummary::of(judged.iter().map(|judged| &judged.scores)).into_iter();
    let scored = summaries.filter(|(_, summary)| summary.scored > 0);
    baseline.info.extend(scored.map(|(name, summary)| (name, summary.mean)));
    Ok(baseline)
}

/// Scores a player over episodes, each with the info of its last state.
pub fn score<'a>(policy: &str, played: impl IntoIterator<Item = (&'a Episode, &'a Info)>) -> Baseline {
    let (mut returns, mut turns, mut invalid) = (Vec::new(), 0, 0);
    let mut info: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (episode, last) in played {
        returns.push(episode.total_reward());
        turns += episode.turns.len();
        invalid += episode.turns.iter().filter(|turn| turn.invalid_action).count();
        for (name, value) in last {
            let number = value.as_f64().or(value.as_bool().map(|yes| f64::from(u8::from(yes))));
            if let Some(number) = number {
                let (sum, count) = info.entry(name.clone()).or_default();
                (*sum, *count) = (*sum + number, *count + 1);
            }
        }
    }
    let count = returns.len().max(1) as f64;
    let (mean_return, standard_error) = mean_and_error(&returns);
    Baseline {
        policy: policy.to_string(),
        episodes: returns.len() as u64,
        mean_return,
        standard_error,
        mean_turns: turns as f64 / count,
        invalid_action_rate: invalid as f64 / turns.max(1) as f64,
        info: info.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect(),
    }
}

/// The mean of some values, and its standard error; 0 and 0 of none.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

/// A function as a player.
struct Answers<'a>(&'a mut dyn FnMut(&Observation) -> String);

impl Player for Answers<'_> {
    fn name(&self) -> String {
        String::new()
    }

    fn act(&mut self, _env: &dyn Env, seen: &Observation, _rng: &mut dyn Rng) -> Result<Choice> {
        Ok(Choice { action: (self.0)(seen), log_prob: None })
    }

    fn log_prob(&mut self, _env: &dyn Env, _seen: &Observation, _action: &str) -> Result<Option<f64>> {
        Ok(None)
    }
}

/// The stream of a player that draws nothing from it.
fn own_stream(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(!seed)
}
