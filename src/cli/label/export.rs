use std::path::PathBuf;
use std::process::ExitCode;

use palestra_datasets::preferences::{Format, encode};
use palestra_labels::Store;
use palestra_labels::export::{Form, records};
use serde_json::json;

use super::Output;
use crate::cli::destination::OverwriteArgs;
use crate::{Error, Result};

/// Export labels as a file for training
///
/// pairs    {"prompt", "chosen", "rejected"}, with "margin" if both answers were rated and the chosen one higher; a
///          best answer against each other, a ranking as all its pairs. --ties adds {"tie": true} rows, which only
///          readers that know that column take as ties
/// best     {"prompt", "completions", "best"}: the index of the best answer, from 0; of a ranking its first
/// labels   {"prompt", "completion", "label"}: good or bad. The better of two is good and the other is bad
/// ratings  {"prompt", "completion", "rating"}
///
/// Each row also holds the annotator, item, seconds, comment and the policy of each answer. If people differ, all their
/// labels are exported: training resolves them by a rule. Items that check the people who label are left out.
///
/// Writes the new file, JSON lines or Parquet by its ending, completely or not at all.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label export answers.db preferences.jsonl
  palestra label export answers.db preferences.parquet --form labels")]
pub struct Args {
    /// Label store to export
    store: PathBuf,
    /// File to create, .jsonl or .parquet
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Form of a row
    #[arg(long, value_parser = ["pairs", "best", "labels", "ratings"], default_value = "pairs")]
    form: String,
    /// Export pairs without a better answer as ties, too; only with pairs
    #[arg(long)]
    ties: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let form = match Form::named(&args.form).expect("clap knows the names") {
        Form::Pairs { .. } => Form::Pairs { ties: args.ties },
        other => other,
    };
    let format = Format::of(&args.out)?;
    let out = args.overwrite.claim(&args.out, &[&args.store])?;
    let records = records(&Store::open(&args.store)?, form)?;
    let bytes = encode(&records, format).map_err(|reason| Error::Data(format!("{}: {reason}", args.out.display())))?;
    out.write(&bytes)?;
    let report = json!({"file": args.out, "form": args.form, "rows": records.len()});
    output.report(&report, format_args!("{}: {} rows", args.out.display(), records.len()))?;
    Ok(ExitCode::SUCCESS)
}
