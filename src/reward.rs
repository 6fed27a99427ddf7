//! Kinds of rewards that need more than rules: what people say of answers, and what a model has learned of that.
//!
//! Knows label stores, files of judgements and reward models; knows nothing of learners, run files or training.

mod labels;
mod model;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use palestra_model::Device;
use palestra_envs::Registry;

/// A registry with these kinds of rewards too, those by models computed on a device. A reward that waits for people ends
/// its waiting when `stop` is set.
pub fn with_kinds(registry: &Registry, device: &Device, stop: Arc<AtomicBool>) -> Registry {
    with_models(registry, device).with_reward("labels", move |options| labels::build(options, &stop))
}

/// A registry whose rewards by models are computed on a device.
pub fn with_models(registry: &Registry, device: &Device) -> Registry {
    let device = device.clone();
    registry.clone().with_reward("model", move |options| model::build(options, &device))
}
