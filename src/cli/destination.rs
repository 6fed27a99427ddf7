//! `--overwrite`: the one rule of all commands for the files that they write.

use std::path::{Path, PathBuf};

use palestra_files::Destination;

use crate::Result;
use crate::run_dir::RunDir;

/// Replacement of output files.
#[derive(clap::Args)]
pub struct OverwriteArgs {
    /// Replace the file to write if it exists; a file that the command reads is never replaced
    #[arg(long)]
    pub overwrite: bool,
}

impl OverwriteArgs {
    /// Checks and locks a file to write. Called before the work, so that a long command is not refused at its end.
    ///
    /// # Errors
    /// As [`Destination::claim`].
    pub fn claim(&self, path: &Path, reads: &[impl AsRef<Path>]) -> Result<Destination> {
        Ok(Destination::claim(path, self.overwrite, reads)?)
    }
}

/// Files and directories that names of files, folders and patterns stand for. What matches nothing is refused by the
/// reader.
pub fn named(patterns: &[impl AsRef<str>]) -> Vec<PathBuf> {
    let matches = |pattern: &str| {
        if Path::new(pattern).exists() {
            return vec![PathBuf::from(pattern)];
        }
        glob::glob(pattern).map_or_else(|_| Vec::new(), |found| found.flatten().collect())
    };
    patterns.iter().flat_map(|pattern| matches(pattern.as_ref())).collect()
}

/// Files and directories that are read of a model: of a run its run file and checkpoints, since people put files of their own beside them.
pub fn files_of_model(path: &Path) -> Vec<PathBuf> {
    match RunDir::open(path) {
        Ok(run) => vec![run.run_file(), run.checkpoints(), run.best()],
        Err(_) => vec![path.to_owned()],
    }
}
