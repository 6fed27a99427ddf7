use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::Store;
use palestra_labels::summary::summary;

use super::Output;
use crate::Result;

/// Report counts, agreement of annotators, and which policies win
///
///   labels     `first`: the answer shown first is best; `later`: one shown later. If they differ much, annotators prefer a
///              position
///   agreement  share of equal choices, and kappa: the share corrected for chance. 1 is full agreement, 0 is chance
///   ratings    mean difference of two ratings of an answer, and Krippendorff's alpha, which is read like kappa
///   person     speed, agreement with the others, and checks right: answers to gold items
///   drift      the same in the first and the second half of the annotator's labels
///   policy     share of comparisons won, ties as half, with 95 % intervals; strength by the Bradley-Terry model on the Elo
///              scale
///   disputed   items on which annotators chose differently, the least agreed first
/// Labels of gold items count as checks alone.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label stats answers.db
  palestra label stats answers.db --json | jq .agreement")]
pub struct Args {
    /// Label store to report on
    store: PathBuf,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let summary = summary(&Store::open(&args.store)?)?;
    output.report(&summary, summary.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}
