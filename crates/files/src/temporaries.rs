//! Removal of what killed processes left under hidden names. Never follows a link.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use crate::file::{is_temporary, parent_of, temporary_path};
use crate::{Error, Result};

/// Removes files and directories that killed processes were writing in a directory or below it. The caller holds a lock
/// that keeps other processes from writing there. Links are not followed; a missing directory is an empty one.
///
/// # Errors
/// A directory that cannot be listed, or an entry that cannot be removed.
pub fn remove_temporaries(directory: &Path) -> Result<()> {
    for entry in entries(directory)? {
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::at(&path))?;
        if is_temporary(&path) {
            remove(&path, kind.is_dir())?;
        } else if kind.is_dir() {
            remove_temporaries(&path)?;
        }
    }
    Ok(())
}

/// Removes the temporary files of killed writers of `path`, whose names [`Temporary`](crate::Temporary) chose. The caller
/// holds the lock of `path`.
pub(crate) fn remove_temporaries_of(path: &Path) -> Result<()> {
    let start = temporary_path(path, ".")?;
    let start = start.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = format!("{}-", std::process::id());
    for entry in entries(parent_of(path))? {
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix(&start)) else { continue };
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_ours = number.split_once('-').is_some_and(|(process, count)| is_number(process) && is_number(count));
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_ours && is_file && !number.starts_with(&own) {
            remove(&entry.path(), false)?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>> {
    match fs::read_dir(directory).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(Error::at(directory)),
    }
}

fn remove(path: &Path, is_directory: bool) -> Result<()> {
    let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(path)(error)),
        _ => Ok(()),
    }
}
