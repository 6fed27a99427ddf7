use std::path::PathBuf;
use std::process::ExitCode;

use palestra_datasets::log::{Log, ReadOptions};
use palestra_datasets::stats::{Stats, StatsOptions, Summary, stats};

use super::{Output, OverwriteArgs, warn_of_skipped};
use crate::Result;
use palestra_report::{Bars, bars_svg};

/// Summarise the contents of a log
///
/// Prints the size and columns of the log, the returns and lengths of its episodes with their histograms, rewards,
/// ends, actions and the share of invalid ones, how much of the environment was seen, and which policy played what.
/// Damaged data ends the command with its file, row group and reason; --skip-bad skips and counts it.
///
/// Writes nothing but its output, and the picture of --histogram.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra log stats logs/maze
  palestra log stats logs/maze --histogram maze.svg
  palestra log stats 'runs/*/experience' --skip-bad --json | jq .returns.mean")]
pub struct Args {
    /// Parquet files, folders or quoted patterns
    #[arg(required = true)]
    files: Vec<String>,
    /// Draw the histograms of returns and lengths into this SVG file
    #[arg(long, value_name = "FILE.svg")]
    histogram: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Number of the most frequent actions, policies, ... to name
    #[arg(long, value_name = "N", default_value_t = StatsOptions::default().top)]
    top: usize,
    /// Skip files, row groups and episodes that cannot be read, and count them
    #[arg(long)]
    skip_bad: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let log = Log::open(&args.files, ReadOptions { skip_bad: args.skip_bad, ..ReadOptions::default() })?;
    let histogram = args.histogram.as_ref().map(|file| args.overwrite.claim(file, log.files())).transpose()?;
    let stats = stats(&log, &StatsOptions { top: args.top, ..StatsOptions::default() })?;
    warn_of_skipped(&log);
    if let Some(file) = histogram {
        file.write(picture(&stats).as_bytes())?;
    }
    output.report(&stats, stats.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn picture(stats: &Stats) -> String {
    let bars = |what: &str, summary: &Option<Summary>| {
        let summary = summary.as_ref()?;
        Some(Bars {
            title: format!("{what}: {summary}"),
            what: what.to_lowercase(),
            of: "episodes".to_string(),
            edges: summary.histogram.edges.clone(),
            counts: summary.histogram.counts.clone(),
        })
    };
    let bars = [bars("Return", &stats.returns), bars("Turns of an episode", &stats.lengths)];
    bars_svg(&bars.into_iter().flatten().collect::<Vec<_>>())
}
