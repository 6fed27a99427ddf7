//! `palestra tokenizer`: one file per subcommand.

mod encode;
mod stats;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use palestra_datasets::documents::{DocumentOptions, Documents};

use palestra_files::Address;

use super::destination::{OverwriteArgs, named};
use super::output::Output;
use crate::Result;
use crate::model_dir::local_tokenizer;
use palestra_text::Tokenizer;

/// Train tokenizers, encode texts into token shards, and summarise both
///
/// A tokenizer is a `tokenizer.json` with a `tokenizer_config.json` next to it, as Hugging Face's tokenizers and
/// transformers read them. Texts are plain files (each one document), JSON lines with a field `text`, or Parquet with a
/// column `text`, such as `palestra corpus` writes.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
#[command(after_help = "`palestra tokenizer <command> --help` explains a command, with an example and what it writes.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
    Encode(encode::Args),
    Stats(stats::Args),
}

/// Texts to read.
#[derive(clap::Args)]
pub struct TextArgs {
    /// Text files, folders or quoted patterns
    #[arg(value_name = "FILES", required = true)]
    files: Vec<String>,
    /// Column or field with the text
    #[arg(long, default_value = "text")]
    column: String,
    /// Read only documents with this value in the column or field `split`, such as train
    #[arg(long)]
    split: Option<String>,
}

impl TextArgs {
    fn open(&self) -> Result<Documents> {
        let options = DocumentOptions { column: self.column.clone(), split: self.split.clone() };
        Ok(Documents::open(&self.files, options)?)
    }
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    match &args.command {
        Command::Train(args) => train::run(args, output),
        Command::Encode(args) => encode::run(args, output),
        Command::Stats(args) => stats::run(args, output),
    }
}

/// Reads a tokenizer from its file or address, or from the directory that it is in.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    let is_address_of_folder = Address::is_in(path) && path.extension().is_none_or(|ending| ending != "json");
    let is_folder = path.is_dir() || is_address_of_folder;
    let file: PathBuf = if is_folder { path.join("tokenizer.json") } else { path.to_owned() };
    Ok(Tokenizer::from_file(&local_tokenizer(&file)?)?)
}
