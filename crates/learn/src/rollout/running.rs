//! A running episode: its text and its tokens grow turn by turn.

use std::time::{SystemTime, UNIX_EPOCH};

use palestra_datasets::{MISSING_END, RULES};
use palestra_envs::record::{end_reason, info_json};
use palestra_envs::reward::Scores;
use palestra_envs::{End, EnvSpec, Episode, Info, Observation, Turn, episode_seed, reset_seed};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Context, RolloutConfig, RolloutResult};
use crate::trajectory::{ActionToken, Segment, Trajectory};
use palestra_model::generate::Continuation;

/// A running episode.
pub(super) struct Running {
    pub number: u64,
    /// Seed of its environment.
    pub seed: u64,
    /// Group number, shared by the episodes of one group.
    pub group: u64,
    pub rng: ChaCha8Rng,
    pub observation: Observation,
    /// All tokens since the start of the model's context, read and written.
    pub context: Vec<u32>,
    pub turns: Vec<Turn>,
    pub segments: Vec<Segment>,
    /// True if an action reached the limit of tokens without ending.
    pub is_cut: bool,
    /// Remaining target return.
    pub return_to_go: Option<f32>,
    /// Penalty of the current action for a missing end token.
    pub penalty: f32,
}

impl Running {
    /// Creates episode `number` of a run. Consecutive episodes form groups of `group_size`: they begin in the same
    /// state, and each has its own random stream. `tasks` is that of the environment's spec.
    pub fn new(run_seed: u64, number: u64, group_size: u64, tasks: Option<u64>) -> Self {
        let group = number / group_size;
        let mut rng = ChaCha8Rng::seed_from_u64(episode_seed(run_seed, number));
        rng.set_stream(1); // stream 0 is an environment's
        Self {
            number,
            seed: reset_seed(run_seed, group, tasks),
            group,
            rng,
            observation: Observation::default(),
            context: Vec::new(),
            turns: Vec::new(),
            segments: Vec::new(),
            is_cut: false,
            return_to_go: None,
            penalty: 0.0,
        }
    }

    /// Stores the tokens that were read and written. The reward follows with the environment's step, and is on the
    /// tokens when the episode is scored.
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
        self.is_cut |= !text.ended;
        self.penalty = if text.ended { 0.0 } else { config.missing_end_penalty };
        let mut allowed = text.allowed.into_iter();
        segment.actions.extend((0..text.tokens.len()).map(|i| ActionToken {
            at: from + i,
            turn: self.turns.len(),
            log_prob: text.log_probs[i],
            reference_log_prob: None,
            value: text.values.get(i).copied().unwrap_or(0.0),
            reward: 0.0,
            allowed: allowed.next().flatten(),
        }));
        if config.context == Context::Transcript {
            self.context = segment.tokens.clone();
        }
        self.turns.push(Turn { action_ids: Some(text.tokens), log_probs: Some(text.log_probs), ..Turn::default() });
    }

    /// Completes the current turn with the result of the environment's step.
    pub fn take_turn(&mut self, action: String, reward: f32, invalid_action: bool) {
        let turn = self.turns.last_mut().expect("written before");
        turn.observation = std::mem::take(&mut self.observation.content);
        turn.legal_actions = self.observation.legal_actions.as_ref().map(|actions| actions.to_vec());
        turn.action = action;
        turn.reward = reward;
        if self.penalty != 0.0 {
            turn.add_rewards([(MISSING_END.to_string(), -self.penalty)]);
        }
        turn.invalid_action = invalid_action;
        self.return_to_go = self.return_to_go.map(|asked| asked - turn.reward);
    }

    /// Marks the last action as one of a mixture of policies, which did not choose it token by token.
    pub fn was_mixed(&mut self, log_prob: Option<f64>) {
        let turn = self.turns.last_mut().expect("written before");
        turn.action_ids = None;
        turn.log_probs = log_prob.map(|log_prob| vec![log_prob as f32]);
    }

    /// Stores the environment's info after the last action.
    pub fn note(&mut self, info: &Info) {
        self.turns.last_mut().expect("written before").info = info_json(info);
    }

    /// Stores the time of the last action, for a log.
    pub fn note_time(&mut self) {
        self.turns.last_mut().expect("written before").timestamp = Some(now());
    }

    pub fn finish(self, end: End, spec: &EnvSpec, run_seed: u64, final_prompt: Option<Vec<u32>>) -> RolloutResult {
        let mut episode = Episode {
            id: format!("{run_seed}-{}", self.number),
            env_id: spec.id.clone(),
            seed: Some(self.seed),
            turns: self.turns,
            end: Some(end),
            reward_source: Some(RULES.to_string()),
            ..Episode::default()
        };
        episode.end_reason = Some(end_reason(&episode, &self.observation, spec.max_turns));
        episode.final_observation = Some(self.observation.content);
        let (segments, group, is_cut) = (self.segments, self.group, self.is_cut);
        let trajectory = Trajectory { segments, end: Some(end), final_prompt, last_value: 0.0, group, is_cut };
        RolloutResult { episode, trajectory, info: self.observation.info, scores: Scores::new() }
    }
}

/// Microseconds since 1970 (UTC).
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or(i64::MAX)
}
