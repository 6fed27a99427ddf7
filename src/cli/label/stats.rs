use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::Store;
use palestra_labels::summary::summary;

use super::Output;
use crate::Result;

/// Say how much was judged, by whom, and how far people agree
///
/// Agreement is beyond what chance would bring: Cohen's kappa of each two people, Fleiss' kappa of all, 1 where they agree in
/// everything. `first` among the verdicts counts answers that stood first and were best: far from half, people look at the
/// place. Checks are the items whose best answer is known.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label stats answers.db
  palestra label stats answers.db --json | jq .fleiss")]
pub struct Args {
    /// The label store
    store: PathBuf,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let summary = summary(&Store::open(&args.store)?)?;
    output.report(&summary, summary.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}
