//! Directories that appear, are replaced and are removed as a whole. Must not know what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::{parent_of, publish, rename, temporary_path};
use crate::{Error, Result, failpoint};

/// Writes a directory atomically. Creates its parent directory if missing.
///
/// `fill` writes and syncs the files in a hidden directory. This is then synced and renamed, in place of an existing
/// directory. Only one process may write a directory at a time.
///
/// # Errors
/// An error of `fill`, or a name that cannot be used. Nothing is left behind.
pub fn write_directory<E: From<Error>>(target: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let temporary = temporary_path(target, "")?;
    let parent = parent_of(target);
    failpoint::reach().and_then(|()| fs::create_dir_all(parent)).map_err(Error::at(target))?;
    remove_if_there(&temporary)?; // left by a process that was killed while it wrote
    let written = failpoint::reach()
        .and_then(|()| fs::create_dir(&temporary))
        .map_err(|error| E::from(Error::at(&temporary)(error)))
        .and_then(|()| fill(&temporary))
        .and_then(|()| Ok(put_in_place(&temporary, target)?));
    if written.is_err() {
        let _ = remove_if_there(&temporary); // the failure to write is the error to report
    }
    written
}

/// Renames the temporary directory to its final name, after moving an existing one out of the way.
fn put_in_place(temporary: &Path, target: &Path) -> Result<()> {
    if !target.exists() {
        return publish(temporary, target);
    }
    let mut replaced = temporary.as_os_str().to_owned();
    replaced.push("-replaced");
    let replaced = PathBuf::from(replaced);
    remove_if_there(&replaced)?;
    failpoint::reach().and_then(|()| fs::rename(target, &replaced)).map_err(Error::at(target))?;
    if let Err(error) = publish(temporary, target) {
        let _ = fs::rename(&replaced, target);
        return Err(error);
    }
    remove_if_there(&replaced)
}

/// Removes a directory. It is first renamed, so that an interrupted removal leaves no part of it under its name.
///
/// # Errors
/// A directory that cannot be renamed or removed.
pub fn remove_directory(path: &Path) -> Result<()> {
    let hidden = temporary_path(path, "")?;
    remove_if_there(&hidden)?;
    rename(path, &hidden)?;
    remove_if_there(&hidden)
}

fn remove_if_there(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(directory)(error)),
        _ => Ok(()),
    }
}
