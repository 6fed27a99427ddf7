use std::path::Path;

use palestra_envs::{Definition, Registry, RewardDefinition};

use crate::agent::Agent;
use crate::{Error, Result};
use palestra_model::ops::set_threads;

/// Loads the last checkpoint of a run, with as many threads as the run had.
///
/// # Errors
/// As [`Agent::load`].
pub fn load(folder: &Path, registry: &Registry, overrides: &[impl AsRef<str>]) -> Result<Agent> {
    let agent = Agent::load(folder, registry, overrides)?;
    agent.spec.run.train.threads.into_iter().for_each(set_threads); // another number gives other roundings
    Ok(agent)
}

/// Loads the last checkpoint of a run for the environment that was asked for. If that is the environment of the
/// training, it has the training's options, such as how states are shown; wrappers are as asked.
///
/// # Errors
/// A directory that is not a run, or an environment of another kind than the model was trained in.
pub fn trained(folder: &str, env: &str, registry: &Registry, overrides: &[impl AsRef<str>]) -> Result<Agent> {
    let mut agent = load(Path::new(folder), registry, overrides)?;
    let rewards: Vec<RewardDefinition> = agent.spec.run.all_rewards().cloned().collect();
    let asked = registry.definition(env)?;
    let id = |definition: &Definition| registry.build(definition).map(|env| env.spec().id.clone());
    agent.spec.run.env = Some(match agent.spec.run.env.take() {
        Some(own) if asked.kind != own.kind => {
            let trained = id(&own)?;
            return Err(Error::Config(format!("--policy {folder}: it was trained to play {trained}, not {env}")));
        }
        Some(own) if id(&asked)? == id(&own)? => Definition { wrappers: asked.wrappers, ..own },
        _ => {
            (agent.spec.run.evaluation.file, agent.spec.run.evaluation.held_out) = (None, 0.0);
            asked
        }
    });
    if !agent.spec.run.all_rewards().eq(&rewards) {
        agent.spec.rewards = registry.rewards(agent.spec.run.all_rewards())?;
    }
    Ok(agent)
}
