//! The trait that an environment implements.

use std::sync::Arc;
use std::task::Waker;

use serde::{Deserialize, Serialize};

use crate::{Call, Content, End, Options, Result};

/// Facts about a state that the agent does not see: scores, positions, the solution.
pub type Info = serde_json::Map<String, serde_json::Value>;

/// Observation of the agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The text, or the messages of a conversation, that the agent reads.
    pub content: Content,
    /// Legal actions in this state, if the environment can list them. Shared, so that a list that never changes costs
    /// nothing.
    pub legal_actions: Option<Arc<[String]>>,
    /// Facts for users and metrics; never shown to the agent.
    pub info: Info,
}

impl Observation {
    /// Creates an observation of a text or messages, without a list of legal actions.
    pub fn new(content: impl Into<Content>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }
}

/// Result of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The state after the action; on the last step, the final observation.
    pub observation: Observation,
    /// The reward of this action.
    pub reward: f32,
    /// Reason for the end of the episode, on its last step. If it both terminates and reaches the turn limit, it is
    /// terminated.
    pub end: Option<End>,
    /// True if the environment could not parse the action or forbids it.
    pub invalid_action: bool,
}

/// Properties of an environment that are known before it is played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvSpec {
    /// The id with its version, such as `frozen-lake-4x4-v1`. Any change of rules, rewards or observations raises the
    /// version.
    pub id: String,
    /// Maximum number of turns of an episode, if there is a limit.
    pub max_turns: Option<u32>,
    /// Minimum and maximum total reward of one step.
    pub reward_range: (f32, f32),
    /// Mean return of the best policy, if it is known.
    pub optimal_return: Option<f64>,
    /// Mean return from which the environment counts as solved, if its authors set one.
    pub solved_return: Option<f64>,
    /// True if two seeds can give two different episodes for the same actions.
    pub stochastic: bool,
    /// True if the same seed and the same actions give the same episode. Only environments from outside may say false:
    /// results of such runs cannot be had again, which is told and recorded.
    #[serde(default = "yes")]
    pub reproducible: bool,
    /// Number of tasks, if they are numbered, such as the prompts of a file: the episode of seed `s` is then one of task
    /// `s % tasks`, so that whoever gives the seeds chooses the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// All characters of observations and actions, if the set is small and known. The tokenizer of an agent trained
    /// from scratch is built from it.
    pub alphabet: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for EnvSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            max_turns: None,
            reward_range: (0.0, 0.0),
            optimal_return: None,
            solved_return: None,
            stochastic: false,
            reproducible: true,
            tasks: None,
            alphabet: None,
        }
    }
}

/// An environment that is played by writing text.
///
/// The same seed and the same actions give the same transcript, byte for byte, unless the spec is not `reproducible`.
pub trait Env: Send {
    /// Properties known before the first episode.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode. It depends only on the seed, not on earlier episodes.
    fn reset(&mut self, seed: u64) -> Result<Observation>;

    /// Plays one action. A text that is not a legal action is a mistake of the agent and not an error: it gives a step
    /// with `invalid_action` set.
    ///
    /// # Errors
    /// A call before `reset`, or after the episode's end.
    fn step(&mut self, action: &str) -> Result<Step>;

    /// True if a call waits for something outside of this program, so that calls of many environments are made at once.
    fn waits(&self) -> bool {
        false
    }

    /// Sends a call to an environment outside of this program, so that calls of many environments are under way at once.
    /// The reset or step of the same call, which follows, takes the answer. Returns false if nothing was sent, as by an
    /// environment that computes in the call itself.
    fn send(&mut self, _call: &Call) -> bool {
        false
    }

    /// True if the call that follows [`Env::send`] does not wait. Otherwise `waker` is woken once that may be so.
    fn has_answer(&self, _waker: &Waker) -> bool {
        true
    }

    /// Renders the state for a terminal.
    fn render(&self) -> String;

    /// Next action of the scripted policy, if the environment has one. It may read the hidden state; it is a baseline
    /// and a demonstration, not part of the game.
    fn scripted_action(&self) -> Option<String> {
        None
    }
}

/// Builds an environment of one kind from its options.
pub type Build = Arc<dyn Fn(&Options) -> Result<Box<dyn Env>> + Send + Sync>;
