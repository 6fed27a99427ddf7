//! Directories that appear whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes a directory so that a reader, or a crash, sees the old one, or none, or the new one and never a part.
///
/// `fill` writes files, each of which it syncs, into a hidden sibling, which is then synced and renamed. What had the name
/// before is replaced. Only one process may write a directory at a time.
///
/// # Errors
/// What `fill` fails with, or a name that cannot be given. Nothing is left behind.
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

/// Renames what was written to its name, and out of the way what had that name.
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

/// Makes the names in a directory survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    // Elsewhere a directory cannot be opened as a file, and renaming is as durable as the system makes it.
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io(path))?;
    }
    Ok(())
}

/// The folder that something is in; the current one where its path is a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a directory is written or taken apart, on the same file system.
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
