use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::{Output, OverwriteArgs, TextArgs, named};
use crate::{Error, Result};
use palestra_text::{Method, Tokenizer, VocabularyOptions};

/// Train a tokenizer on texts
///
/// Byte-pair and unigram tokens are made of bytes, so that any text can be encoded and decoded without loss. A
/// tokenizer of characters has only those of the texts. Reads the texts once, and holds their distinct words in memory.
///
/// Writes tokenizer.json and tokenizer_config.json into the directory of --out.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra tokenizer train corpus/*.parquet --split train --vocab-size 8192 --out tokenizers/english
  palestra tokenizer train book.txt --method characters --out tokenizers/book
  palestra tokenizer train chats.jsonl --special '<|endoftext|>' --special '<|im_start|>' --special '<|im_end|>' --out chat

In Python: transformers.AutoTokenizer.from_pretrained(\"tokenizers/english\")")]
pub struct Args {
    #[command(flatten)]
    texts: TextArgs,
    /// Method of finding tokens
    #[arg(long, value_enum, default_value = "bpe")]
    method: MethodName,
    /// Number of tokens, special tokens included [default: 4096]
    #[arg(long, value_name = "N")]
    vocab_size: Option<usize>,
    /// Number of occurrences that a pair of tokens needs to be merged [default: 2]
    #[arg(long, value_name = "N")]
    min_frequency: Option<u64>,
    /// Special token; can be repeated. The first ends documents [default: <|endoftext|> and <|pad|>]
    #[arg(long, value_name = "TOKEN")]
    special: Vec<String>,
    /// Directory or address to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodName {
    /// Byte-pair encoding of bytes, as in GPT-2
    Bpe,
    /// A unigram language model over pieces of bytes
    Unigram,
    /// One token for each character
    Characters,
}

#[derive(Serialize)]
struct Report {
    out: PathBuf,
    method: Method,
    vocab_size: usize,
    fingerprint: String,
    text_bytes: u64,
    seconds: f64,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let method = match args.method {
        MethodName::Bpe => Method::Bpe,
        MethodName::Unigram => Method::Unigram,
        MethodName::Characters => Method::Characters,
    };
    let options = options(args)?;
    let reads = named(&args.texts.files);
    let files = args.overwrite.claim_all(&args.out, &["tokenizer.json", "tokenizer_config.json"], &reads)?;
    let began = std::time::Instant::now();
    let mut documents = args.texts.open()?;
    let progress = output.progress(documents.progress().1, "bytes read");
    let mut text_bytes = 0;
    let texts = std::iter::from_fn(|| {
        progress.set_position(documents.progress().0);
        let text = documents.next()?;
        text_bytes += text.as_ref().map_or(0, |text| text.len() as u64);
        Some(text.map_err(palestra_text::Error::from))
    });
    let tokenizer = Tokenizer::train(method, &options, texts)?;
    progress.finish_and_clear();
    files.write(&[tokenizer.to_json()?.as_bytes(), tokenizer.to_config_json().as_bytes()])?;
    let report = Report {
        out: args.out.clone(),
        method,
        vocab_size: tokenizer.vocab_size(),
        fingerprint: tokenizer.fingerprint().to_string(),
        text_bytes,
        seconds: began.elapsed().as_secs_f64(),
    };
    let text = format!(
        "{}: {} tokens from {:.1} MB in {:.1} s",
        args.out.join("tokenizer.json").display(),
        report.vocab_size,
        text_bytes as f64 / 1e6,
        report.seconds
    );
    output.report(&report, text)?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> Result<VocabularyOptions> {
    let Args { vocab_size, min_frequency, special, .. } = args;
    if args.method == MethodName::Characters && (vocab_size.is_some() || min_frequency.is_some() || !special.is_empty())
    {
        return Err(Error::Config(
            "--method characters: its tokens are the characters of the texts and the four special ones of agents; remove \
             --vocab-size, --min-frequency and --special"
                .into(),
        ));
    }
    let default = VocabularyOptions::default();
    Ok(VocabularyOptions {
        size: vocab_size.unwrap_or(default.size),
        min_frequency: min_frequency.unwrap_or(default.min_frequency),
        special: if special.is_empty() { default.special } else { special.clone() },
    })
}
