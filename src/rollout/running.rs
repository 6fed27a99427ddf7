//! One episode while it is played: its text and its tokens grow turn by turn.

use palestra_envs::{End, Episode, Observation, Turn, episode_seed};
use rand_chacha::ChaCha8Rng;

use super::{Context, Played, RolloutConfig};
use crate::model::generate::Continuation;
use crate::trajectory::{ActionToken, Segment, Trajectory};

/// An episode that is being played.
pub(super) struct Running {
    pub number: u64,
    pub rng: ChaCha8Rng,
    pub observation: Observation,
    /// What the model has read and written since its context began.
    pub context: Vec<u32>,
    pub turns: Vec<Turn>,
    pub segments: Vec<Segment>,
    /// The return that is still asked for.
    pub return_to_go: Option<f32>,
}

impl Running {
    pub fn new(number: u64, rng: ChaCha8Rng, observation: Observation, return_to_go: Option<f32>) -> Self {
        Self { number, rng, observation, context: Vec::new(), turns: Vec::new(), segments: Vec::new(), return_to_go }
    }

    /// Keeps what was read and written as tokens. Rewards follow with the environment's answer.
    pub fn remember(&mut self, prompt: Vec<u32>, text: Continuation, config: &RolloutConfig) {
        let goes_on = config.context == Context::Transcript
            && self.segments.last().is_some_and(|segment| prompt.starts_with(&segment.tokens));
        if !goes_on {
            self.segments.push(Segment::default());
        }
        let segment = self.segments.last_mut().expect("pushed above");
        let from = prompt.len();
        segment.tokens = prompt;
        segment.tokens.extend(&text.tokens);
        let penalty = if text.ended { 0.0 } else { config.missing_end_penalty };
        let last = text.tokens.len() - 1;
        let mut allowed = text.allowed.into_iter();
        segment.actions.extend((0..text.tokens.len()).map(|i| ActionToken {
            at: from + i,
            turn: self.turns.len(),
            log_prob: text.log_probs[i],
            reference_log_prob: None,
            value: text.values.get(i).copied().unwrap_or(0.0),
            reward: if i == last { -penalty } else { 0.0 },
            allowed: allowed.next().flatten(),
        }));
        if config.context == Context::Transcript {
            self.context = segment.tokens.clone();
        }
        self.turns.push(Turn { action_ids: Some(text.tokens), log_probs: Some(text.log_probs), ..Turn::default() });
    }

    /// Completes the turn that was written with what the environment made of it.
    pub fn take_turn(&mut self, action: String, reward: f32, invalid_action: bool) {
        let turn = self.turns.last_mut().expect("written before");
        turn.observation = std::mem::take(&mut self.observation.text);
        turn.legal_actions = self.observation.legal_actions.as_ref().map(|actions| actions.to_vec());
        turn.action = action;
        turn.reward = reward;
        self.return_to_go = self.return_to_go.map(|asked| asked - reward);
        turn.invalid_action = invalid_action;
        let segment = self.segments.last_mut().expect("written before");
        segment.actions.last_mut().expect("an action has a token").reward += reward;
    }

    pub fn finish(self, end: End, env_id: String, run_seed: u64, final_prompt: Option<Vec<u32>>) -> Played {
        let episode = Episode {
            id: format!("{run_seed}-{}", self.number),
            env_id,
            seed: Some(episode_seed(run_seed, self.number)),
            turns: self.turns,
            final_observation: Some(self.observation.text),
            end: Some(end),
            ..Episode::default()
        };
        let trajectory = Trajectory { segments: self.segments, end: Some(end), final_prompt, last_value: 0.0 };
        Played { episode, trajectory, info: self.observation.info }
    }
}
