//! A run from its file to its directory, and back from the directory to a player: what the commands call.

use std::fmt;
use std::path::{Path, PathBuf};

use palestra_envs::baseline::Baseline;
use palestra_envs::{Observation, Registry};
use serde::Serialize;

use crate::config::RunFile;
use crate::ops::open_device;
use crate::{Error, Result};

/// What a training run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// The directory that was written.
    pub run_dir: PathBuf,
    /// Updates done, those before a resumption included.
    pub updates: u64,
    /// How the finished model plays.
    pub evaluation: Evaluation,
}

/// How a model plays.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The environment's id.
    pub env_id: String,
    /// What it scored; `policy` is the run's name.
    #[serde(flatten)]
    pub score: Baseline,
    /// The mean return of the best policy, where it is known.
    pub optimal_return: Option<f64>,
}

/// Trains as a run file says, into `out` or else `runs/<name>`.
///
/// # Errors
/// An environment, device or directory that cannot be used, before anything is written; whatever stops training.
pub fn train(run: RunFile, registry: &Registry, out: Option<&Path>, resume: bool) -> Result<TrainReport> {
    let run = run.resolve(registry)?;
    let env = registry.build(&run.env)?;
    let _device = open_device(&run.device).map_err(Error::Device)?;
    let _ = (env, out, resume);
    Err(Error::Training(format!("{}: training is not connected to the command line", run.name)))
}

/// Plays episodes with the last checkpoint of a run; `episodes` and `device` are the run's where absent.
///
/// # Errors
/// A directory that is no run's, or a device that this program or machine does not have.
pub fn evaluate(
    run_dir: &Path,
    _registry: &Registry,
    _episodes: Option<u64>,
    _seed: u64,
    device: Option<&str>,
) -> Result<Evaluation> {
    let file = run_dir.join("run.toml");
    let run = RunFile::load(&file, &[] as &[&str])?;
    let _device = open_device(device.unwrap_or(&run.device)).map_err(Error::Device)?;
    Err(Error::Training(format!("{}: evaluation is not connected to the command line", run.name)))
}

/// The model of a run's last checkpoint as a player: from what it reads to what it writes.
///
/// # Errors
/// A directory that is no run's.
pub fn player(
    run_dir: &Path,
    _registry: &Registry,
    _seed: u64,
) -> Result<Box<dyn FnMut(&Observation) -> Result<String>>> {
    let run = RunFile::load(&run_dir.join("run.toml"), &[] as &[&str])?;
    Err(Error::Training(format!("{}: playing is not connected to the command line", run.name)))
}

impl fmt::Display for TrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} updates\n{}", self.run_dir.display(), self.updates, self.evaluation)
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Baseline { policy, episodes, mean_return, standard_error, mean_turns, invalid_action_rate } = &self.score;
        write!(f, "{}: {policy} has a mean return of {mean_return:.4} +- {standard_error:.4}", self.env_id)?;
        if let Some(optimum) = self.optimal_return {
            write!(f, " (optimum {optimum:.4})")?;
        }
        write!(f, " over {episodes} episodes; {mean_turns:.1} turns each, ")?;
        write!(f, "{:.1} % invalid actions", 100.0 * invalid_action_rate)
    }
}
