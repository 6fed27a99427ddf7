use std::path::PathBuf;
use std::process::ExitCode;

use super::destination::{OverwriteArgs, files_of_model};
use super::output::Output;
use crate::compare::Comparison;
use crate::{Error, Result};

/// Compare runs by a metric
///
/// Runs that differ by their seeds alone are a group. Shows the mean and the interquartile mean of each group's final scores
/// (the mean of the last tenth of the updates), and the probability that a run of it is better than one of the best group,
/// with 95 % intervals by bootstrap over the runs. With --out it writes one HTML page with the curves.
///
/// Writes nothing but its output, and the page of --out.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra compare runs/lake-*
  palestra compare runs/lake-* --by ppo.epochs --metric evaluation/return_mean --out lake.html
  palestra compare runs/sft runs/sft-lora --by name --metric validation/mean_nll --json")]
pub struct Args {
    /// Directories of runs, or patterns of them
    #[arg(value_name = "RUN_DIR", required = true)]
    runs: Vec<String>,
    /// Metric to compare by [default: the mean return, or the held-out loss]
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// Key of the run files that makes the groups, such as ppo.epochs or name; can be repeated [default: all that differ]
    #[arg(long, value_name = "KEY")]
    by: Vec<String>,
    /// HTML page to write
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let runs = directories(&args.runs)?;
    let reads: Vec<PathBuf> = runs.iter().flat_map(|run| files_of_model(run)).collect();
    let page = args.out.as_ref().map(|file| args.overwrite.claim(file, &reads)).transpose()?;
    let comparison = Comparison::of(&runs, args.metric.as_deref(), &args.by)?;
    if let Some(page) = page {
        page.write(comparison.page().as_bytes())?;
    }
    output.report(&comparison, &comparison)?;
    Ok(ExitCode::SUCCESS)
}

/// Directories of runs that paths and patterns name.
fn directories(named: &[String]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in named {
        if PathBuf::from(name).is_dir() {
            found.push(name.into());
            continue;
        }
        let paths = glob::glob(name).map_err(|error| Error::Config(format!("{name}: {error}")))?;
        let before = found.len();
        found.extend(paths.flatten().filter(|path| path.join("run.toml").is_file()));
        if found.len() == before {
            return Err(Error::Config(format!(
                "{name}: no run is there; give directories like runs/<name>, or a pattern"
            )));
        }
    }
    Ok(found)
}
