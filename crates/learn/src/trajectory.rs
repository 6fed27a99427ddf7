//! An episode as tokens, the training data of the learners.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use palestra_datasets::End;
use palestra_datasets::Turn;

/// One episode, as the model read and wrote it.
///
/// The action tokens of all segments, in order, form one chain for returns and advantages, regardless of the context in
/// which the model wrote them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Token sequences that the model read at once: the whole episode (context `transcript`), or one turn each
    /// (`observation`).
    pub segments: Vec<Segment>,
    /// End of the episode; `None` if it was cut off.
    pub end: Option<End>,
    /// Prompt of the action after the last one, if the episode was truncated and the observation after it is known.
    pub final_prompt: Option<Vec<u32>>,
    /// Value of that state at rollout time; otherwise 0.
    pub last_value: f32,
    /// Group number; the episodes of a group began in the same state.
    pub group: u64,
    /// True if an answer reached the limit of new tokens without its end token.
    pub is_cut: bool,
}

/// One sequence of tokens that the model reads from position 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// All tokens, read and written, in order.
    pub tokens: Vec<u32>,
    /// Tokens that the model wrote, in order.
    pub actions: Vec<ActionToken>,
}

/// One token that the model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionToken {
    /// Position in [`Segment::tokens`]; at least 1, since the model writes it after reading something.
    pub at: usize,
    /// Turn of the episode that it belongs to.
    pub turn: usize,
    /// Log-probability under the sampling policy.
    pub log_prob: f32,
    /// Log-probability under a reference policy, if the learner uses one.
    pub reference_log_prob: Option<f32>,
    /// Value of the state in which it was written; 0 without a value head.
    pub value: f32,
    /// Reward: a turn's reward is on the turn's last token. See [`Trajectory::set_rewards`].
    pub reward: f32,
    /// Allowed tokens at this position, ascending; `None` for any.
    #[serde(serialize_with = "slice", deserialize_with = "shared")]
    pub allowed: Option<Arc<[u32]>>,
}

/// Writes shared tokens as a list.
fn slice<S: Serializer>(tokens: &Option<Arc<[u32]>>, serializer: S) -> Result<S::Ok, S::Error> {
    tokens.as_deref().serialize(serializer)
}

/// Reads a list as shared tokens.
fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<[u32]>>, D::Error> {
    Ok(Option::<Vec<u32>>::deserialize(deserializer)?.map(Arc::from))
}

impl ActionToken {
    /// Log-ratio `log policy - log reference`, if there is a reference.
    pub fn log_ratio(&self) -> Option<f32> {
        self.reference_log_prob.map(|reference| self.log_prob - reference)
    }
}

impl Trajectory {
    /// Iterates over the chain of action tokens.
    pub fn actions(&self) -> impl Iterator<Item = &ActionToken> {
        self.segments.iter().flat_map(|segment| &segment.actions)
    }

    /// Sets the reward of every action token from the episode's turns: each turn's reward is on its last token. Called
    /// when all rewards of the episode are known; nothing else writes the rewards of tokens.
    pub fn set_rewards(&mut self, turns: &[Turn]) {
        let mut later = None; // turn of the next token
        for action in self.segments.iter_mut().rev().flat_map(|segment| segment.actions.iter_mut().rev()) {
            action.reward = if later == Some(action.turn) { 0.0 } else { turns[action.turn].reward };
            later = Some(action.turn);
        }
    }

    /// Undiscounted sum of rewards.
    pub fn total_reward(&self) -> f32 {
        self.actions().map(|action| action.reward).sum()
    }

    /// Discount after each action token: `gamma` if the next one belongs to another turn (and after the last),
    /// `gamma_token` inside a turn, so that the horizon does not depend on the tokenizer.
    pub fn discounts(&self, gamma: f32, gamma_token: f32) -> Vec<f32> {
        let turns: Vec<usize> = self.actions().map(|action| action.turn).collect();
        let next = turns.iter().skip(1).map(Some).chain([None]);
        turns.iter().zip(next).map(|(turn, next)| if Some(turn) == next { gamma_token } else { gamma }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trajectory(segments: &[&[usize]]) -> Trajectory {
        let action = |&turn: &usize| ActionToken {
            at: 1,
            turn,
            log_prob: 0.0,
            reference_log_prob: None,
            value: 0.0,
            reward: 7.0,
            allowed: None,
        };
        let segment = |turns: &&[usize]| Segment { tokens: vec![], actions: turns.iter().map(action).collect() };
        Trajectory { segments: segments.iter().map(segment).collect(), ..Trajectory::default() }
    }

    #[test]
    fn turns_are_discounted_by_gamma_and_tokens_inside_by_gamma_token() {
        assert_eq!(trajectory(&[&[0, 0], &[1]]).discounts(0.9, 1.0), [1.0, 0.9, 0.9]);
    }

    #[test]
    fn a_turns_reward_is_on_its_last_token() {
        let turns = [0.5, -1.0, 2.0].map(|reward| Turn { reward, ..Turn::default() });
        for segments in [&[&[0usize, 0, 1, 2, 2][..]][..], &[&[0, 0], &[1], &[2, 2]]] {
            let mut trajectory = trajectory(segments);
            trajectory.set_rewards(&turns);
            let rewards: Vec<f32> = trajectory.actions().map(|action| action.reward).collect();
            assert_eq!(rewards, [0.0, 0.5, -1.0, 0.0, 2.0]);
        }
    }
}
