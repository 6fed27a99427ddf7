use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::{Settings, Store, items_of_file};

use super::Output;
use crate::Result;

/// Add prompts with answers to a label store
///
/// Each row of the files (JSON lines or Parquet) is a prompt with its answers: {"prompt", "completions": [...]}, where
/// "policies": [...] may say who wrote each; or one answer to rate, {"prompt", "completion"}; or any preferences that
/// training reads, such as {"prompt", "chosen", "rejected"}, to be judged anew. Prompts and answers are texts, or lists
/// of {"role", "content"}. What is there already, with the same prompt and answers, is not added again.
///
/// "gold": 0 says that the first of the completions is known to be best: such an item checks whoever judges, is mixed among
/// the others, and is in no export.
///
/// Writes the store, which is made where there is none; all of the files' rows, or none.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label add answers.db answers.jsonl
  palestra label add answers.db answers.jsonl --overlap 2
  palestra label add answers.db known.jsonl --gold

A line of answers.jsonl:
  {\"prompt\": \"Why is the sky blue?\", \"completions\": [\"Because ...\", \"It ...\"], \"policies\": [\"old\", \"new\"]}")]
pub struct Args {
    /// The label store
    store: PathBuf,
    /// Files of prompts and answers
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many people judge each item of the store, from now on [default: 1, or as it was]
    #[arg(long, value_name = "PEOPLE", value_parser = clap::value_parser!(u32).range(1..))]
    overlap: Option<u32>,
    /// What the order of answers is drawn from, of a store that is made
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Every row has a best answer that is known: `gold` of the completions, or the `chosen` one
    #[arg(long)]
    gold: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    // A row that cannot be read is no reason to make a store.
    for file in &args.files {
        items_of_file(file, args.gold)?.try_for_each(|item| item.map(|_| ()))?;
    }
    let settings = Settings { overlap: args.overlap.unwrap_or(Settings::default().overlap), seed: args.seed };
    let mut store = Store::create(&args.store, settings)?;
    let mut files = Vec::new();
    for file in &args.files {
        files.push(items_of_file(file, args.gold)?);
    }
    let added = store.add(files.into_iter().flatten())?;
    if let Some(overlap) = args.overlap {
        store.set_overlap(overlap)?;
    }
    let text = format!("{}: {} items added, {} were there before", args.store.display(), added.added, added.known);
    output.report(&added, text)?;
    Ok(ExitCode::SUCCESS)
}
