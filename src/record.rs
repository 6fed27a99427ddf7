//! Recording: episodes of any policy, written to an experience log while they are played.
//!
//! It knows policies, agents and logs. It knows nothing of learning.

mod recording;
mod spans;
pub mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palestra_envs::policies::BaselinePolicy;
use palestra_envs::reward::RewardSummary;
use palestra_envs::{Definition, Env, Episode, Registry, record as play};
use serde::Serialize;

use crate::agent::{Agent, AgentSpec};
use crate::{Error, Result};
use palestra_learn::rollout::{RolloutConfig, RolloutEvent, RolloutResult, now};
use palestra_model::math::Sampling;
use recording::Recording;
pub use spans::Spans;

/// Policy to record, and the environment it plays in.
pub enum Recorded {
    /// A policy without a model.
    Baseline {
        /// Chooses the actions.
        policy: Box<dyn BaselinePolicy>,
        /// Environment that it plays in.
        env: Definition,
    },
    /// A trained policy, in the environment of its run.
    Agent {
        /// The policy with its tokenizer.
        agent: Box<Agent>,
        /// Sampling of its tokens.
        sampling: Sampling,
        /// Probability that a turn's action is a random legal one instead of the policy's own.
        epsilon: f64,
    },
}

/// Options of a recording.
#[derive(Debug, Clone, Default)]
pub struct RecordOptions {
    /// Number of episodes, at least 1: those numbered from 0 of the run with this seed.
    pub episodes: u64,
    /// Seed that fixes the episodes, for a given policy and environment.
    pub seed: u64,
    /// Split of the data that the episodes belong to, such as `train`.
    pub split: Option<String>,
    /// True if an existing log is replaced, and what a killed recording left is discarded.
    pub overwrite: bool,
    /// True if a killed recording goes on: its episodes are kept, and the others are played.
    pub resume: bool,
    /// Time after which the episodes that have ended are put on the disk. A kill loses no more than those since then.
    /// Absent, that happens with each full row group alone.
    pub flush_every: Option<Duration>,
}

/// Stop flag and callback of a recording.
pub struct Watch<'a> {
    /// Flag that ends the recording. Once set, the log is finished with the episodes that are complete by then.
    pub stop: &'a AtomicBool,
    /// Callback for every episode that ended.
    pub ended: &'a dyn Fn(),
}

/// Report of a recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordReport {
    /// Path of the log.
    pub file: PathBuf,
    /// Id of the environment.
    pub env_id: String,
    /// Name of the policy in the log.
    pub policy_id: String,
    /// Number of updates that the policy had learned from.
    pub policy_step: u64,
    /// Number of episodes in the log; fewer than were asked for if a person stopped the recording.
    pub episodes: u64,
    /// Number of turns in the log, which are its rows.
    pub rows: u64,
    /// Mean undiscounted return of the episodes.
    pub mean_return: f64,
    /// The standard error of `mean_return`.
    pub standard_error: f64,
    /// Share of all actions that the environment could not read or forbade.
    pub invalid_action_rate: f64,
    /// Summary of each reward, before its weight, over the episodes that were played and not taken over.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, RewardSummary>,
    /// Number of episodes that lack a reward, and so are not in the log.
    pub unscored: u64,
    /// Number of episodes that the environment's program failed, and so are not in the log, by the kind of failure.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, usize>,
    /// Size of the log, in bytes.
    pub bytes: u64,
    /// Seconds of playing and writing.
    pub seconds: f64,
    /// Turns played and written per second.
    pub turns_per_second: f64,
}

/// Origin of logged episodes: what a log says of the policy that the episodes do not say themselves.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// The environment's definition, as JSON.
    pub env_spec: Option<String>,
    /// Name of the policy in the log.
    pub policy_id: String,
    /// Number of updates that the policy has learned from.
    pub policy_step: u64,
    /// Fingerprint of its tokenizer, if token ids are kept.
    pub tokenizer_hash: Option<String>,
    /// Sampling temperature, which divides the logits; 0 if the policy takes the likeliest token.
    pub temperature: Option<f32>,
}

impl Provenance {
    /// Provenance of an agent in its run's environment. Its name in the log contains the sampling.
    pub fn of(agent: &AgentSpec, sampling: &Sampling) -> Self {
        let spec = |env| serde_json::to_string(env).expect("a definition has no maps with keys that are no text");
        Self {
            env_spec: agent.run.env.as_ref().map(spec),
            policy_id: match sampling.temperature {
                0.0 => format!("{} greedy", agent.run.name),
                1.0 => agent.run.name.clone(),
                temperature => format!("{} T={temperature}", agent.run.name),
            },
            policy_step: agent.updates,
            tokenizer_hash: Some(agent.tokenizer.fingerprint().to_string()),
            temperature: Some(sampling.temperature),
        }
    }

    /// Writes the provenance to an episode of a rollout. The episode's id then names the environment and the policy.
    pub fn label(&self, episode: Episode) -> Episode {
        let Self { env_spec, policy_id, policy_step, tokenizer_hash, temperature } = self.clone();
        let id = format!("{}/{policy_id}@{policy_step}/{}", episode.env_id, episode.id);
        Episode { id, env_spec, policy_id, policy_step, tokenizer_hash, temperature, ..episode }
    }
}

/// Plays episodes and writes them to a new file, which gets its name when it is complete. Until then, and if the process is
/// killed, it is `<file>.partial`.
///
/// # Errors
/// A file that exists, or the part of one that a killed recording left, or an environment that this policy cannot play. If
/// playing fails later, the log has the episodes that were played before.
pub fn record(
    registry: &Registry,
    who: Recorded,
    options: &RecordOptions,
    file: &Path,
    watch: &Watch,
) -> Result<RecordReport> {
    let partial = partial_path(file);
    if !options.overwrite {
        refuse_existing(file, &partial, options.resume)?;
    }
    let mut recording = Recording::new(file, partial, options);
    if options.resume {
        recording.resume()?;
        (0..recording.kept()).for_each(|_| (watch.ended)());
    }
    let outcome = match who {
        Recorded::Baseline { mut policy, env } => play_simply(registry, &env, &mut *policy, &mut recording, watch),
        Recorded::Agent { agent, sampling, epsilon } => {
            play_agent(registry, &agent, sampling, epsilon, &mut recording, watch)
        }
    };
    let report = recording.finish();
    match outcome {
        Ok(()) | Err(Error::Interrupted(_)) => report,
        Err(error) => Err(error),
    }
}

/// Path of a log that is being recorded. Its name does not end as a log's does, so that nobody reads it as one.
fn partial_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".partial");
    path.into()
}

fn refuse_existing(file: &Path, partial: &Path, resumes: bool) -> Result<()> {
    if file.exists() {
        return Err(Error::Config(format!(
            "{}: there is a file already; name another, since several files in a folder are one log, or replace it with \
             --overwrite",
            file.display()
        )));
    }
    if partial.exists() && !resumes {
        return Err(Error::Config(format!(
            "{0}: a recording that was killed left it; go on with --resume, or discard it with --overwrite",
            partial.display()
        )));
    }
    Ok(())
}

fn play_simply(
    registry: &Registry,
    env: &Definition,
    policy: &mut dyn BaselinePolicy,
    recording: &mut Recording,
    watch: &Watch,
) -> Result<()> {
    let seed = recording.options.seed;
    let rewards = registry.rewards(&registry.resolve(env)?.rewards)?;
    for numbers in recording.missing() {
        for episode in play::record(registry, env, numbers, seed, policy)? {
            match episode {
                Ok(mut episode) => {
                    let taken = Some(now()); // just now
                    episode.turns.iter_mut().for_each(|turn| turn.timestamp = taken);
                    let scores = rewards.score(std::slice::from_mut(&mut episode))?.remove(0).scores;
                    recording.write(episode, &scores)?;
                    (watch.ended)();
                }
                Err(error) => match error.episode_failure() {
                    Some(kind) => recording.drop_episodes(kind.name(), 1),
                    None => return Err(error.into()),
                },
            }
            watch.check()?;
        }
    }
    Ok(())
}

fn play_agent(
    registry: &Registry,
    Agent { spec, policy }: &Agent,
    sampling: Sampling,
    epsilon: f64,
    recording: &mut Recording,
    watch: &Watch,
) -> Result<()> {
    let RecordOptions { episodes, seed, .. } = *recording.options;
    let config = RolloutConfig { record: true, missing_end_penalty: 0.0, ..spec.run.rollout.clone() };
    let mut rollout =
        spec.rollout_in(spec.env()?, config, registry, episodes.clamp(1, 256) as usize)?.exploring(epsilon);
    let mut provenance = Provenance::of(spec, &sampling);
    if epsilon > 0.0 {
        provenance.policy_id = format!("{}+{epsilon} random", provenance.policy_id);
        provenance.tokenizer_hash = None; // there are no token ids
    }
    let is_certain = epsilon == 0.0 && sampling.temperature <= 0.0;
    let missing = recording.missing();
    let mut take = |_: u64, played: RolloutResult| {
        let scores = played.scores;
        let mut episode = provenance.label(played.episode);
        if is_certain {
            // Rollouts give the log-probability of a greedy token under sampling. Here it was taken with certainty.
            let log_probs = episode.turns.iter_mut().flat_map(|turn| turn.log_probs.iter_mut().flatten());
            log_probs.for_each(|log_prob| *log_prob = 0.0);
        }
        recording.write(episode, &scores)?;
        (watch.ended)();
        Ok(())
    };
    let mut look = |_: u64, _: RolloutEvent, _: &dyn Env| watch.check();
    let mut dropped = Vec::new();
    for numbers in missing {
        let timings = rollout.play_each(policy, seed, numbers, &sampling, &mut look, &mut take)?;
        dropped.extend(timings.dropped);
    }
    dropped.iter().for_each(|(kind, count)| recording.drop_episodes(kind, *count));
    Ok(())
}

impl Watch<'_> {
    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted("stopped".to_string())) } else { Ok(()) }
    }
}

impl fmt::Display for RecordReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, env_id, policy_id, episodes, rows, mean_return, standard_error, .. } = self;
        write!(f, "{env_id}: {policy_id} has a mean return of {mean_return:.4} +- {standard_error:.4}")?;
        let turns = *rows as f64 / (*episodes).max(1) as f64;
        write!(f, " over {episodes} episodes; {turns:.1} turns each, ")?;
        writeln!(f, "{:.1} % invalid actions", 100.0 * self.invalid_action_rate)?;
        for (name, RewardSummary { mean, std, missing, .. }) in &self.rewards {
            writeln!(f, "reward {name}: {mean:.4}, standard deviation {std:.4}, {missing} missing")?;
        }
        for (kind, count) in &self.dropped {
            writeln!(f, "dropped: {count} episodes ({kind})")?;
        }
        write!(f, "{}: {rows} rows, {:.2} MB; ", file.display(), self.bytes as f64 / 1e6)?;
        write!(f, "{:.1} s, {:.0} turns a second", self.seconds, self.turns_per_second)
    }
}
