//! Plays whole episodes with simple policies and summarizes their scores: the baselines that a learner is compared
//! with.

use std::collections::{BTreeMap, BTreeSet};

use palestra_datasets::Episode;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::policies::{BaselinePolicy, Choice, Random, Scripted, random_action};
use crate::reward::RewardSummary;
use crate::{Env, Error, Info, Observation, Result, Rewards, record};

/// Summary of the episodes of one policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The policy.
    pub policy: String,
    /// Number of episodes.
    pub episodes: u64,
    /// Mean of the episodes' undiscounted returns.
    pub mean_return: f64,
    /// Standard error of `mean_return`.
    pub standard_error: f64,
    /// Mean number of turns of an episode.
    pub mean_turns: f64,
    /// Fraction of all actions that the environment could not parse or that it forbade.
    pub invalid_action_rate: f64,
    /// Mean of every number, and the fraction of true for every bool, in the info of an episode's last state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub info: BTreeMap<String, f64>,
}

/// Plays the episode of a seed: `policy` answers each observation.
///
/// # Errors
/// Any error of the environment.
pub fn play(env: &mut dyn Env, seed: u64, policy: &mut dyn FnMut(&Observation) -> String) -> Result<Episode> {
    Ok(record::play(env, seed, &mut Answers(policy), &mut own_stream(seed))?.0)
}

/// Plays the episode of a seed with the environment's own scripted policy.
///
/// # Errors
/// An environment without a scripted policy.
pub fn play_scripted(env: &mut dyn Env, seed: u64) -> Result<Episode> {
    Ok(record::play(env, seed, &mut Scripted, &mut own_stream(seed))?.0)
}

/// Returns a policy that chooses every legal action with equal probability. If an environment lists none, it writes an
/// empty text.
pub fn random_policy(seed: u64) -> impl FnMut(&Observation) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |observation| random_action(observation, &mut rng).unwrap_or_default()
}

/// Evaluates the random policy on episodes `0..episodes` of a run.
///
/// # Errors
/// An environment that lists no legal actions has no random policy.
pub fn random(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    play_many(env, episodes, run_seed, &mut Random, &Rewards::default())
}

/// Evaluates the environment's scripted policy on episodes `0..episodes` of a run.
///
/// # Errors
/// An environment without a scripted policy.
pub fn scripted(env: &mut dyn Env, episodes: u64, run_seed: u64) -> Result<Baseline> {
    play_many(env, episodes, run_seed, &mut Scripted, &Rewards::default())
}

/// Evaluates a policy on episodes `0..episodes` of a run, by the environment's rules and by rewards, whose means are
/// among the numbers of `info`. Episodes that lack a reward, or that the environment's program failed, are left out.
///
/// # Errors
/// Any error of the policy, the environment or a reward.
pub fn play_many(
    env: &mut dyn Env,
    episodes: u64,
    run_seed: u64,
    policy: &mut dyn BaselinePolicy,
    rewards: &Rewards,
) -> Result<Baseline> {
    let played = (0..episodes).map(|number| record::play_number(env, run_seed, number, policy));
    let whole = played.filter(|played| played.as_ref().err().and_then(Error::episode_failure).is_none());
    let (mut episodes, infos): (Vec<Episode>, Vec<Info>) = whole.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let scores = rewards.score(&mut episodes)?;
    let scored = episodes.iter().zip(&infos).zip(&scores).filter(|(_, scores)| scores.total.is_some());
    let mut baseline = score(&policy.name(), scored.map(|(played, _)| played));
    let summaries = RewardSummary::of(scores.iter().map(|scores| &scores.scores)).into_iter();
    let scored = summaries.filter(|(_, summary)| summary.scored > 0);
    baseline.info.extend(scored.map(|(name, summary)| (name, summary.mean)));
    Ok(baseline)
}

/// Summarizes episodes of a policy, each given with the info of its last state.
pub fn score<'a>(policy: &str, played: impl IntoIterator<Item = (&'a Episode, &'a Info)>) -> Baseline {
    let (mut returns, mut turns, mut invalid) = (Vec::new(), 0, 0);
    let mut info: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    let mut flags = BTreeSet::new();
    for (episode, last) in played {
        returns.push(episode.total_reward());
        turns += episode.turns.len();
        invalid += episode.turns.iter().filter(|turn| turn.invalid_action).count();
        for (name, value) in last {
            if value.is_boolean() {
                flags.insert(name.clone());
            }
            let number = value.as_f64().or(value.as_bool().map(|yes| f64::from(u8::from(yes))));
            if let Some(number) = number {
                let (sum, count) = info.entry(name.clone()).or_default();
                (*sum, *count) = (*sum + number, *count + 1);
            }
        }
    }
    // An episode that a wrapper cut or ended tells no outcome: it is not solved.
    for (_, count) in info.iter_mut().filter(|(name, _)| flags.contains(*name)).map(|(_, mean)| mean) {
        *count = returns.len();
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

/// Mean of some values and its standard error; 0 and 0 without values.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count + 0.0; // the sum of nothing is -0
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

/// Adapter from a function to a [`BaselinePolicy`].
struct Answers<'a>(&'a mut dyn FnMut(&Observation) -> String);

impl BaselinePolicy for Answers<'_> {
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

/// Random stream for a policy that draws nothing from it.
fn own_stream(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(!seed)
}
