//! Replays logged episodes to check that a log agrees with its environment.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use palestra_datasets::Episode;

use crate::{Definition, Env, Registry, Result};
use palestra_datasets::RULES;

/// Result of replaying an episode.
#[derive(Debug, Clone, PartialEq)]
pub enum Replay {
    /// The episode agrees with the environment.
    Same,
    /// The environment behaves differently.
    Differs(Mismatch),
    /// The episode cannot be replayed, with the reason.
    NotCheckable(String),
}

/// First difference between an episode and its replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The first differing turn, counted from 0 like the log's `step`.
    pub turn: usize,
    /// The column of the log.
    pub field: &'static str,
    /// Value in the log.
    pub logged: String,
    /// Value from the environment.
    pub replayed: String,
}

/// The environment of an episode: `env_id`, `env_spec`.
type Recorded = (String, Option<String>);

/// Replays logged episodes. It keeps the environments that it built for later episodes.
pub struct Replayer<'a> {
    registry: &'a Registry,
    /// The environment of each `env_id` and `env_spec`, or the reason why there is none.
    envs: BTreeMap<Recorded, Result<Box<dyn Env>, String>>,
}

impl<'a> Replayer<'a> {
    /// Creates a replayer for the environments of a registry.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, envs: BTreeMap::new() }
    }

    /// Replays an episode's actions with its seed, and compares observations, legal actions if they are logged, rewards
    /// if the rules gave them, and the end.
    ///
    /// # Errors
    /// Any error of the environment.
    pub fn replay(&mut self, episode: &Episode) -> Result<Replay> {
        let Some(seed) = episode.seed else {
            return Ok(Replay::NotCheckable("it has no seed".to_string()));
        };
        let key = (episode.env_id.clone(), episode.env_spec.clone());
        let env = match self.envs.entry(key) {
            Entry::Occupied(built) => built.into_mut(),
            Entry::Vacant(place) => place.insert(build(self.registry, episode)),
        };
        match env {
            Ok(env) if !env.spec().reproducible => {
                let reason = format!("`{}` is not reproducible: its seeds do not fix its episodes", env.spec().id);
                Ok(Replay::NotCheckable(reason))
            }
            Ok(env) => match first_mismatch(&mut **env, seed, episode) {
                Err(error) if error.episode_failure().is_some() => Ok(Replay::NotCheckable(error.to_string())),
                mismatch => Ok(mismatch?.map_or(Replay::Same, Replay::Differs)),
            },
            Err(reason) => Ok(Replay::NotCheckable(reason.clone())),
        }
    }
}

/// Builds the environment that an episode was recorded in, or returns the reason why there is none.
fn build(registry: &Registry, episode: &Episode) -> Result<Box<dyn Env>, String> {
    let definition = match &episode.env_spec {
        Some(json) => serde_json::from_str(json).map_err(|error| format!("env_spec is no definition: {error}"))?,
        None if episode.env_id.is_empty() => return Err("it does not tell its environment".to_string()),
        None => Definition::named(&episode.env_id),
    };
    let env = registry.build(&definition).map_err(|error| error.to_string())?;
    let (present, recorded) = (&env.spec().id, &episode.env_id);
    if !recorded.is_empty() && present != recorded {
        return Err(format!("it was recorded in `{recorded}`, and its definition now gives `{present}`"));
    }
    Ok(env)
}

fn first_mismatch(env: &mut dyn Env, seed: u64, episode: &Episode) -> Result<Option<Mismatch>> {
    let by_rules = episode.reward_source.as_deref().is_none_or(|source| source == RULES);
    let mut seen = env.reset(seed)?;
    for (number, turn) in episode.turns.iter().enumerate() {
        let differs = |field, logged: &dyn fmt::Debug, replayed: &dyn fmt::Debug| {
            let (logged, replayed) = (format!("{logged:?}"), format!("{replayed:?}"));
            Ok(Some(Mismatch { turn: number, field, logged, replayed }))
        };
        if turn.observation != seen.content {
            return differs("observation", &turn.observation, &seen.content);
        }
        let legal = seen.legal_actions.as_deref().unwrap_or_default();
        if turn.legal_actions.as_ref().is_some_and(|logged| logged != legal) {
            return differs("legal_actions", turn.legal_actions.as_ref().expect("it is logged"), &legal);
        }
        let step = env.step(&turn.action)?;
        let reward = turn.by_rules();
        if by_rules && reward != step.reward {
            return differs("reward", &reward, &step.reward);
        }
        let is_last = number + 1 == episode.turns.len();
        let end = episode.end.filter(|_| is_last);
        if end != step.end {
            return differs("end", &end, &step.end);
        }
        if let Some(last) =
            episode.final_observation.as_ref().filter(|last| is_last && **last != step.observation.content)
        {
            return differs("final_observation", last, &step.observation.content);
        }
        seen = step.observation;
    }
    Ok(None)
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turn, field, logged, replayed } = self;
        write!(f, "step {turn}: {field} is {logged} in the log and {replayed} when its actions are played again")
    }
}
