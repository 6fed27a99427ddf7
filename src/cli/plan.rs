use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;

use super::output::Output;
use crate::Result;
use crate::config::RunFile;
use crate::train_run::{Hardware, plan_run};

/// Say what a training run on text takes, without training
///
/// Parameters, tokens, floating-point operations, and the time and memory of each device, by the formulae that
/// docs/language-models.md gives. Gradients and the optimiser's memory are those of the parameters that are trained: under
/// [lora] the adapters', else what no [[optimizer.group]] freezes.
///
/// Without --gpus, a few steps are computed on the run's device, which measures its speed; with it nothing is computed, and
/// of start_from only config.json is read, so that models and hardware that are not there can be planned. The FLOP/s that a
/// GPU achieves are what this command measures on one, or its peak times what training uses of it: about 0.4.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra plan examples/recipes/shakespeare-char.toml
  palestra plan examples/recipes/sft-finance-lora.toml --json | jq '.trained_parameters, .memory.total'
  palestra plan big.toml --gpus 64 --tflops 125 --json | jq .seconds       (an A100 at 0.4 of its 312 TFLOP/s)

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
    /// The run file
    #[arg(value_name = "RUN.toml")]
    file: PathBuf,
    /// So many GPUs, in place of the run's device
    #[arg(long, value_name = "N", requires = "tflops", value_parser = clap::value_parser!(u64).range(1..))]
    gpus: Option<u64>,
    /// The TFLOP/s that each of them achieves in training
    #[arg(long, value_name = "T", requires = "gpus", value_parser = positive)]
    tflops: Option<f64>,
    /// Set a key of the file, such as model.layers=24; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let run = RunFile::load(&args.file, &args.overrides)?;
    let hardware = args.gpus.zip(args.tflops);
    let hardware = hardware.map(|(gpus, tflops)| Hardware { devices: gpus, flops_per_second: tflops * 1e12 });
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
