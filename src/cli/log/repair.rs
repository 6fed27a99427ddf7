use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palestra_datasets::log::repair;
use serde::Serialize;

use super::Output;
use crate::Result;

/// Make a log readable for other tools after its writer was killed
///
/// A Parquet file ends with a footer that lists its rows, and a writer that is killed leaves none. Palestra still reads
/// such a log, up to the last group of rows that was written whole. Other tools, such as pandas, refuse it. This command
/// removes the rows after that group, which are damaged, and writes the footer. It repairs logs that Palestra wrote, and
/// only while no program writes them. It leaves a log with a footer as it is.
///
/// Writes the file itself, and nothing else.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra log repair logs/maze/mixed.parquet")]
pub struct Args {
    /// Parquet file to repair
    file: PathBuf,
}

/// Result of a repair.
#[derive(Serialize)]
struct Outcome<'a> {
    file: &'a Path,
    #[serde(flatten)]
    repaired: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    rows: u64,
    row_groups: usize,
    bytes_dropped: u64,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let repaired = repair(&args.file)?;
    let counts =
        repaired.map(|done| Counts { rows: done.rows, row_groups: done.row_groups, bytes_dropped: done.bytes_dropped });
    let outcome = Outcome { file: &args.file, repaired: counts };
    output.report(&outcome, &outcome)?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.repaired {
            None => write!(f, "{file}: has an end; nothing was changed"),
            Some(Counts { rows, row_groups, bytes_dropped }) => write!(
                f,
                "{file}: repaired; {rows} rows in {row_groups} row groups are left, and {bytes_dropped} bytes of an \
                 unfinished end were cut away"
            ),
        }
    }
}
