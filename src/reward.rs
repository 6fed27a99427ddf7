//! Kinds of rewards beyond rules: labels that people give to answers, reward models trained on them, and language models
//! that judge.
//!
//! Knows label stores, files of preferences, reward models and servers of language models. Knows nothing of learners, run files or training.

mod judge;
mod labels;
mod model;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use palestra_envs::{Registry, RewardDefinition};
use palestra_model::Device;

/// Kinds that models or people score by, which a policy may learn to deceive.
const LEARNED: [&str; 3] = [JUDGE, LABELS, MODEL];
const JUDGE: &str = "judge";
const LABELS: &str = "labels";
const MODEL: &str = "model";

/// True if a reward is of a model, a judge or people, and not of rules.
pub fn is_learned(reward: &RewardDefinition) -> bool {
    LEARNED.contains(&reward.kind.as_str())
}

/// Returns the registry with these kinds of rewards added. Reward models are computed on `device`. A reward that waits
/// for people stops waiting when `stop` is set.
pub fn with_kinds(registry: &Registry, device: &Device, stop: Arc<AtomicBool>) -> Registry {
    let stopped = Arc::clone(&stop);
    with_models(registry, device)
        .with_reward(JUDGE, move |options| judge::build(options, &stopped))
        .with_reward(LABELS, move |options| labels::build(options, &stop))
}

/// Returns the registry with rewards by models added, computed on `device`.
pub fn with_models(registry: &Registry, device: &Device) -> Registry {
    let device = device.clone();
    registry.clone().with_reward(MODEL, move |options| model::build(options, &device))
}
