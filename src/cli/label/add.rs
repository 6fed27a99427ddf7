use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::exchange::GivenLabels;
use palestra_labels::{NewItem, Settings, Store, labelled_items_of_file};
use serde_json::json;

use super::Output;
use super::order::{OrderArgs, ScoreArgs};
use super::sample::SampleArgs;
use crate::Result;

/// Add prompts with answers to a label store
///
/// A row of a file is an item: a prompt with answers to compare or to rate.
///   {"prompt", "completions": [...]}    two to nine answers to compare
///   {"prompt", "completion"}            one answer to rate
///   {"prompt", "chosen", "rejected"}    or any preferences that training reads; they are labelled anew
/// Prompts and answers are texts, or lists of {"role", "content"}. Further columns: "policies", the policy that wrote each
/// answer; "scores", a reward model's score of each answer; "gold", the index of the answer that is known to be best.
/// An item that is already in the store, with the same prompt and answers, is not added again.
///
/// Formats, by the ending of a file: JSON lines, Parquet, CSV and TSV with the same columns (answers in completion_1,
/// completion_2, ...), plain lines (.txt: each line is an answer to rate), JSON of Argilla or Label Studio (.json). The labels
/// in the last are taken over, each with its annotator.
///
/// --prompts and --from sample answers from models, with the settings of their generation_config.json, or else at
/// temperature 1. The seed and the position of a prompt in its file determine its answers. Equal answers are kept once;
/// a prompt whose answers are all equal makes no item.
///
/// Gold items test the annotators. They are mixed among the others, and are in no export.
///
/// Writes the store, which is created if it does not exist: all rows of the files, or none. Sampled answers are in the
/// store after each batch.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label add answers.db answers.jsonl
  palestra label add answers.db answers.jsonl --overlap 2
  palestra label add answers.db known.jsonl --gold
  palestra label add answers.db answers.csv --reward-model runs/reward --order active
  palestra label add answers.db answers.csv --scores scores.jsonl --order active
  palestra label add answers.db exported-from-argilla.json --overlap 2
  palestra label add answers.db --prompts prompts.jsonl --from runs/tuned --samples 2 --max-new-tokens 64
  palestra label add answers.db --prompts prompts.jsonl --from runs/old --from runs/new --temperature 0.8

A line of answers.jsonl:
  {\"prompt\": \"Why is the sky blue?\", \"completions\": [\"Because ...\", \"It ...\"], \"policies\": [\"old\", \"new\"]}")]
pub struct Args {
    /// Label store to add to
    store: PathBuf,
    /// Files of items
    #[arg(required_unless_present = "prompts")]
    files: Vec<PathBuf>,
    /// Number of people who label each item of the store, from now on [default: 1, or unchanged]
    #[arg(long, value_name = "PEOPLE", value_parser = clap::value_parser!(u32).range(1..))]
    overlap: Option<u32>,
    /// Seed of sampled answers and, for a new store, of the order in which answers are shown
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Make every row of the files a gold item: its best answer is `gold`, or `chosen`
    #[arg(long)]
    gold: bool,
    /// Leave out the labels in files of Argilla and Label Studio, so that their answers are labelled anew
    #[arg(long)]
    without_labels: bool,
    #[command(flatten)]
    score: ScoreArgs,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    sample: SampleArgs,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    // A row that cannot be read, or a model that is not there, must not leave a new store.
    for file in &args.files {
        labelled_items_of_file(file, args.gold)?.try_for_each(|item| item.map(|_| ()))?;
    }
    let sampler = args.sample.open(args.seed)?;
    let scorer = args.score.open(&args.sample.machine)?;
    let settings = Settings { overlap: args.overlap.unwrap_or(Settings::default().overlap), seed: args.seed };
    let mut store = Store::create(&args.store, settings)?;
    let mut files = Vec::new();
    for file in &args.files {
        files.push(labelled_items_of_file(file, args.gold)?);
    }
    let (mut given, mut left) = (0, BTreeMap::<String, u64>::new());
    let items = files.into_iter().flatten().map(|read| {
        let (item, labels) = read?;
        let labels = if args.without_labels { GivenLabels::default() } else { labels };
        given += labels.labels.len();
        for (question, count) in &labels.left {
            *left.entry(question.clone()).or_default() += count;
        }
        Ok::<_, palestra_datasets::Error>((item, labels))
    });
    let mut added = match &scorer {
        None => store.add_labelled(items)?,
        Some(scorer) => {
            let (mut items, labels): (Vec<NewItem>, Vec<GivenLabels>) =
                items.collect::<palestra_datasets::Result<Vec<_>>>()?.into_iter().unzip();
            scorer.score(&mut items)?;
            store.add_labelled(items.into_iter().zip(labels).map(Ok::<_, palestra_labels::Error>))?
        }
    };
    for (question, count) in &left {
        tracing::warn!(
            "{count} answers to the question {question:?} are not taken over: they choose none of the item's answers, rank \
             or rate it; ratings go from 1 to 5, and drafts do not count"
        );
    }
    if let Some(overlap) = args.overlap {
        store.set_overlap(overlap)?;
    }
    let mut alike = 0;
    if let Some(sampler) = sampler {
        let (sampled, none) = sampler.add_to(&mut store, scorer.as_ref(), output)?;
        (added.added, added.known, alike) = (added.added + sampled.added, added.known + sampled.known, none);
        added.scored += sampled.scored;
    }
    args.order.apply(&mut store)?;
    let (new, known) = (added.added, added.known);
    let labels = match (added.labels, given - added.labels) {
        (0, 0) => String::new(),
        (labels, 0) => format!("; {labels} labels taken over"),
        (labels, before) => format!("; {labels} labels taken over, {before} items had one of the same annotator"),
    };
    let told = format!("{}: {new} items added, {known} were there before{labels}", args.store.display());
    let none = if alike > 0 { format!("; {alike} prompts made none, all answers being equal") } else { String::new() };
    output.report(
        &json!({"added": new, "known": known, "alike": alike, "scored": added.scored, "labels": added.labels}),
        format!("{told}{none}"),
    )?;
    Ok(ExitCode::SUCCESS)
}
