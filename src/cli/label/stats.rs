use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::Store;
use palestra_labels::summary::summary;

use super::Output;
use crate::Result;

/// Report how much is labelled, by whom, and how far people agree
///
/// Agreement is corrected for chance: Cohen's kappa of each two people, Fleiss' kappa of all; 1 is full agreement.
/// `first` among the verdicts counts answers that were shown first and were best: far from half, people favour a
/// position. Checks are the items whose best answer is known.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label stats answers.db
  palestra label stats answers.db --json | jq .fleiss")]
pub struct Args {
    /// Label store to report on
    store: PathBuf,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let summary = summary(&Store::open(&args.store)?)?;
    output.report(&summary, summary.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}
