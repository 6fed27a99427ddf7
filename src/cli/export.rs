use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use palestra_gguf::NumberFormat;

use super::destination::{OverwriteArgs, files_of_model};
use super::output::Output;
use crate::Result;
use crate::language_model::{Exported, export_gguf};

/// Export a language model as one file for other programs
///
/// With --gguf the file is one of llama.cpp, and of the programs that are built on it (Ollama, LM Studio). It has the
/// weights, with adapters merged, the tokenizer and the chat template. Models of the families llama, mistral without a
/// sliding window, qwen2 and qwen3 can be exported, with tokenizers of byte-level BPE as GPT-2, SmolLM, Llama 3 and Qwen2
/// have them, or of SentencePiece's BPE as Llama 2 has. What llama.cpp would compute in another way is refused by name.
///
/// MODEL is a Hugging Face directory, a GGUF file, a PEFT directory, or the directory of a run.
///
/// Writes the file of --out. Every command that takes the directory of a model takes such a file, too.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra export --gguf runs/finance --out finance.gguf --type q8_0
  palestra generate finance.gguf --chat
  llama-cli -m finance.gguf")]
pub struct Args {
    /// Directory of a Hugging Face model, of adapters or of a run, or a GGUF file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Write a GGUF file
    #[arg(long, required = true)]
    gguf: bool,
    /// File to write
    #[arg(long, value_name = "FILE.gguf")]
    out: PathBuf,
    /// Number format of the matrices: 32-bit floats, 16-bit floats, bfloat16, or 8-bit integers in blocks of 32
    #[arg(long = "type", value_enum, default_value = "f16")]
    format: Format,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let format = match args.format {
        Format::F32 => NumberFormat::F32,
        Format::F16 => NumberFormat::F16,
        Format::Bf16 => NumberFormat::BF16,
        Format::Q8 => NumberFormat::Q8_0,
    };
    let out = args.overwrite.claim(&args.out, &files_of_model(&args.model))?;
    let exported = Exported { out: args.out.clone(), ..export_gguf(&args.model, out.file(), format)? };
    out.finish()?;
    output.report(&exported, &exported)?;
    Ok(ExitCode::SUCCESS)
}
