use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::output::Output;
use crate::Result;
use crate::language_model::merge;
use palestra_model::checkpoint::NumberType;

/// Merge adapters into their model
///
/// A run with [lora] saves only adapters, which need the model of start_from. Merged, they are part of its weights: one
/// Hugging Face directory that transformers, and every command of palestra, loads like any model. It answers as the
/// model with its adapters does, except for rounding: weights that were quantised beside the adapters (lora.quantize) are
/// written as the numbers that they stood for.
///
/// MODEL is what has the adapters: the directory of a run, whose last checkpoint is used, or a PEFT directory
/// (adapter_config.json, which names the model). With --adapter it is the model, and the adapters are those of DIR.
///
/// Writes the directory of --out: config.json, model.safetensors (in shards of 5 GB), tokenizer.json, and the other
/// files of the model, such as its chat template. It gets its name when it is complete, and must not exist before.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra merge runs/finance --out models/finance
  palestra merge models/smollm2 --adapter downloaded-adapter --out models/smollm2-poems --dtype bf16
  palestra generate models/finance --chat

In Python: transformers.AutoModelForCausalLM.from_pretrained(\"models/finance\")")]
pub struct Args {
    /// Directory of a run, of adapters, or with --adapter of a Hugging Face model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Adapters to merge into MODEL: the directory of a run, or a PEFT directory
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of its numbers: 32-bit floats, 16-bit floats, or bfloat16
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let numbers = match args.dtype {
        Dtype::F32 => NumberType::F32,
        Dtype::F16 => NumberType::F16,
        Dtype::Bf16 => NumberType::BF16,
    };
    let merged = merge(&args.model, args.adapter.as_deref(), &args.out, numbers)?;
    output.report(&merged, &merged)?;
    Ok(ExitCode::SUCCESS)
}
