//! Whole episodes with simple players, and what they score: the numbers that a learner is held against.

use std::collections::BTreeMap;

use palestra_datasets::{Episode, Turn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Env, Error, Info, Observation, Result, episode_seed};

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
    Ok(play_with(env, seed, |_, observation| Ok(policy(observation)))?.0)
}

/// Plays the episode of a seed with the environment's own scripted player.
///
/// # Errors
/// An environment without a scripted player.
pub fn play_scripted(env: &mut dyn Env, seed: u64) -> Result<Episode> {
    Ok(play_by_script(env, seed)?.0)
}

/// A player that chooses every legal action with equal probability. Where an environment lists none, it says nothing.
pub fn random_policy(seed: u64) -> impl FnMut(&Observation) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |observation| match observation.legal_actions.as_deref() {
        Some(legal) if !legal.is_empty() => legal[rng.random_range(0..legal.len())].clone(),
        _ => String::new(),
    }
}

/// Scores the random player over episodes `0..episodes` of a run.
///
/// # Errors
/// An environment that lists no legal actions has no random player.
pub fn random(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    if env.reset(episode_seed(run_seed, 0))?.legal_actions.is_none() {
        return Err(Error::Unknown(format!("{}: lists no legal actions, so there is no random player", env.spec().id)));
    }
    play_many("random", episodes, |episode| {
        // The player's stream is another than the environment's.
        let mut policy = random_policy(episode_seed(!run_seed, episode));
        play_with(env, episode_seed(run_seed, episode), |_, observation| Ok(policy(observation)))
    })
}

/// Scores the environment's scripted player over episodes `0..episodes` of a run.
///
/// # Errors
/// An environment without a scripted player.
pub fn scripted(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    play_many("scripted", episodes, |episode| play_by_script(env, episode_seed(run_seed, episode)))
}

fn play_with(
    env: &mut dyn Env,
    seed: u64,
    mut act: impl FnMut(&dyn Env, &Observation) -> Result<String>,
) -> Result<(Episode, Info)> {
    let env_id = env.spec().id.clone();
    let mut episode = Episode { id: format!("{env_id}/{seed}"), env_id, seed: Some(seed), ..Episode::default() };
    let mut observation = env.reset(seed)?;
    while episode.end.is_none() {
        let action = act(env, &observation)?;
        let step = env.step(&action)?;
        episode.turns.push(Turn {
            observation: observation.text,
            action,
            reward: step.reward,
            legal_actions: observation.legal_actions.map(|legal| legal.to_vec()),
            invalid_action: step.invalid_action,
            ..Turn::default()
        });
        episode.end = step.end;
        observation = step.observation;
    }
    episode.final_observation = Some(observation.text);
    Ok((episode, observation.info))
}

fn play_by_script(env: &mut dyn Env, seed: u64) -> Result<(Episode, Info)> {
    let (mut episode, info) = play_with(env, seed, |env, _| {
        let missing = || Error::Unknown(format!("{}: there is no scripted player", env.spec().id));
        env.scripted_action().ok_or_else(missing)
    })?;
    episode.policy_id = "scripted".to_string();
    Ok((episode, info))
}

/// Scores a player over episodes, each with the info of its last state.
pub fn score<'a>(policy: &str, played: impl IntoIterator<Item = (&'a Episode, &'a Info)>) -> Baseline {
    let (mut returns, mut turns, mut invalid) = (Vec::new(), 0, 0);
    let mut info: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (episode, last) in played {
        // Summed in f64: long episodes of small rewards lose digits in f32.
        returns.push(episode.turns.iter().map(|turn| f64::from(turn.reward)).sum::<f64>());
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
    let mean_return = returns.iter().sum::<f64>() / count;
    let squares: f64 = returns.iter().map(|value| (value - mean_return).powi(2)).sum();
    Baseline {
        policy: policy.to_string(),
        episodes: returns.len() as u64,
        mean_return,
        standard_error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
        mean_turns: turns as f64 / count,
        invalid_action_rate: invalid as f64 / turns.max(1) as f64,
        info: info.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect(),
    }
}

fn play_many(policy: &str, episodes: u64, mut play: impl FnMut(u64) -> Result<(Episode, Info)>) -> Result<Baseline> {
    let played = (0..episodes).map(&mut play).collect::<Result<Vec<_>>>()?;
    Ok(score(policy, played.iter().map(|(episode, info)| (episode, info))))
}
