use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use palestra_datasets::check::{CheckOptions, CheckReport, check};
use palestra_datasets::log::{Log, ReadOptions};
use palestra_envs::Registry;
use serde::Serialize;

use super::Output;
use crate::Result;
use crate::record::verify::{Decoding, Replaying};

/// Check that a log follows the rules of its format
///
/// Reads the whole log, goes on after a mistake, and names the file, row, column and value of each finding. The rules:
///   1  steps are 0, 1, 2, ..., an episode's rows stand together, and no other episode has its id
///   2  an end flag is set on the last row only; an episode that was cut short says so
///   3  rewards are finite, and the parts of a reward add up to it
///   4  log-probabilities are as many as the ids of the action, finite, and at most 0
///   5  with --tokenizer: the text of an action is what its ids decode to
///   6  with --replay: the environment answers the same actions in the same way
///   7  all episodes of an environment and seed are in one split
/// Warnings report what hinders learning, such as a log of near-expert play alone. The exit code is 1 if a rule is
/// broken or something cannot be read; with warnings alone it is 0.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra log check logs/maze
  palestra log check logs/maze --replay
  palestra log check runs/snake-ppo/experience --tokenizer runs/snake-ppo --replay
  palestra log check logs/maze --json | jq '.breaches, .warnings[].text'")]
pub struct Args {
    /// Parquet files, folders or quoted patterns
    #[arg(required = true)]
    files: Vec<String>,
    /// Replay every episode whose environment and seed are known
    #[arg(long)]
    replay: bool,
    /// Directory of a run whose tokenizer wrote the token ids; can be repeated
    #[arg(long = "tokenizer", value_name = "RUN_DIR")]
    tokenizers: Vec<PathBuf>,
    /// Number of findings to list; further findings are only counted
    #[arg(long, value_name = "N", default_value_t = CheckOptions::default().max_findings)]
    most: usize,
}

/// Results of a check.
#[derive(Serialize)]
struct Checked {
    /// Reasons why files could not be opened.
    unreadable_files: Vec<String>,
    #[serde(flatten)]
    report: CheckReport,
    /// Reasons why episodes could not be replayed, with counts.
    not_replayable: BTreeMap<String, u64>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut decoding = Decoding::default();
    args.tokenizers.iter().try_for_each(|run_dir| decoding.add(run_dir))?;
    let mut replaying = Replaying::new(registry);
    // A file that cannot be opened is also a finding. All other data is read without skipping anything.
    let openable = Log::open(&args.files, ReadOptions { skip_bad: true, ..ReadOptions::default() })?;
    let files: Vec<_> = openable.files().iter().map(|path| path.display().to_string()).collect();
    let log = Log::open(&files, ReadOptions::default())?;
    let mut decode = |episode: &_| decoding.verify(episode);
    let mut replay = |episode: &_| replaying.verify(episode);
    let options = CheckOptions {
        max_findings: args.most,
        decode: (!args.tokenizers.is_empty()).then_some(&mut decode),
        replay: args.replay.then_some(&mut replay),
    };
    let report = check(&log, options)?;
    let checked = Checked { unreadable_files: openable.skipped().reasons, report, not_replayable: replaying.reasons };
    let is_good = checked.report.is_good() && checked.unreadable_files.is_empty();
    output.report(&checked, &checked)?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reason in &self.unreadable_files {
            writeln!(f, "error: {reason}")?;
        }
        write!(f, "{}", self.report.to_string().trim_end())?;
        for (reason, count) in &self.not_replayable {
            write!(f, "\n{count} episodes cannot be played again: {reason}")?;
        }
        match self.unreadable_files.len() {
            0 => Ok(()),
            count => write!(f, "\n{count} files could not be opened"),
        }
    }
}
