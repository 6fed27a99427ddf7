//! One episode, as the experience log has it: a row for each turn of the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The source of rewards that an environment's own rules give, and the name of their part where there are others.
pub const RULES: &str = "rules";

/// How an episode ended. The two are never merged: a terminated state has no future, so nothing is
/// bootstrapped from it; a truncated one was cut off while the game could have gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The game reached its end by its own rules.
    Terminated,
    /// A limit (of turns, of text) stopped the game.
    Truncated,
}

/// One turn: what the agent saw, what it wrote, and the reward that this earned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The text that the agent answered.
    pub observation: String,
    /// The text that the agent wrote.
    pub action: String,
    /// The reward of this turn, all parts summed.
    pub reward: f32,
    /// The named parts of the reward; empty where the environment's rules are the only one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_parts: BTreeMap<String, f32>,
    /// The actions that were allowed, where the environment says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_actions: Option<Vec<String>>,
    /// Whether the environment could not read the action.
    #[serde(default)]
    pub invalid_action: bool,
    /// The token ids that the action was sampled as: the truth for a policy with the same tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_ids: Option<Vec<u32>>,
    /// The token ids that the model read before it wrote, where they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_ids: Option<Vec<u32>>,
    /// The log-probability of each token of `action_ids` under the policy that sampled it; of the action as a whole,
    /// one number, where the policy chose without tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_probs: Option<Vec<f32>>,
    /// Facts for people that the agent did not see, as a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// When the action was taken, in microseconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

/// One game or conversation from its reset to its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Unique in its log.
    pub id: String,
    /// The environment's id with its version, such as `snake-6x6-v1`; empty where it is not known.
    #[serde(default)]
    pub env_id: String,
    /// The environment's definition as JSON, from which it can be built again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_spec: Option<String>,
    /// The seed that the environment was reset with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The part of the data that it belongs to, such as `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The turns, in order.
    pub turns: Vec<Turn>,
    /// The observation after the last action: what a truncated episode bootstraps from. `None` where it was not kept.
    #[serde(default)]
    pub final_observation: Option<String>,
    /// How it ended; `None` for an episode that was cut off while it ran.
    pub end: Option<End>,
    /// Why it ended, in a word, such as `goal` or `limit`; `cut` where the recording was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// Which policy acted, such as `random` or a run's name.
    #[serde(default)]
    pub policy_id: String,
    /// How many updates that policy had seen.
    #[serde(default)]
    pub policy_step: u64,
    /// The fingerprint of the tokenizer that `action_ids` and `prompt_ids` belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_hash: Option<String>,
    /// What the policy's logits were divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// The probability mass that the policy sampled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Who gave the rewards: `rules`, `model` or `human`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_source: Option<String>,
    /// The person who did, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rater_id: Option<String>,
}

impl Turn {
    /// What of the reward the environment's rules gave: the part of that name, or all of a reward without parts.
    pub fn by_rules(&self) -> f32 {
        match self.reward_parts.is_empty() {
            true => self.reward,
            false => self.reward_parts.get(RULES).copied().unwrap_or(0.0),
        }
    }
}

impl Episode {
    /// The undiscounted sum of rewards.
    pub fn total_reward(&self) -> f64 {
        // In f64: long episodes of small rewards lose digits in f32.
        self.turns.iter().map(|turn| f64::from(turn.reward)).sum()
    }
}
