//! One episode, as the experience log has it: a row for each turn of the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// The log-probability of each token of `action_ids` under the policy that sampled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_probs: Option<Vec<f32>>,
}

/// One game or conversation from its reset to its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Unique in its log.
    pub id: String,
    /// The environment's id with its version, such as `snake-6x6-v1`.
    pub env_id: String,
    /// The seed that the environment was reset with.
    pub seed: u64,
    /// The turns, in order.
    pub turns: Vec<Turn>,
    /// The observation after the last action: what a truncated episode bootstraps from.
    pub final_observation: String,
    /// How it ended; `None` for an episode that was cut off while it ran.
    pub end: Option<End>,
    /// Which policy acted, such as `random` or a run's name.
    #[serde(default)]
    pub policy_id: String,
    /// How many updates that policy had seen.
    #[serde(default)]
    pub policy_step: u64,
}

impl Episode {
    /// The undiscounted sum of rewards.
    pub fn total_reward(&self) -> f32 {
        self.turns.iter().map(|turn| turn.reward).sum()
    }
}
