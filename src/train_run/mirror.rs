//! Mirror of a run in an object store: a folder for each checkpoint, with all that the run needs to go on elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use palestra_files::Address;
use palestra_learn::collective::{Collective, of_first};
use palestra_model::checkpoint;
use palestra_remote::{download_folder, files_of, folders, put_folder, remove_folder};

use super::TrainOptions;
use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result};

/// Folder that a run is sent to.
pub(super) struct Mirror {
    address: Address,
    keep: usize,
    /// Error of the last checkpoint that was sent.
    failed: Option<Error>,
}

impl Mirror {
    /// Opens the mirror of a run, if it has one.
    ///
    /// # Errors
    /// A folder that holds a run already, unless this one goes on; a store that does not answer, or that refuses it.
    pub fn open(run: &RunFile, options: &TrainOptions) -> Result<Option<Self>> {
        let Some(address) = run.train.upload_address()? else { return Ok(None) };
        let there = folders(&address)?;
        if let Some((name, _)) = there.first().filter(|_| !options.resumes()) {
            return Err(Error::Config(format!(
                "train.upload: {address} holds a run already ({name}); go on with it by --resume, or name another folder"
            )));
        }
        if run.rollout.record {
            tracing::warn!(
                "{}: the log of rollouts is not sent to {address}; it stays in the run's directory",
                run.name
            );
        }
        Ok(Some(Self { address, keep: run.train.keep_checkpoints, failed: None }))
    }

    /// Sends the last checkpoint of a run, with the files beside it. If the store fails, the run goes on, and the next
    /// checkpoint is sent.
    pub fn send(&mut self, dir: &RunDir) {
        self.failed = self.try_send(dir).err();
        if let Some(error) = &self.failed {
            tracing::warn!("the checkpoint is saved, and was not sent: {error}");
        }
    }

    fn try_send(&self, dir: &RunDir) -> Result<()> {
        let Some(checkpoint) = checkpoint::latest(&dir.checkpoints())? else { return Ok(()) };
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_sent = |(_, path): &(String, PathBuf)| {
            let is_of_others = path.starts_with(dir.checkpoints()) && !path.starts_with(&checkpoint);
            !is_of_others && !path.starts_with(dir.experience()) && *path != dir.lock()
        };
        let files: Vec<_> = files_of(dir.path())?.into_iter().filter(is_sent).collect();
        put_folder(&files, &self.address.join(&name), true)?;
        let mut whole: Vec<String> = Vec::new();
        for (there, is_whole) in folders(&self.address)? {
            if there > name {
                remove_folder(&self.address.join(&there))?; // of updates that the run went back behind
            } else if is_whole {
                whole.push(there);
            }
        }
        whole.sort();
        let old = whole.len().saturating_sub(self.keep);
        whole.iter().take(old).try_for_each(|name| Ok(remove_folder(&self.address.join(name))?))
    }

    /// Ends the mirror.
    ///
    /// # Errors
    /// A last checkpoint that was not sent.
    pub fn finish(self, dir: &RunDir) -> Result<()> {
        match self.failed {
            Some(error) => Err(Error::Training(format!(
                "the run is saved in {}, and its last checkpoint was not sent: {error}",
                dir.path().display()
            ))),
            None => Ok(()),
        }
    }
}

/// Brings back the newest whole checkpoint of a run that is resumed where its directory is not there. Rank 0 does.
///
/// # Errors
/// A store that does not answer, or that refuses it.
pub(super) fn restore(run: &RunFile, options: &TrainOptions, collective: &dyn Collective) -> Result<()> {
    let Some(address) = run.train.upload_address()?.filter(|_| options.resumes()) else { return Ok(()) };
    let done = match collective.rank() {
        0 => restore_here(&address, &options.directory(run)).map_err(|error| error.to_string()),
        _ => Ok(()),
    };
    of_first(collective, &done)?.map_err(Error::Training)
}

fn restore_here(address: &Address, directory: &Path) -> Result<()> {
    if fs::read_dir(directory).is_ok_and(|mut inside| inside.next().is_some()) {
        return Ok(());
    }
    let newest = folders(address)?.into_iter().filter(|(_, is_whole)| *is_whole).map(|(name, _)| name).max();
    if let Some(name) = newest {
        let folder = address.join(&name);
        tracing::info!("{} is not there; bringing it back from {folder}", directory.display());
        download_folder(&folder, directory)?;
    }
    Ok(())
}
