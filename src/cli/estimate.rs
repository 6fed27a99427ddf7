use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use palestra_envs::Registry;

use super::output::Output;
use super::policy;
use crate::Result;
use crate::estimate::{EstimateConfig, FqeConfig, Method, estimate};

/// Evaluate a trained model on a log, without playing
///
/// Estimates the mean discounted return of the last checkpoint of a run, with an interval, from logged episodes of any
/// policy. Importance sampling (wis, pdis, cwpdis) needs the log's log_probs, and an effective sample size (ESS) that
/// is not too small. Fitted Q evaluation (fqe) needs neither and takes minutes. It is only as right as the values that
/// it learns: those of actions that are rare in the log are guessed, which its interval does not show. They are values
/// of the game without a limit of turns.
///
/// A method that the log does not support is refused, with the reason; the exit code is 1 if all are. If the log names
/// its environment, and that is small enough, the exact value (with the limit of turns) is printed too.
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
    /// Directory of a run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Parquet files, directories of them, or quoted patterns
    #[arg(long, required = true, num_args = 1.., value_name = "FILES")]
    log: Vec<String>,
    /// Method of estimation; can be repeated
    #[arg(long, value_enum, default_value = "all")]
    method: Vec<Asked>,
    /// Discount from turn to turn, from 0 to 1
    #[arg(long, default_value_t = EstimateConfig::default().gamma)]
    gamma: f64,
    /// Probability that the evaluated policy plays a random legal action instead of its own
    #[arg(long, default_value_t = 0.0)]
    epsilon: f64,
    /// Temperature of the policy, which divides its logits; 0 is greedy [default: as the run is evaluated]
    #[arg(long)]
    temperature: Option<f32>,
    /// Number of bootstrap resamples
    #[arg(long, default_value_t = EstimateConfig::default().resamples)]
    bootstrap: usize,
    /// Confidence level of the intervals, between 0 and 1
    #[arg(long, default_value_t = EstimateConfig::default().confidence)]
    confidence: f64,
    /// Seed of resamples and critics
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Least ESS of importance sampling [default: 10, or a hundredth of the episodes if that is more]
    #[arg(long, value_name = "ESS")]
    min_ess: Option<f64>,
    /// Optimiser steps of each critic of fitted Q evaluation
    #[arg(long, default_value_t = FqeConfig::default().steps)]
    steps: usize,
    /// Number of critics of fitted Q evaluation, each of a resample of the log; their spread gives the interval
    #[arg(long, default_value_t = FqeConfig::default().critics)]
    critics: usize,
    /// Initial learning rate of fitted Q evaluation, which falls to 0
    #[arg(long, default_value_t = FqeConfig::default().learning_rate)]
    learning_rate: f64,
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: the run's `device`]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Key of the run file to change, such as ilql.beta=0; can be repeated
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
        temperature: args.temperature.unwrap_or(agent.spec.sampling().temperature),
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
