use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use palestra_envs::Registry;

use super::logs;
use super::output::Output;
use crate::config::RunFile;
use crate::recipes::{RECIPES, recipe};
use crate::train_run::{TrainOptions, dry_run, train_on_ranks};
use crate::{Error, Result};
use palestra_learn::collective::{Collective, join};
use palestra_learn::learners::{LEARNERS, LearnerKind};
use palestra_report::Display;

/// Train a model as a TOML file describes
///
/// The file names the run, its environment, and what differs from the defaults in the sections [model], [rollout],
/// [optimizer], [train], [evaluation] and that of its learner. The whole file is checked before anything is written.
///
/// Writes one directory, runs/<name> or that of --out: the resolved run file, checkpoints in Hugging Face's layout,
/// metrics, plots, sample episodes and, with rollout.record = true, a log of all rollouts. If interrupted (Ctrl-C, or its
/// terminal is closed), it saves a checkpoint first. --resume continues from the last checkpoint, to the same bits as a
/// run that was not stopped. It is refused if no checkpoint is whole, or if the data is not as it was.
///
/// mpirun -n 2 palestra train RUN.toml trains one model on two processes (docs/cluster.md).
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = examples_and_learners())]
pub struct Args {
    /// Run file to train from, or the name of a recipe inside the program: frozen-lake-ppo, snake-ppo, tic-tac-toe-ppo
    #[arg(value_name = "RUN.toml")]
    file: PathBuf,
    /// Directory to write [default: runs/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: the file's `device`]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Train anew beside an earlier run: in the first free one of runs/<name>-2, runs/<name>-3, ...
    #[arg(long, conflicts_with_all = ["out", "resume", "resume_from"])]
    again: bool,
    /// Continue from the last checkpoint of the directory
    #[arg(long)]
    resume: bool,
    /// Continue from this checkpoint of the directory, such as step-00000100, and set later ones aside
    #[arg(long, value_name = "CHECKPOINT")]
    resume_from: Option<PathBuf>,
    /// Read and check everything, print the plan, and write nothing
    #[arg(long, conflicts_with_all = ["resume", "resume_from", "again", "accept_changed_data"])]
    dry_run: bool,
    /// Continue although the files of data are not as they were when the run began
    #[arg(long)]
    accept_changed_data: bool,
    /// Key of the run file to change, such as ppo.epochs=2; can be repeated. A path is relative to the run file, as in it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  palestra train examples/recipes/frozen-lake-ppo.toml
  palestra train lake.toml --set ppo.epochs=2 --set optimizer.learning_rate=1e-3 --out runs/two-epochs
  palestra train lake.toml --dry-run
  palestra train lake.toml --device libtorch --resume

A small run file:
  name = \"lake\"
  [env]
  id = \"frozen-lake-4x4\"";

/// Text below the options of the command.
fn examples_and_learners() -> String {
    let line = |kind: &LearnerKind| format!("\n  {:<24}{}", format!("[{}]", kind.name), kind.summary);
    let learners: String = LEARNERS.iter().map(line).collect();
    format!("{EXAMPLES}\n\nLearners, by the section of the run file that names them:{learners}")
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut run = load(&args.file, &args.overrides)?;
    if let Some(device) = &args.device {
        run.device.clone_from(device);
    }
    let options = TrainOptions {
        out: args.out.clone(),
        again: args.again,
        resume: args.resume,
        resume_from: args.resume_from.clone(),
        accept_changed_data: args.accept_changed_data,
        display: if output.is_quiet() { Display::Quiet } else { Display::Auto },
        replay: !output.wants_json() && !output.is_quiet(),
    };
    if args.dry_run {
        let plan = dry_run(run, registry, &options)?;
        output.report(&plan, &plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let collective = join(Duration::from_secs_f64(run.train.deadline))?;
    if collective.rank() > 0 {
        logs::hold();
    }
    match train_on_ranks(run, registry, options, &*collective, &mut logs::write_to) {
        Ok(Some(report)) => output.report(&report, &report).map(|()| ExitCode::SUCCESS),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(error) if collective.size() > 1 && !matches!(error, Error::Interrupted(_)) => {
            logs::release();
            super::fail(&named(error, &*collective), output.wants_json());
            // The other ranks would wait for this one.
            collective.abort();
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}

/// Error with the name of this rank, if it names no rank itself.
fn named(error: Error, collective: &dyn Collective) -> Error {
    let told = error.to_string();
    match (0..collective.size()).any(|rank| told.starts_with(&collective.name(rank))) {
        true => error,
        false => Error::Training(format!("{}: {told}", collective.name(collective.rank()))),
    }
}

/// Reads a run file, or a recipe inside the program if there is no file of that name.
fn load(file: &Path, overrides: &[String]) -> Result<RunFile> {
    let is_name = file.extension().is_none() && !file.exists();
    let Some(name) = file.to_str().filter(|_| is_name) else { return RunFile::load(file, overrides) };
    let text = recipe(name).ok_or_else(|| {
        let names = RECIPES.map(|(name, _)| name).join("`, `");
        Error::Config(format!("{name}: there is no such file or recipe; inside the program there are `{names}`"))
    })?;
    RunFile::from_toml(&format!("{name}.toml"), text, overrides)
}
