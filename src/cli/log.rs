//! `palestra log`: one file per subcommand.

mod check;
mod import;
mod repair;
mod show;
mod stats;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use palestra_datasets::log::{Log, Skipped};
use palestra_envs::Registry;

use super::destination::{OverwriteArgs, named};
use super::output::Output;
use crate::{Error, Result};

/// Check, summarise, show and import logs of experience
///
/// A log is any number of Parquet files with one row per turn. Wherever files are asked for, a folder stands for all
/// *.parquet below it, and a quoted pattern such as 'logs/*.parquet' for the files that match it. `palestra rollout`
/// records logs, and a training run keeps its own rollouts with rollout.record = true.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
#[command(after_help = "`palestra log <command> --help` explains a command, with an example and what it writes.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Stats(stats::Args),
    Show(show::Args),
    Import(import::Args),
    Repair(repair::Args),
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check::run(args, registry, output),
        Command::Stats(args) => stats::run(args, output),
        Command::Show(args) => show::run(args, output),
        Command::Import(args) => import::run(args, output),
        Command::Repair(args) => repair::run(args, output),
    }
}

/// Warns of the parts of a log that were skipped, with the reasons.
fn warn_of_skipped(log: &Log) {
    let skipped = log.skipped();
    let total = skipped.total();
    let Skipped { files, row_groups, episodes, reasons } = skipped;
    if total > 0 {
        tracing::warn!("passed over: {files} files, {row_groups} row groups, {episodes} episodes");
        reasons.iter().for_each(|reason| tracing::warn!("{reason}"));
        if reasons.len() < total {
            tracing::warn!("... and {} more", total - reasons.len());
        }
    }
}

/// Refuses a name for a new log that would not be found in its folder.
pub fn check_name(out: &Path) -> Result<()> {
    match out.extension().is_some_and(|ending| ending == "parquet") {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "--out {}: a log's name ends in .parquet, by which it is found in its folder",
            out.display()
        ))),
    }
}
