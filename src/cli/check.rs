use std::process::ExitCode;

use palestra_envs::Registry;
use palestra_envs::check::{CheckOptions, check};

use super::output::Output;
use crate::Result;

/// Check that an environment follows the rules
///
/// Plays whole episodes, several times over, and looks for mistakes that silently break learning: a seed that does not
/// fix an episode, rewards out of range, an end that never comes, a panic on odd text. Each finding names its rule, the
/// episode and the turn. The exit code is 1 if a rule is broken; with warnings alone it is 0.
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
    /// Name of a registered environment, or path of a TOML definition
    env: String,
    /// Number of episodes to play, each of them four times
    #[arg(long, default_value_t = CheckOptions::default().episodes, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// Seed that the episodes' seeds are derived from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    // A wrong name is the caller's mistake, and not a finding about an environment.
    let definition = registry.definition(&args.env)?;
    registry.rewards(&definition.rewards)?;
    let options = CheckOptions { episodes: args.episodes, seed: args.seed, ..CheckOptions::default() };
    let mut report = check(&|| registry.build(&definition), options);
    if report.env_id.is_empty() {
        report.env_id.clone_from(&args.env); // an environment that cannot be made has no id
    }
    output.report(&report, &report)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
