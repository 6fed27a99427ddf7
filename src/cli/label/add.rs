use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::{Settings, Store, items_of_file};
use serde_json::json;

use super::Output;
use super::sample::SampleArgs;
use crate::Result;

/// Add prompts with answers to a label store
///
/// Each row of the files (JSON lines or Parquet) is a prompt with its answers: {"prompt", "completions": [...]}, where
/// "policies": [...] may name the policy of each answer; or one answer to rate, {"prompt", "completion"}; or any
/// preferences that training reads, such as {"prompt", "chosen", "rejected"}, to be labelled again. Prompts and answers
/// are texts, or lists of {"role", "content"}. An item that is already in the store, with the same prompt and answers,
/// is not added again.
///
/// With --prompts and --from, answers are sampled from models: as their generation_config.json says, otherwise at
/// temperature 1; conversations in their chat templates. The seed and a prompt's place in its file fix its answers. Of
/// equal answers one is kept; a prompt with a single answer left makes no item. Each batch is in the store as soon as
/// it is written.
///
/// "gold": 0 says that the first completion is known to be the best. Such an item checks the people who label. It is
/// mixed among the others, and is in no export.
///
/// Writes the store, which is created if it does not exist: all rows of the files, or none.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label add answers.db answers.jsonl
  palestra label add answers.db answers.jsonl --overlap 2
  palestra label add answers.db known.jsonl --gold
  palestra label add answers.db --prompts prompts.jsonl --from runs/tuned --samples 2 --max-new-tokens 64
  palestra label add answers.db --prompts prompts.jsonl --from runs/old --from runs/new --temperature 0.8

A line of answers.jsonl:
  {\"prompt\": \"Why is the sky blue?\", \"completions\": [\"Because ...\", \"It ...\"], \"policies\": [\"old\", \"new\"]}")]
pub struct Args {
    /// Label store to add to
    store: PathBuf,
    /// Files of prompts with answers
    #[arg(required_unless_present = "prompts")]
    files: Vec<PathBuf>,
    /// Number of people who label each item of the store, from now on [default: 1, or unchanged]
    #[arg(long, value_name = "PEOPLE", value_parser = clap::value_parser!(u32).range(1..))]
    overlap: Option<u32>,
    /// Seed of the sampled answers and, for a new store, of the order in which they are shown
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Treat every row of the files as one with a known best answer: `gold` of the completions, or the `chosen` one
    #[arg(long)]
    gold: bool,
    #[command(flatten)]
    sample: SampleArgs,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    // A row that cannot be read, or a model that is not there, must not leave a new store.
    for file in &args.files {
        items_of_file(file, args.gold)?.try_for_each(|item| item.map(|_| ()))?;
    }
    let sampler = args.sample.open(args.seed)?;
    let settings = Settings { overlap: args.overlap.unwrap_or(Settings::default().overlap), seed: args.seed };
    let mut store = Store::create(&args.store, settings)?;
    let mut files = Vec::new();
    for file in &args.files {
        files.push(items_of_file(file, args.gold)?);
    }
    let mut added = store.add(files.into_iter().flatten())?;
    if let Some(overlap) = args.overlap {
        store.set_overlap(overlap)?;
    }
    let mut alike = 0;
    if let Some(sampler) = sampler {
        let (sampled, none) = sampler.add_to(&mut store, output)?;
        (added.added, added.known, alike) = (added.added + sampled.added, added.known + sampled.known, none);
    }
    let (new, known) = (added.added, added.known);
    let told = format!("{}: {new} items added, {known} were there before", args.store.display());
    let none = if alike > 0 { format!("; {alike} prompts made none, all answers being equal") } else { String::new() };
    output.report(&json!({"added": new, "known": known, "alike": alike}), format!("{told}{none}"))?;
    Ok(ExitCode::SUCCESS)
}
