use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;

use super::output::Output;
use crate::Result;
use crate::config::RunFile;
use crate::plan::Network;
use crate::train_run::{Hardware, plan_run};

/// Estimate the cost of a training run, without training
///
/// Prints the number of parameters and the memory that training takes; for a run on text also its tokens, its
/// floating-point operations and its time, by the formulae of docs/language-models.md. Gradients and the optimiser's
/// memory count only for trained parameters: under [lora] those of the adapters, otherwise all that no
/// [[optimizer.group]] freezes.
///
/// Without --gpus, a few steps of a run on text are computed on the run's device to measure its speed. --gpus plans a run
/// on text for other hardware: nothing is computed, and of the model in start_from only config.json is read. --tflops is
/// what one GPU achieves in training: this command measures it on one; without one, take 0.4 of its peak. With
/// --bandwidth and --latency, the time in which the GPUs add their gradients is counted too.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra plan examples/recipes/shakespeare-char.toml
  palestra plan examples/recipes/sft-finance-lora.toml --json | jq '.trained_parameters, .memory.total'
  palestra plan big.toml --gpus 64 --tflops 125 --json | jq .seconds       (an A100 at 0.4 of its 312 TFLOP/s)
  palestra plan big.toml --gpus 64 --tflops 125 --bandwidth 20 --latency 30 --set train.sharding=optimizer

A run file of 7 billion parameters, big.toml:
  name = \"big\"
  [text]
  files = [\"train.tokens\"]
  batch = 1024
  micro_batch = 64
  [model]
  vocab_size = 32000
  context = 4096
  layers = 32
  width = 4096
  heads = 32
  feed_forward = 11008
  tie_embeddings = false
  [train]
  updates = 250000")]
pub struct Args {
    /// Run file to plan
    #[arg(value_name = "RUN.toml")]
    file: PathBuf,
    /// Number of GPUs to plan for, instead of the run's device
    #[arg(long, value_name = "N", requires = "tflops", value_parser = clap::value_parser!(u64).range(1..))]
    gpus: Option<u64>,
    /// TFLOP/s that each GPU achieves in training
    #[arg(long, value_name = "T", requires = "gpus", value_parser = positive)]
    tflops: Option<f64>,
    /// GB/s that each GPU sends while gradients are added, as `palestra bench collective` measures it
    #[arg(long, value_name = "G", requires_all = ["gpus", "latency"], value_parser = positive)]
    bandwidth: Option<f64>,
    /// Microseconds of a message to another GPU, as `palestra bench collective` measures it
    #[arg(long, value_name = "US", requires = "bandwidth", value_parser = positive)]
    latency: Option<f64>,
    /// Key of the run file to change, such as model.layers=24; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let run = RunFile::load(&args.file, &args.overrides)?;
    let network = args.bandwidth.zip(args.latency).map(|(gigabytes, microseconds)| Network {
        bytes_per_second: gigabytes * 1e9,
        message_seconds: microseconds / 1e6,
    });
    let hardware = args.gpus.zip(args.tflops);
    let hardware = hardware.map(|(devices, tflops)| Hardware { devices, flops_per_second: tflops * 1e12, network });
    let plan = plan_run(run, registry, hardware)?;
    output.report(&plan, &plan)?;
    Ok(ExitCode::SUCCESS)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("write a number above 0, such as 125".to_string()),
    }
}
