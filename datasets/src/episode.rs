//! An episode as the experience log stores it: one row for each turn of the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Content;

/// The reward source for the environment's own rules, and the name of their reward part if there are others.
pub const RULES: &str = "rules";

/// Name of the reward part of an action that reached the max number of new tokens without an end token.
pub const MISSING_END: &str = "missing_end";

/// Kind of an episode's end. The two are never merged: a terminated state has no future, so nothing is bootstrapped
/// from it; a truncated episode was cut off while it could have continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The episode reached its end by the environment's own rules.
    Terminated,
    /// A limit (of turns, of text) stopped the episode.
    Truncated,
}

/// One turn: the observation, the action and the reward.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The text or the messages that the agent responded to.
    pub observation: Content,
    /// The text that the agent wrote.
    pub action: String,
    /// The reward of this turn, all parts summed.
    pub reward: f32,
    /// The named parts of the reward; empty if the environment's rules are the only one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_parts: BTreeMap<String, f32>,
    /// The legal actions, if the environment lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_actions: Option<Vec<String>>,
    /// True if the environment could not parse the action.
    #[serde(default)]
    pub invalid_action: bool,
    /// The token ids that were sampled for the action: authoritative for a policy with the same tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_ids: Option<Vec<u32>>,
    /// The token ids of the prompt that the model read, if they were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_ids: Option<Vec<u32>>,
    /// The log-probability of each token of `action_ids` under the policy that sampled it. A policy that chooses
    /// without tokens has a single log-probability for the whole action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_probs: Option<Vec<f32>>,
    /// Information for people that the agent did not see, as a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// Time of the action, in microseconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

/// One episode or conversation, from reset to end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The id, unique in its log.
    pub id: String,
    /// The environment's id with its version, such as `snake-6x6-v1`; empty if unknown.
    #[serde(default)]
    pub env_id: String,
    /// The environment's definition as JSON, from which it can be built again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_spec: Option<String>,
    /// The seed that the environment was reset with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The split of the data that it belongs to, such as `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The turns, in order.
    pub turns: Vec<Turn>,
    /// The observation after the last action, from which a truncated episode bootstraps. `None` if it was not recorded.
    #[serde(default)]
    pub final_observation: Option<Content>,
    /// Kind of the end; `None` for an episode whose recording was cut off.
    pub end: Option<End>,
    /// Reason of the end, in one word, such as `goal` or `limit`; `cut` if the recording was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// Id of the policy that acted, such as `random` or a run's name.
    #[serde(default)]
    pub policy_id: String,
    /// Number of updates of that policy so far.
    #[serde(default)]
    pub policy_step: u64,
    /// The fingerprint of the tokenizer that `action_ids` and `prompt_ids` belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_hash: Option<String>,
    /// The sampling temperature, by which the policy's logits were divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// The probability mass of nucleus (top-p) sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Source of the rewards: `rules`, `model` or `human`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_source: Option<String>,
    /// The person who gave the rewards, if the source is a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rater_id: Option<String>,
}

impl Turn {
    /// Adds named parts to the reward. The reward so far becomes the part [`RULES`], unless it is 0 or has parts.
    pub fn add_rewards(&mut self, parts: impl IntoIterator<Item = (String, f32)>) {
        if self.reward_parts.is_empty() && self.reward != 0.0 {
            self.reward_parts.insert(RULES.to_string(), self.reward);
        }
        let mut total = 0.0; // in f64, so that the order of the parts does not matter
        for (name, part) in parts {
            total += f64::from(part);
            *self.reward_parts.entry(name).or_default() += part;
        }
        self.reward += total as f32;
    }

    /// Returns the reward of the turn from the environment's rules: the part of that name, or the whole reward if it
    /// has no parts.
    pub fn by_rules(&self) -> f32 {
        match self.reward_parts.is_empty() {
            true => self.reward,
            false => self.reward_parts.get(RULES).copied().unwrap_or(0.0),
        }
    }
}

impl Episode {
    /// Returns the episode return: the undiscounted sum of rewards.
    pub fn total_reward(&self) -> f64 {
        // Summed in f64, because long episodes of small rewards lose digits in f32.
        self.turns.iter().map(|turn| f64::from(turn.reward)).sum::<f64>() + 0.0 // the sum of nothing is -0
    }
}
