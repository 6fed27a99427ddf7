//! Episodes of an agent that a run shows: in its directory, on its page, as pictures.

use palestra_envs::{Episode, Registry};
use palestra_files::write_atomically;
use palestra_learn::rollout::RolloutResult;

use crate::Result;
use crate::agent::{Agent, AgentSpec};
use crate::run_dir::RunDir;

/// Number of episodes on the report page.
pub(super) const SHOWN: usize = 5;

/// First episodes of an agent, with its name, and without timestamps.
pub(super) fn samples(played: Vec<RolloutResult>, agent: &AgentSpec, count: usize) -> Vec<Episode> {
    let sample = |played: RolloutResult| {
        let mut episode = played.episode;
        episode.turns.iter_mut().for_each(|turn| turn.timestamp = None);
        Episode { policy_id: agent.run.name.clone(), policy_step: agent.updates, ..episode }
    };
    played.into_iter().take(count).map(sample).collect()
}

/// Writes sample episodes to a run's directory.
pub(super) fn write<'a>(dir: &RunDir, episodes: impl IntoIterator<Item = &'a Episode>) -> Result<()> {
    let line = |episode| serde_json::to_string(episode).expect("an episode has string keys") + "\n";
    let lines: String = episodes.into_iter().map(line).collect();
    Ok(write_atomically(&dir.episodes(), lines.as_bytes())?)
}

/// Pictures of one game of the agent; none without an environment.
pub(super) fn frames(Agent { spec, policy }: &Agent, registry: &Registry) -> Result<Vec<String>> {
    let mut frames = Vec::new();
    if spec.run.env.is_some() {
        spec.watch(policy, registry, spec.run.seed, 1, &mut |_, _, env| {
            frames.push(env.render());
            Ok(())
        })?;
    }
    Ok(frames)
}
