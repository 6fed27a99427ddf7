use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;

use super::output::Output;
use crate::Result;
use crate::train_run::evaluate_run;

/// Judge a trained model by playing
///
/// Plays episodes with the last checkpoint of a run, greedily or sampled as its run file says, and reports the
/// mean return with its standard error, beside the optimum where that is known. How likely a language model finds a
/// text, `palestra eval` measures.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra evaluate runs/frozen-lake-ppo
  palestra evaluate runs/frozen-lake-ppo --episodes 1000 --seed 1 --json | jq .mean_return
  palestra evaluate runs/double-t-maze-ilql --set ilql.beta=0      (how the cloned policy alone plays)
  palestra evaluate runs/from-my-log --set env.id=frozen-lake-4x4  (a run that learned without an environment)")]
pub struct Args {
    /// The directory of a run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// How many episodes to play, in place of the run's `evaluation.episodes`
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: Option<u64>,
    /// The seed that the episodes' seeds are made from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What to compute on, in place of the run's `device`: flex, libtorch, libtorch-cuda:<index>
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Set a key of the run's file, such as ilql.beta=0 or env.id=frozen-lake-4x4; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.device.iter().map(|device| format!("device={device}")));
    let evaluation = evaluate_run(&args.run, registry, args.episodes, args.seed, &overrides)?;
    output.report(&evaluation, &evaluation)?;
    Ok(ExitCode::SUCCESS)
}
