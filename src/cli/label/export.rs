use std::path::PathBuf;
use std::process::ExitCode;

use palestra_datasets::preferences::write;
use palestra_labels::Store;
use palestra_labels::export::{Form, records};
use serde_json::json;

use super::Output;
use crate::Result;

/// Write what people said as a file for training
///
/// pairs    {"prompt", "chosen", "rejected"}, with "margin" where both answers were rated and the chosen one higher; a best
///          answer against each other, a ranking as all its pairs. --ties adds {"tie": true} rows, which only readers that
///          know that column take as ties
/// best     {"prompt", "completions", "best"}: the place of the best answer, from 0; of a ranking its first
/// labels   {"prompt", "completion", "label"}: good or not. The better of two is good and the other is not
/// ratings  {"prompt", "completion", "rating"}
///
/// Each row also says who judged (annotator), item, seconds, comment and the policy of each answer. Where people differ, all
/// that they said is there: training resolves it by a rule. Items that check who judges are left out.
///
/// Writes the new file, JSON lines or Parquet by its ending, whole or not at all.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label export answers.db judged.jsonl
  palestra label export answers.db judged.parquet --form labels")]
pub struct Args {
    /// The label store
    store: PathBuf,
    /// The new file, .jsonl or .parquet
    out: PathBuf,
    /// What a row is
    #[arg(long, value_parser = ["pairs", "best", "labels", "ratings"], default_value = "pairs")]
    form: String,
    /// With pairs: also those of which neither answer is better
    #[arg(long)]
    ties: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let form = match Form::named(&args.form).expect("clap knows the names") {
        Form::Pairs { .. } => Form::Pairs { ties: args.ties },
        other => other,
    };
    let records = records(&Store::open(&args.store)?, form)?;
    write(&args.out, &records)?;
    let report = json!({"file": args.out, "form": args.form, "rows": records.len()});
    output.report(&report, format_args!("{}: {} rows", args.out.display(), records.len()))?;
    Ok(ExitCode::SUCCESS)
}
