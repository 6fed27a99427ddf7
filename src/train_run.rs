//! Training run, from its file to its directory. The only place that puts all the parts together.

mod baselines;
mod best;
mod data_files;
mod directory;
mod episodes;
mod guard;
mod held_out;
mod mirror;
mod open;
mod parts;
mod plan;
mod preferences;
mod ranks;
mod recorder;
mod reference;
mod report;
mod scores;
mod training;

use std::path::{Path, PathBuf};

use palestra_envs::Registry;
use palestra_learn::collective::{Alone, Collective};
use palestra_model::quantize::Quantization;
use palestra_report::Display;

use crate::Result;
use crate::agent::{Agent, Evaluation};
use crate::config::RunFile;
use directory::Directory;
use held_out::HeldOut;
use open::{OpenRun, open_run};
use parts::Parts;
pub use plan::{Hardware, RunPlan, dry_run, plan_run, rows_of_run};
pub use report::{HeldOutScores, LogSummary, PreferenceScores, TrainReport};
use training::Training;

/// Output of a run, and its display.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Directory to write; if absent, `runs/<name>`.
    pub out: Option<PathBuf>,
    /// True to write the first free one of `runs/<name>-2`, `runs/<name>-3`, ... if `runs/<name>` holds a run.
    pub again: bool,
    /// True to resume from the directory's last checkpoint.
    pub resume: bool,
    /// Checkpoint to resume from instead of the last one: a path, or its name in the directory's checkpoints. Later ones
    /// are set aside.
    pub resume_from: Option<PathBuf>,
    /// True to resume although the data is not as it was when the run began.
    pub accept_changed_data: bool,
    /// Display of progress.
    pub display: Display,
    /// True to show a game of the finished agent on standard error.
    pub replay: bool,
}

impl TrainOptions {
    /// Directory of a run that goes on.
    fn directory(&self, run: &RunFile) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(&run.name))
    }

    /// True if the run is the continuation of an earlier one.
    fn resumes(&self) -> bool {
        self.resume || self.resume_from.is_some()
    }
}

/// Trains a model as a run file describes.
///
/// # Errors
/// An environment, log, device or directory that cannot be used, before anything is written; any error of training.
/// [`Error::Interrupted`](crate::Error::Interrupted) if a person stopped the run; everything is then saved.
pub fn train_run(run: RunFile, registry: &Registry, options: TrainOptions) -> Result<TrainReport> {
    let report = train_on_ranks(run, registry, options, &Alone, &mut |_| Ok(()))?;
    Ok(report.expect("the only rank reports"))
}

/// As [`train_run`], on this rank of several that call it together. Rank 0 shows, writes and returns the report. Each other rank
/// returns `None`, and gives `log_to` the path of its log in the run's directory.
///
/// # Errors
/// As [`train_run`]; a rank that takes no part, or has another run file or other data.
pub fn train_on_ranks(
    run: RunFile,
    registry: &Registry,
    options: TrainOptions,
    collective: &dyn Collective,
    log_to: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Option<TrainReport>> {
    mirror::restore(&run, &options, collective)?;
    let OpenRun { agent, parts, logged, registry, stop, device } = open_run(run, registry, &options, collective)?;
    let batches_on = device.clone().autodiff();
    let directory = if collective.rank() == 0 {
        let directory = Directory::open(&agent, &options)?;
        directory.tell(collective)?;
        directory
    } else {
        let directory = Directory::follow(collective)?;
        log_to(&directory.dir.rank_log(collective.rank()))?;
        directory
    };
    let training = Training { agent, logged, directory, registry: &registry, stop, device, options, collective };
    match parts {
        Parts::Play(learner, source) => training.train(learner, source, None),
        Parts::Log(learner, source) => training.train(learner, source, None),
        Parts::Text(learner, source, held_out) => training.train(learner, source, Some(HeldOut::Text(held_out))),
        Parts::Preferences(data) => {
            let (agent, dir) = (&training.agent, &training.directory.dir);
            let (learner, source, held_out) = data.into_parts(agent, dir, &batches_on, collective)?;
            training.train(learner, source, Some(HeldOut::Preferences(held_out)))
        }
    }
}

/// Evaluates the last checkpoint of a run, with its matrices in this form. `overrides` are applied to its run file; if
/// `episodes` is absent, the run's number is used.
///
/// # Errors
/// A directory that is not a run, or a device that this program or machine does not have.
pub fn evaluate_run(
    run_dir: &Path,
    registry: &Registry,
    episodes: Option<u64>,
    seed: u64,
    overrides: &[impl AsRef<str>],
    quantization: Quantization,
) -> Result<Evaluation> {
    let agent = Agent::load(run_dir, registry, overrides)?;
    let episodes = episodes.unwrap_or(agent.spec.run.evaluation.episodes as u64);
    let policy = agent.policy.quantized(quantization).with_quantized_output(quantization);
    Ok(agent.spec.evaluate(&policy, registry, episodes, seed, &Alone)?.0)
}
