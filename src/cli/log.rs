//! `palestra log`: one file a subcommand.

mod check;
mod import;
mod repair;
mod show;
mod stats;

use std::process::ExitCode;

use clap::Subcommand;
use palestra_datasets::log::{Log, Skipped};
use palestra_envs::Registry;

use super::output::Output;
use crate::Result;

/// Check, sum up, read and import logs of experience
///
/// A log is any number of Parquet files with a row for each turn. Wherever files are asked for, a folder stands for all
/// *.parquet below it, and a quoted pattern such as 'logs/*.parquet' for what it matches. `palestra rollout` records
/// logs, and a training run keeps its own play with rollout.record = true.
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

/// Tells what was passed over, and why, in the log of the command.
fn warn_of_skipped(log: &Log) {
    let Skipped { files, row_groups, episodes, reasons } = log.skipped();
    let total = files + row_groups + episodes;
    if total > 0 {
        tracing::warn!("passed over: {files} files, {row_groups} row groups, {episodes} episodes");
        reasons.iter().for_each(|reason| tracing::warn!("{reason}"));
        if reasons.len() < total {
            tracing::warn!("... and {} more", total - reasons.len());
        }
    }
}
