//! The one trait that an environment implements.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{End, Result};

/// Facts about a state that the agent does not see: scores, positions, the answer of a riddle.
pub type Info = serde_json::Map<String, serde_json::Value>;

/// What the agent sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The text that the agent reads.
    pub text: String,
    /// The actions allowed now, where the environment can list them. Shared, so that a list that never
    /// changes costs nothing.
    pub legal_actions: Option<Arc<[String]>>,
    /// Facts for people and for metrics; never shown to the agent.
    pub info: Info,
}

/// What one action led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The state after the action; on the last step, the final observation.
    pub observation: Observation,
    /// The reward of this action.
    pub reward: f32,
    /// How the episode ended, on its last step. Where it both terminates and runs out of turns, it terminated.
    pub end: Option<End>,
    /// Whether the environment could not read the action or forbids it.
    pub invalid_action: bool,
}

/// What is known about an environment before it is played.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvSpec {
    /// The id with its version, such as `frozen-lake-4x4-v1`. Whatever changes rules, rewards or
    /// observations raises the version.
    pub id: String,
    /// The most turns an episode can have, where there is a limit.
    pub max_turns: Option<u32>,
    /// The least and greatest sum of rewards that one step can give.
    pub reward_range: (f32, f32),
    /// The mean return of the best policy, where it is known.
    pub optimal_return: Option<f64>,
    /// The mean return from which the environment counts as solved, where its authors set one.
    pub solved_return: Option<f64>,
    /// Whether two seeds can give two different episodes for the same actions.
    pub stochastic: bool,
    /// Every character that observations and actions are written with, where the set is small and known:
    /// a tokenizer for an agent from scratch is made from it.
    pub alphabet: Option<String>,
}

/// A game that is played by writing.
///
/// The same seed and the same actions give the same transcript, byte for byte.
pub trait Env: Send {
    /// What is known beforehand.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode that the seed determines, whatever was played before.
    fn reset(&mut self, seed: u64) -> Result<Observation>;

    /// Plays one action. Text that is no legal action is the agent's mistake and not an error: it gives a
    /// step with `invalid_action` set.
    ///
    /// # Errors
    /// A call before `reset`, or after the episode's end.
    fn step(&mut self, action: &str) -> Result<Step>;

    /// The state as a person wants to see it in a terminal.
    fn render(&self) -> String;

    /// What a scripted player, where the environment has one, would write now. It may look at the hidden
    /// state; it is a baseline and a demonstration, not part of the game.
    fn scripted_action(&self) -> Option<String> {
        None
    }
}
