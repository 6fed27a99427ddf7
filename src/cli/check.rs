use std::process::ExitCode;

use palestra_envs::Registry;
use palestra_envs::check::{CheckOptions, check};

use super::output::Output;
use crate::Result;

/// Check that an environment keeps its promises
///
/// Plays whole episodes, several times over, and looks for what breaks learning without a word: a seed that does not
/// fix an episode, rewards out of range, an end that never comes, a panic on odd text. Each finding names its rule,
/// the episode and the turn. The exit code is 1 where a promise is broken; warnings alone leave it 0.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra check frozen-lake-4x4
  palestra check my_lake.toml --episodes 50
  palestra check frozen-lake-4x4 --json | jq .findings")]
pub struct Args {
    /// A registered name, or the path of a TOML definition
    env: String,
    /// How many episodes are played, each of them four times
    #[arg(long, default_value_t = CheckOptions::default().episodes, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// The seed that the episodes' seeds are made from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    // A name that is wrong is the caller's mistake, and no finding about an environment.
    let definition = registry.definition(&args.env)?;
    registry.rewards(&definition.rewards)?;
    let options = CheckOptions { episodes: args.episodes, seed: args.seed, ..CheckOptions::default() };
    let report = check(&|| registry.build(&definition), options);
    output.report(&report, &report)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
