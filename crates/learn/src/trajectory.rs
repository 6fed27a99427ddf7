//! An episode in tokens: what every learner learns from.

use std::sync::Arc;

pub use palestra_datasets::End;

/// One episode as the model read and wrote it.
///
/// The action tokens of all segments, in order, form one chain for returns and advantages, whichever context the
/// model saw them in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trajectory {
    /// What the model read in one go: the whole episode (context `transcript`), or one turn each (`observation`).
    pub segments: Vec<Segment>,
    /// How the episode ended; `None` where it was cut off.
    pub end: Option<End>,
    /// What the model would read to act after the last action, where the episode was truncated and the observation
    /// after it is known.
    pub final_prompt: Option<Vec<u32>>,
    /// The value of that state when the episode was played; else 0.
    pub last_value: f32,
    /// The episodes of a group began in the same state.
    pub group: u64,
}

/// One sequence of tokens that the model reads from position 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segment {
    /// Everything read and written, in order.
    pub tokens: Vec<u32>,
    /// The tokens that the model wrote, in order.
    pub actions: Vec<ActionToken>,
}

/// One token that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionToken {
    /// Its place in [`Segment::tokens`]; at least 1, since the model writes it after reading something.
    pub at: usize,
    /// The turn of the episode that it belongs to.
    pub turn: usize,
    /// Its log-probability under the policy that sampled it.
    pub log_prob: f32,
    /// Its log-probability under a reference policy, where the learner holds to one.
    pub reference_log_prob: Option<f32>,
    /// The value of the state that it was written in; 0 without a value head.
    pub value: f32,
    /// The reward that it earned: a turn's reward stands on the turn's last token.
    pub reward: f32,
    /// The tokens that it was chosen among, ascending; `None` for any.
    pub allowed: Option<Arc<[u32]>>,
}

impl ActionToken {
    /// `log policy - log reference`, where there is a reference.
    pub fn log_ratio(&self) -> Option<f32> {
        self.reference_log_prob.map(|reference| self.log_prob - reference)
    }
}

impl Trajectory {
    /// The chain of action tokens.
    pub fn actions(&self) -> impl Iterator<Item = &ActionToken> {
        self.segments.iter().flat_map(|segment| &segment.actions)
    }

    /// Adds to the reward of the last action token.
    ///
    /// # Panics
    /// If nothing was written.
    pub fn add_reward(&mut self, reward: f32) {
        let last = self.segments.last_mut().and_then(|segment| segment.actions.last_mut());
        last.expect("an episode has an action, and an action has a token").reward += reward;
    }

    /// The undiscounted sum of rewards.
    pub fn total_reward(&self) -> f32 {
        self.actions().map(|action| action.reward).sum()
    }

    /// The discount of what follows each action token: `gamma` where the next one belongs to another turn (and after
    /// the last), `gamma_token` inside a turn, so that the tokenizer does not set the horizon.
    pub fn discounts(&self, gamma: f32, gamma_token: f32) -> Vec<f32> {
        let turns: Vec<usize> = self.actions().map(|action| action.turn).collect();
        let next = turns.iter().skip(1).map(Some).chain([None]);
        turns.iter().zip(next).map(|(turn, next)| if Some(turn) == next { gamma_token } else { gamma }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_discounted_by_gamma_and_tokens_inside_by_gamma_token() {
        let action = |turn| ActionToken {
            at: 1,
            turn,
            log_prob: 0.0,
            reference_log_prob: None,
            value: 0.0,
            reward: 0.0,
            allowed: None,
        };
        let segment = |turns: &[usize]| Segment { tokens: vec![], actions: turns.iter().map(|&t| action(t)).collect() };
        let trajectory = Trajectory { segments: vec![segment(&[0, 0]), segment(&[1])], ..Trajectory::default() };
        assert_eq!(trajectory.discounts(0.9, 1.0), [1.0, 0.9, 0.9]);
    }
}
