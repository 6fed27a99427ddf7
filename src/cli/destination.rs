//! `--overwrite`: the one rule of all commands for the files that they write, at paths and at addresses of object stores.

use std::path::{Path, PathBuf};

use palestra_files::{Address, Destination};
use palestra_remote::{check_free, put_file, put_folder};
use tempfile::TempDir;

use crate::run_dir::RunDir;
use crate::{Error, Result};

/// Replacement of output files.
#[derive(clap::Args)]
pub struct OverwriteArgs {
    /// Replace the file to write if it exists; a file that the command reads is never replaced
    #[arg(long)]
    pub overwrite: bool,
}

/// A file to write, checked and locked. That of an address is written on this machine first, and sent when it is whole.
pub struct OutputFile {
    file: Destination,
    remote: Option<Remote>,
}

/// Files to write in one directory, which at an address appear together.
pub struct OutputFiles {
    /// The last one first: the first one, which made the directory, is dropped last and removes it if nothing was written.
    files: Vec<Destination>,
    remote: Option<Remote>,
}

/// An address to write to, and the directory of what is sent there.
struct Remote {
    address: Address,
    overwrite: bool,
    directory: TempDir,
}

impl OverwriteArgs {
    /// Checks and locks a file to write. Called before the work, so that a long command is not refused at its end.
    ///
    /// # Errors
    /// As [`Destination::claim`] and [`check_free`].
    pub fn claim(&self, path: &Path, reads: &[impl AsRef<Path>]) -> Result<OutputFile> {
        let remote = self.remote(path)?;
        let local = remote.as_ref().map(|remote| remote.directory.path().join(remote.address.name()));
        let file = Destination::claim(local.as_deref().unwrap_or(path), self.overwrite, reads)?;
        Ok(OutputFile { file, remote })
    }

    /// As [`OverwriteArgs::claim`], of files in a directory.
    ///
    /// # Errors
    /// As [`OverwriteArgs::claim`].
    pub fn claim_all(&self, directory: &Path, names: &[&str], reads: &[impl AsRef<Path>]) -> Result<OutputFiles> {
        let folder = Address::of_path(directory).map(|address| address.map(|address| address.folder().to_string()));
        let folder = folder.transpose().map_err(Error::Config)?.map_or_else(|| directory.to_owned(), PathBuf::from);
        let remote = self.remote(&folder)?;
        let local = remote.as_ref().map_or(directory, |remote| remote.directory.path());
        let claim = |name: &&str| Destination::claim(&local.join(name), self.overwrite, reads);
        let mut files = names.iter().map(claim).collect::<Result<Vec<_>, _>>()?;
        files.reverse();
        Ok(OutputFiles { files, remote })
    }

    fn remote(&self, path: &Path) -> Result<Option<Remote>> {
        let Some(address) = Address::of_path(path) else { return Ok(None) };
        let address = address.map_err(Error::Config)?;
        check_free(&address, self.overwrite)?;
        let directory = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
        Ok(Some(Remote { address, overwrite: self.overwrite, directory }))
    }
}

impl OutputFile {
    /// The file on this machine, to be written by its path; [`OutputFile::finish`] then sends it.
    pub fn file(&self) -> &Destination {
        &self.file
    }

    /// Writes the whole file.
    ///
    /// # Errors
    /// A file or object that cannot be written. An existing one stays as it was.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        palestra_files::write_atomically(self.file.path(), bytes)?;
        self.finish()
    }

    /// Sends a file that was written by its path, if its place is an address.
    ///
    /// # Errors
    /// An object that cannot be written. An existing one stays as it was.
    pub fn finish(self) -> Result<()> {
        match &self.remote {
            Some(remote) => Ok(put_file(self.file.path(), &remote.address, remote.overwrite)?),
            None => Ok(()),
        }
    }
}

impl OutputFiles {
    /// Writes the whole files, the first one last.
    ///
    /// # Errors
    /// As [`OutputFile::write`].
    pub fn write(self, contents: &[&[u8]]) -> Result<()> {
        for (file, bytes) in self.files.iter().zip(contents.iter().rev()) {
            palestra_files::write_atomically(file.path(), bytes)?;
        }
        let Some(remote) = self.remote else { return Ok(()) };
        let name = |file: &Destination| file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files: Vec<_> = self.files.iter().map(|file| (name(file), file.path().to_owned())).collect();
        Ok(put_folder(&files, &remote.address, remote.overwrite)?)
    }
}

/// Refuses an address as the place of an output that is only written to paths.
///
/// # Errors
/// An address, with what would be right.
pub fn check_path(option: &str, path: &Path, right: &str) -> Result<()> {
    if Address::is_in(path) {
        return Err(Error::Config(format!("{option} {}: is written to a path alone; {right}", path.display())));
    }
    Ok(())
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
