use std::path::PathBuf;
use std::process::ExitCode;

use palestra_datasets::documents::Documents;
use palestra_datasets::shards::ShardWriter;
use serde::Serialize;

use super::{Output, OverwriteArgs, TextArgs, named, open_tokenizer};
use crate::{Error, Result};

/// Bytes of text encoded at once, on all cores.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Encode texts into a token shard
///
/// A shard holds the token ids of many documents, each after the tokenizer's BOS token, if it adds one to texts, and
/// followed by its end token, with a fingerprint of the tokenizer and checksums. `palestra train` learns from shards, and
/// `palestra eval` measures on them.
///
/// Writes the file or object of --out, which gets its name when it is complete.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra tokenizer encode --tokenizer tokenizers/english corpus/*.parquet --split train --out train.tokens
  palestra tokenizer encode --tokenizer smollm2 notes.jsonl --out notes.tokens --json")]
pub struct Args {
    #[command(flatten)]
    texts: TextArgs,
    /// Tokenizer: a tokenizer.json, or the directory that it is in
    #[arg(long, value_name = "PATH")]
    tokenizer: PathBuf,
    /// File or address to write; its name ends in .tokens
    #[arg(long, value_name = "FILE.tokens")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

#[derive(Serialize)]
struct Report {
    out: PathBuf,
    documents: u64,
    tokens: u64,
    text_bytes: u64,
    bytes_per_token: f64,
    seconds: f64,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    if args.out.extension().is_none_or(|ending| ending != "tokens") {
        let out = args.out.display();
        return Err(Error::Config(format!("--out {out}: a token shard's name ends in .tokens, by which it is known")));
    }
    let began = std::time::Instant::now();
    let tokenizer = open_tokenizer(&args.tokenizer)?;
    let mut documents = args.texts.open()?;
    let reads = [named(&args.texts.files), vec![args.tokenizer.clone()]].concat();
    let out = args.overwrite.claim(&args.out, &reads)?;
    let mut writer = ShardWriter::replace(out.file().path(), tokenizer.vocabulary())?;
    let progress = output.progress(documents.progress().1, "bytes encoded");
    loop {
        let texts = some(&mut documents)?;
        if texts.is_empty() {
            break;
        }
        for (text, tokens) in texts.iter().zip(tokenizer.encode_beginnings(&texts)?) {
            writer.add(&tokens, text.len() as u64)?;
        }
        progress.set_position(documents.progress().0);
    }
    progress.finish_and_clear();
    let header = writer.finish()?;
    out.finish()?;
    let report = Report {
        out: args.out.clone(),
        documents: header.documents,
        tokens: header.tokens,
        text_bytes: header.text_bytes,
        bytes_per_token: header.text_bytes as f64 / header.tokens as f64,
        seconds: began.elapsed().as_secs_f64(),
    };
    let text = format!(
        "{}: {} tokens of {} documents, {:.3} bytes each, in {:.1} s",
        args.out.display(),
        report.tokens,
        report.documents,
        report.bytes_per_token,
        report.seconds
    );
    output.report(&report, text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the next documents, of about `BYTES_AT_ONCE` bytes together.
fn some(documents: &mut Documents) -> Result<Vec<String>> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while bytes < BYTES_AT_ONCE {
        let Some(text) = documents.next().transpose()? else { break };
        bytes += text.len();
        texts.push(text);
    }
    Ok(texts)
}
