//! Atomic writes of whole directories.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes a directory so that a reader, or a crash, finds the old one, or none, or the new one, but never a part of it.
///
/// `fill` writes files into a hidden sibling, and syncs each of them. The sibling is then synced and renamed. An
/// existing directory of that name is replaced. Only one process may write a directory at a time.
///
/// # Errors
/// An error of `fill`, or a name that cannot be used. Nothing is left behind.
pub fn write_directory(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_sibling(target)?;
    let parent = folder_of(target);
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    remove_if_there(&temporary)?; // left by a process that was killed while it wrote
    let written = fs::create_dir(&temporary)
        .map_err(Error::io(&temporary))
        .and_then(|()| fill(&temporary))
        .and_then(|()| sync_directory(&temporary))
        .and_then(|()| put_in_place(&temporary, target));
    if written.is_err() {
        let _ = remove_if_there(&temporary); // the failure to write is the one to tell
    }
    written
}

/// Renames the temporary directory to its final name, after moving an existing one out of the way.
fn put_in_place(temporary: &Path, target: &Path) -> Result<()> {
    let replaced = target.exists().then(|| {
        let mut name = temporary.as_os_str().to_owned();
        name.push("-replaced");
        PathBuf::from(name)
    });
    if let Some(replaced) = &replaced {
        remove_if_there(replaced)?;
        fs::rename(target, replaced).map_err(Error::io(target))?;
    }
    if let Err(error) = fs::rename(temporary, target) {
        if let Some(replaced) = &replaced {
            let _ = fs::rename(replaced, target);
        }
        return Err(Error::io(target)(error));
    }
    sync_directory(folder_of(target))?;
    replaced.map_or(Ok(()), |replaced| remove_if_there(&replaced))
}

/// Syncs a directory, so that its entries survive a loss of power.
pub fn sync_directory(path: &Path) -> Result<()> {
    // On other systems a directory cannot be opened as a file, and the durability of a rename depends on the system.
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io(path))?;
    }
    Ok(())
}

/// The parent directory of a path; the current directory for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Path of a temporary directory on the same file system, for writing or removing.
pub(super) fn temporary_sibling(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory.into()).map_err(Error::io(path))?;
    Ok(path.with_file_name(format!(".tmp-{}", name.to_string_lossy())))
}

pub(super) fn remove_if_there(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(directory)(error)),
        _ => Ok(()),
    }
}
