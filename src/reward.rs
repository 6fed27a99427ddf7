//! Kinds of rewards that need more than rules: what people say of answers.
//!
//! Knows label stores and files of judgements; knows nothing of learners, run files or training.

mod labels;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use palestra_envs::Registry;

/// A registry with these kinds of rewards too. A reward that waits for people ends its waiting when `stop` is set.
pub fn with_kinds(registry: &Registry, stop: Arc<AtomicBool>) -> Registry {
    registry.clone().with_reward("labels", move |options| labels::build(options, &stop))
}
