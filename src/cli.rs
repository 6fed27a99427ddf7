//! The command line: one file per command.
//!
//! Commands parse arguments, call the library and print. Results go to standard output, as one JSON object with
//! `--json`; logs and errors go to standard error. Nothing here knows tensors.

mod bench;
mod check;
mod compare;
mod corpus;
mod destination;
mod envs;
mod estimate;
mod eval;
mod evaluate;
mod export;
mod generate;
mod keys;
mod label;
mod log;
mod logs;
mod merge;
mod new;
mod output;
mod plan;
mod play;
mod policy;
mod rollout;
mod rows;
mod score;
mod serve;
mod tokenizer;
mod train;
mod writing;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgAction, Parser, Subcommand};
use palestra_envs::Registry;
use palestra_model::Device;

use crate::reward::with_kinds;
use crate::{Error, Result};
use output::{Output, is_broken_pipe};

/// Trains language models and text-playing agents by reinforcement learning.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object to standard output, and nothing else there
    #[arg(long, global = true)]
    json: bool,

    /// Log more to standard error; repeat to log everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log only warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

const FIRST_STEPS: &str = "\
First steps:
  palestra envs                         what can be played
  palestra play frozen-lake-4x4         play it yourself
  palestra train snake-ppo              train a model on a recipe inside the program
  palestra evaluate runs/snake-ppo      evaluate it
  palestra rollout snake-6x6 --policy runs/snake-ppo --episodes 100 --out logs/snake.parquet

`palestra <command> --help` explains a command, with an example and what it writes.";

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    Envs(envs::Args),
    Check(check::Args),
    Play(play::Args),
    Serve(serve::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Compare(compare::Args),
    Rollout(rollout::Args),
    Log(log::Args),
    Estimate(estimate::Args),
    Corpus(corpus::Args),
    Generate(generate::Args),
    Merge(merge::Args),
    Export(export::Args),
    Tokenizer(tokenizer::Args),
    Plan(plan::Args),
    Bench(bench::Args),
    Keys(keys::KeysArgs),
    Metrics(keys::MetricsArgs),
    Rows(rows::Args),
    Eval(eval::Args),
    Score(score::Args),
    Label(Box<label::Args>),
}

/// Runs the command that the program was called with, over the environments of a registry.
///
/// Exit codes: 0 done; 1 failed, or an environment was found wrong; 2 the command line was wrong; 130 stopped by
/// Ctrl-C, with everything saved.
pub fn main(registry: Registry) -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // If even this cannot be printed, the exit code still says it.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    logs::start(line.quiet, line.verbose);
    palestra_datasets::log::silence_caught_panics();
    // Without a run, reward models are computed on this device; a run computes them on its own device.
    let registry = with_kinds(&registry, &Device::flex(), Arc::default());
    let mut output = Output::new(line.json, line.quiet);
    match run(&line.command, &registry, &mut output).and_then(|code| output.finish().map(|()| code)) {
        Ok(code) => code,
        // The reader of the output, such as `head`, has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error, line.json),
    }
}

fn run(command: &Command, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    match command {
        Command::New(args) => new::run(args, output),
        Command::Envs(args) => envs::run(args, registry, output),
        Command::Check(args) => check::run(args, registry, output),
        Command::Play(args) => play::run(args, registry, output),
        Command::Serve(args) => serve::run(args, registry),
        Command::Train(args) => train::run(args, registry, output),
        Command::Evaluate(args) => evaluate::run(args, registry, output),
        Command::Compare(args) => compare::run(args, output),
        Command::Rollout(args) => rollout::run(args, registry, output),
        Command::Log(args) => log::run(args, registry, output),
        Command::Estimate(args) => estimate::run(args, registry, output),
        Command::Corpus(args) => corpus::run(args, output),
        Command::Generate(args) => generate::run(args, output),
        Command::Merge(args) => merge::run(args, output),
        Command::Export(args) => export::run(args, output),
        Command::Tokenizer(args) => tokenizer::run(args, output),
        Command::Plan(args) => plan::run(args, registry, output),
        Command::Bench(args) => bench::run(args, output),
        Command::Keys(args) => keys::keys(args, output),
        Command::Metrics(args) => keys::metrics(args, output),
        Command::Rows(args) => rows::run(args, registry, output),
        Command::Eval(args) => eval::run(args, output),
        Command::Score(args) => score::run(args, output),
        Command::Label(args) => label::run(args, output),
    }
}

/// Tells an error on standard error, as a line or, with `--json`, as one object.
fn fail(error: &Error, json: bool) -> ExitCode {
    let is_interrupted = matches!(error, Error::Interrupted(_));
    let told = match (json, is_interrupted) {
        (true, _) => serde_json::json!({ "error": error.to_string(), "interrupted": is_interrupted }).to_string(),
        (false, true) => error.to_string(), // it says how to go on
        (false, false) => format!("error: {error}"),
    };
    let _ = writeln!(std::io::stderr(), "{told}");
    // 130 is what shells give a program that Ctrl-C ended.
    if is_interrupted { ExitCode::from(130) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::CommandLine::command().debug_assert();
    }
}
