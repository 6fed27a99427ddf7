use std::path::Path;

use palestra_envs::{Definition, Registry};

use crate::agent::Agent;
use crate::{Error, Result};

/// The last model of a run, seated in the environment that was asked for: what its definition leaves open is as the
/// model was trained, such as how states are shown.
///
/// # Errors
/// A directory that is no run's, or an environment of another kind than the model was trained in.
pub fn trained(folder: &str, env: &str, registry: &Registry, overrides: &[impl AsRef<str>]) -> Result<Agent> {
    let mut agent = Agent::load(Path::new(folder), registry, overrides)?;
    let mut asked = registry.definition(env)?;
    if let Some(own) = &agent.run.env {
        if asked.kind != own.kind {
            let trained = registry.build(own)?.spec().id.clone();
            return Err(Error::Config(format!("--policy {folder}: it was trained to play {trained}, not {env}")));
        }
        fill(&mut asked, own);
    }
    agent.run.env = Some(asked);
    Ok(agent)
}

fn fill(asked: &mut Definition, own: &Definition) {
    for (option, value) in own.options.table() {
        if !asked.options.table().contains_key(option) {
            asked.options.set(option, value.clone());
        }
    }
}
