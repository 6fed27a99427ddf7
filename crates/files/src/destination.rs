//! Files that a person names for a program to write. One rule for all of them: a file that exists is kept unless the
//! person lets it be replaced, a file that the program reads is never replaced, and one process at a time writes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::file::{parent_of, temporary_path, write_atomically};
use crate::temporaries::remove_temporaries_of;
use crate::{Error, Result};

/// A named output file, checked and locked. The lock is released when the value is dropped, and by the system however
/// the process ends. If nothing was written, the directories that were made for it go too.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
    /// Directories that were made for the file, the outermost first.
    made: Vec<PathBuf>,
}

impl Destination {
    /// Claims the path of a file for this process, creates its directory if missing, and removes what killed writers of
    /// the file left under hidden names.
    ///
    /// `reads` are the files and directories that the program reads. Files are compared by what they are, not by their
    /// names: links are followed. Nothing that exists below a directory of `reads` is replaced.
    ///
    /// # Errors
    /// A path of a directory, of something that exists unless `overwrite` is set, of something that is read, or one that
    /// another process writes.
    pub fn claim(path: &Path, overwrite: bool, reads: &[impl AsRef<Path>]) -> Result<Self> {
        check(path, overwrite, reads)?;
        let lock_path = temporary_path(path, ".lock")?;
        let parent = parent_of(path);
        let mut made: Vec<PathBuf> = parent.ancestors().take_while(|at| !at.exists()).map(Path::to_owned).collect();
        made.reverse();
        fs::create_dir_all(parent).map_err(Error::at(parent))?;
        let lock = lock(&lock_path).map_err(Error::at(path))?;
        let destination = Self { path: path.to_owned(), lock_path, _lock: lock, made };
        check(path, overwrite, reads)?; // another process may have finished it before the lock
        remove_temporaries_of(path)?;
        Ok(destination)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the whole file atomically.
    ///
    /// # Errors
    /// A file that cannot be written. An existing one stays as it was.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        write_atomically(&self.path, bytes)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        // Still locked, so that nobody else holds what is removed. `lock` notices a file that was removed under it.
        let _ = fs::remove_file(&self.lock_path);
        // A directory with a file in it stays.
        self.made.iter().rev().for_each(|directory| _ = fs::remove_dir(directory));
    }
}

fn check(path: &Path, overwrite: bool, reads: &[impl AsRef<Path>]) -> Result<()> {
    let refused = |kind, reason: &str| Err(Error::at(path)(io::Error::new(kind, reason)));
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::at(path)(error)),
    };
    if reads.iter().any(|read| is_part_of(path, read.as_ref())) {
        return refused(io::ErrorKind::InvalidInput, "this command reads it, so it is not written; name another file");
    }
    if found.is_dir() {
        return refused(io::ErrorKind::IsADirectory, "is a directory; name a file");
    }
    if !overwrite {
        return refused(
            io::ErrorKind::AlreadyExists,
            "there is a file already; name another, or replace it with --overwrite",
        );
    }
    Ok(())
}

/// True if a path leads to the file `read`, or into the directory `read`, by any name.
fn is_part_of(path: &Path, read: &Path) -> bool {
    let (Ok(path), Ok(read)) = (fs::canonicalize(path), fs::canonicalize(read)) else { return false };
    path.starts_with(&read) || is_same_file(&path, &read)
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => identity(&one) == identity(&other),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
}

/// Opens and locks the file at a path. It must still have its name once it is locked: the process that held it before
/// may have removed it.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let reason = "another process is writing it; wait until it ends, or name another file";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
            }
        }
        if has_name(&file, path) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn has_name(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => identity(&held) == identity(&named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn has_name(_: &File, path: &Path) -> bool {
    path.exists() // elsewhere an open file cannot be removed
}

/// Device and number of a file.
#[cfg(unix)]
fn identity(of: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (of.dev(), of.ino())
}
