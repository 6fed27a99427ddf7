//! `palestra eval`: the likelihood of texts and answers under a language model.

mod choices;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palestra_datasets::documents::{DocumentOptions, Documents};
use palestra_datasets::shards::{Corpus, Shard, Span};
use serde::Serialize;
use std::sync::Arc;

use super::output::Output;
use super::writing::{MachineArgs, QuantizeArgs};
use crate::language_model::LanguageModel;
use crate::{Error, Result};
use palestra_learn::batch::TextRow;
use palestra_learn::likelihood::{Likelihood, TextScore};
use palestra_learn::source::check_tokenizer;

/// Measure the likelihood of texts under a language model, or its accuracy on questions
///
/// For texts: the mean negative log-likelihood of a token in nats, perplexity, and bits per byte, which compares models
/// of different tokenizers. A text is read in windows of the model's context. The first token of each document, which is
/// the tokenizer's BOS token if it adds one, is not predicted.
///
/// For JSON lines with `prompt`, `choices` and `answer` (the right choice's number from 0, or its text): the share of
/// questions whose right choice is the likeliest, by its log-likelihood and by its log-likelihood per byte.
///
/// To measure how an agent plays, see `palestra evaluate`.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra eval runs/shakespeare-char --data held-out.txt
  palestra eval smollm2-135m --data held-out.tokens --device libtorch --json | jq .bits_per_byte
  palestra eval smollm2-135m --data questions.jsonl

A line of questions.jsonl:
  {\"prompt\": \"The sky is\", \"choices\": [\" blue\", \" a fish\"], \"answer\": 0}")]
pub struct Args {
    /// Directory of a run, or of a Hugging Face model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Data to measure on: plain text, JSON lines or Parquet with a column `text`, a token shard, or JSON lines of
    /// questions
    #[arg(long, value_name = "FILE")]
    data: String,
    /// Column or field with the text
    #[arg(long, default_value = "text")]
    column: String,
    /// Read only documents with this value in the column or field `split`, such as validation
    #[arg(long)]
    split: Option<String>,
    /// Tokens from one window to the next; fewer than the context give each token more context [default: the context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stride: Option<u64>,
    /// Windows per forward pass
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    documents: u64,
    #[serde(flatten)]
    score: TextScore,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let model = LanguageModel::open_quantized(&args.model, args.quantize.quantize, &args.machine.open()?)?;
    if choices::are_in(&args.data)? {
        let report = choices::evaluate(&model, Path::new(&args.data), args.batch as usize, output)?;
        output.report(&report, &report)?;
        return Ok(ExitCode::SUCCESS);
    }
    let context = model.policy.transformer.config().context;
    let stride = args.stride.map_or(context, |stride| stride as usize).min(context);
    let mut likelihood = Likelihood::default();
    let documents = if args.data.ends_with(".tokens") {
        score_shard(&model, args, context, &mut likelihood)?
    } else {
        score_documents(&model, args, [context, stride], &mut likelihood, output)?
    };
    let Some(score) = likelihood.score() else {
        return Err(Error::Data(format!("{}: there is nothing to predict: no text of two tokens", args.data)));
    };
    let report = Report { model: args.model.clone(), data: args.data.clone(), documents, score };
    output.report(&report, report.score)?;
    Ok(ExitCode::SUCCESS)
}

/// Scores a shard in consecutive windows, as in training.
fn score_shard(model: &LanguageModel, args: &Args, context: usize, likelihood: &mut Likelihood) -> Result<u64> {
    let shard = Arc::new(Shard::open(Path::new(&args.data))?);
    check_tokenizer(&shard, &model.tokenizer)?;
    shard.verify()?;
    let documents = shard.header().documents;
    let lengths = model.tokenizer.token_bytes();
    let corpus = Corpus { spans: vec![Span::whole(shard)], weight: 1.0 };
    let length = (context as u64).min(corpus.tokens().saturating_sub(1)).max(1);
    for windows in corpus.in_order(length, u64::MAX)?.chunks(args.batch as usize) {
        let row = |tokens: &Vec<u32>| row(tokens, 1, &lengths);
        let rows: Vec<TextRow> = windows.iter().map(|window| row(&window.tokens)).collect();
        likelihood.add(&model.policy, &rows, args.batch as usize);
    }
    Ok(documents)
}

fn score_documents(
    model: &LanguageModel,
    args: &Args,
    [context, stride]: [usize; 2],
    likelihood: &mut Likelihood,
    output: &Output,
) -> Result<u64> {
    let options = DocumentOptions { column: args.column.clone(), split: args.split.clone() };
    let mut documents = Documents::open(&[&args.data], options)?;
    let progress = output.progress(documents.progress().1, "bytes");
    let lengths = model.tokenizer.token_bytes();
    let (mut count, mut rows) = (0, Vec::new());
    while let Some(text) = documents.next().transpose()? {
        let tokens = model.tokenizer.encode_text(&text)?;
        rows.extend(windows(&tokens, context, stride, &lengths));
        count += 1;
        if rows.len() >= args.batch as usize {
            likelihood.add(&model.policy, &rows, args.batch as usize);
            rows.clear();
        }
        progress.set_position(documents.progress().0);
    }
    likelihood.add(&model.policy, &rows, args.batch as usize);
    progress.finish_and_clear();
    Ok(count)
}

/// Windows of a document, each of a context and the token after it, in which each token but the first counts once.
fn windows(tokens: &[u32], context: usize, stride: usize, lengths: &[u32]) -> Vec<TextRow> {
    let (mut rows, mut start, mut next) = (Vec::new(), 0, 1);
    while next < tokens.len() {
        let end = (start + context + 1).min(tokens.len());
        rows.push(row(&tokens[start..end], next - start, lengths));
        next = end;
        start += stride;
    }
    rows
}

/// Row whose tokens count from position `from` on.
fn row(tokens: &[u32], from: usize, lengths: &[u32]) -> TextRow {
    let bytes = tokens[from..].iter().map(|&token| lengths[token as usize] as usize).sum();
    TextRow { tokens: tokens.to_vec(), counted: (from..tokens.len()).collect(), borders: Vec::new(), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_counts_once_whatever_the_stride() {
        let tokens: Vec<u32> = (0..23).collect();
        let lengths = vec![1; 23];
        for (context, stride) in [(8, 8), (8, 3), (8, 1), (30, 30), (1, 1), (22, 5)] {
            let rows = windows(&tokens, context, stride, &lengths);
            let counted: Vec<u32> = rows.iter().flat_map(|row| row.counted.iter().map(|&at| row.tokens[at])).collect();
            assert_eq!(counted, tokens[1..], "{context} {stride}");
            assert!(rows.iter().all(|row| row.tokens.len() <= context + 1));
            assert_eq!(rows.iter().map(|row| row.bytes).sum::<usize>(), 22);
        }
        assert!(windows(&[1], 8, 8, &lengths).is_empty());
    }
}
