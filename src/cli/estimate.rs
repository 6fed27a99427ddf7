use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use palestra_envs::Registry;

use super::output::Output;
use super::policy;
use crate::Result;
use crate::estimate::{EstimateConfig, FqeConfig, Method, estimate};

/// Judge a trained model by a log, without playing
///
/// Estimates from logged episodes, which any policy may have played, the mean discounted return that the last
/// checkpoint of a run would have, each with an interval. Importance sampling (wis, pdis, cwpdis) needs the log's
/// log_probs, and an effective sample size (ESS) that is not too small. Fitted Q evaluation (fqe) needs neither, takes
/// minutes, and is only as right as the values that it learns: those of actions that the log hardly shows are guessed,
/// which its interval does not tell. They are values of the game without a limit of turns.
///
/// A method that the log does not bear is refused, with the reason; the exit code is 1 where all are. Where the log
/// tells its environment, and that is small enough, the exact value (with the limit of turns) stands beside.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra estimate runs/lake-bc --log logs/*.parquet
  palestra estimate runs/lake-bc --log logs --method wis --temperature 1 --epsilon 0.1
  palestra estimate runs/lake-bc --log logs --json | jq '.estimates[] | {method, value, low, high}'")]
pub struct Args {
    /// The directory of a run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Parquet files, directories of them, or patterns
    #[arg(long, required = true, num_args = 1.., value_name = "FILES")]
    log: Vec<String>,
    /// How to estimate; may be given again
    #[arg(long, value_enum, default_value = "all")]
    method: Vec<Asked>,
    /// Discount from turn to turn, 0 to 1
    #[arg(long, default_value_t = EstimateConfig::default().gamma)]
    gamma: f64,
    /// How likely the judged policy plays a random legal action instead of its own
    #[arg(long, default_value_t = 0.0)]
    epsilon: f64,
    /// Divides the policy's scores; 0 is greedy. As the run is evaluated where absent
    #[arg(long)]
    temperature: Option<f32>,
    /// Resamples of the bootstrap
    #[arg(long, default_value_t = EstimateConfig::default().resamples)]
    bootstrap: usize,
    /// How likely an interval is to hold the value
    #[arg(long, default_value_t = EstimateConfig::default().confidence)]
    confidence: f64,
    /// Fixes resamples and critics
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The least ESS of importance sampling; 10, or a hundredth of the episodes if that is more, where absent
    #[arg(long, value_name = "ESS")]
    min_ess: Option<f64>,
    /// Optimiser steps of each critic of fitted Q evaluation
    #[arg(long, default_value_t = FqeConfig::default().steps)]
    steps: usize,
    /// Critics of fitted Q evaluation, each of a resample of the log: their spread makes the interval
    #[arg(long, default_value_t = FqeConfig::default().critics)]
    critics: usize,
    /// The greatest learning rate of fitted Q evaluation
    #[arg(long, default_value_t = FqeConfig::default().learning_rate)]
    learning_rate: f64,
    /// What to compute on, in place of the run's `device`: flex, libtorch, libtorch-cuda:<index>
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Set a key of the run's file, such as ilql.beta=0; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Asked {
    /// Fitted Q evaluation
    Fqe,
    /// Weighted importance sampling
    Wis,
    /// Per-decision importance sampling
    Pdis,
    /// Consistent weighted per-decision importance sampling
    Cwpdis,
    /// All of them
    All,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.device.iter().map(|device| format!("device={device}")));
    let agent = policy::load(&args.run, registry, &overrides)?;
    let asked = |method: &Method| args.method.iter().any(|asked| asked.methods().contains(method));
    let methods = Method::ALL.into_iter().filter(asked).collect();
    let config = EstimateConfig {
        methods,
        gamma: args.gamma,
        temperature: args.temperature.unwrap_or(agent.sampling().temperature),
        epsilon: args.epsilon,
        resamples: args.bootstrap,
        confidence: args.confidence,
        seed: args.seed,
        least_effective: args.min_ess,
        fqe: FqeConfig {
            critics: args.critics,
            steps: args.steps,
            learning_rate: args.learning_rate,
            ..FqeConfig::default()
        },
    };
    let report = estimate(&agent, registry, &args.log, &config)?;
    output.report(&report, &report)?;
    Ok(if report.is_refused() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Asked {
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Fqe => &[Method::Fqe],
            Self::Wis => &[Method::Wis],
            Self::Pdis => &[Method::Pdis],
            Self::Cwpdis => &[Method::Cwpdis],
            Self::All => &Method::ALL,
        }
    }
}
