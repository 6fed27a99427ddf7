//! Files that get their names when they are whole. Must not know what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::Address;
use crate::output::OutputFile;
use crate::{Error, Result, failpoint};

/// Start of the names of files and directories that are being written.
const PREFIX: &str = ".tmp-";

/// Size of the buffer of an [`AtomicFile`] in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a whole file atomically. Creates its directory if missing.
///
/// # Errors
/// A file that cannot be written. An existing one stays as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    temporary_path(path, "")?; // before a directory is made
    let parent = parent_of(path);
    failpoint::reach().and_then(|()| fs::create_dir_all(parent)).map_err(Error::at(path))?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::at(path))?;
    file.commit()
}

/// A file whose contents are streamed. It gets its name with [`commit`](Self::commit). If it is dropped before, nothing
/// is left of it, and an existing file of that name stays as it was.
#[derive(Debug)]
pub struct AtomicFile {
    /// Dropped before the temporary file is removed: an open file cannot be removed on every system.
    out: BufWriter<OutputFile>,
    temporary: Temporary,
}

impl AtomicFile {
    /// Opens a temporary file in the directory of `path`, which must exist.
    ///
    /// # Errors
    /// A path that does not name a file, or a directory that cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let temporary = Temporary::beside(path)?;
        let file = OutputFile::create(temporary.path()).map_err(Error::at(path))?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), temporary })
    }

    /// Path of the temporary file, to read back the contents written so far after a flush.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Syncs the contents and gives the file its name, in place of an existing one.
    ///
    /// # Errors
    /// A file that cannot be written, or a name that cannot be given to it.
    pub fn commit(mut self) -> Result<()> {
        let written = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        written.map_err(Error::at(&self.temporary.target))?;
        drop(self.out);
        rename(&self.temporary.path, &self.temporary.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.out.seek(position)
    }
}

/// A temporary name for a file that is opened by its path. What has this name is removed when the value is dropped.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    target: PathBuf,
}

impl Temporary {
    /// Chooses a hidden name in the directory of `target` that no other writer of this process has.
    ///
    /// # Errors
    /// A path that does not end in a name.
    pub fn beside(target: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = temporary_path(target, &format!(".{process}-{number}"))?;
        Ok(Self { path, target: target.to_owned() })
    }

    /// The temporary path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file and gives it its final name, in place of an existing one. Its writer must be closed.
    ///
    /// # Errors
    /// As [`publish`].
    pub fn publish(self) -> Result<()> {
        publish(&self.path, &self.target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename nothing is left to remove; after a failure, the failure is the error to report.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives a complete file or directory its final name: syncs it, renames it and syncs the directory of the new name. The
/// files inside a directory must have been synced.
///
/// # Errors
/// A path that cannot be synced or renamed; names the final path.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        sync_directory(from)?;
    } else {
        let file = failpoint::reach().and_then(|()| OpenOptions::new().write(true).open(from));
        file.and_then(|file| file.sync_all()).map_err(Error::at(to))?;
    }
    rename(from, to)
}

/// True if a path has the name of a file or directory that is being written, or that a killed process left.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// A hidden path in the same directory, and therefore on the same file system.
pub(crate) fn temporary_path(path: &Path, suffix: &str) -> Result<PathBuf> {
    if Address::is_in(path) {
        let reason = "is an address of an object store, and this is written to a path alone; name a path";
        return Err(Error::at(path)(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory.into()).map_err(Error::at(path))?;
    Ok(path.with_file_name(format!("{PREFIX}{}{suffix}", name.to_string_lossy())))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = failpoint::reach().and_then(|()| fs::rename(from, to));
    renamed.and_then(|()| try_sync_directory(parent_of(to))).map_err(Error::at(to))
}

/// Syncs a directory, so that its entries survive a loss of power.
///
/// # Errors
/// A path that is not a directory, or an error of the disk.
pub fn sync_directory(path: &Path) -> Result<()> {
    try_sync_directory(path).map_err(Error::at(path))
}

fn try_sync_directory(path: &Path) -> io::Result<()> {
    // On other systems a directory cannot be opened as a file, and the durability of a rename depends on the system.
    if cfg!(unix) {
        failpoint::reach().and_then(|()| File::open(path))?.sync_all()?;
    }
    Ok(())
}

/// The parent directory of a path; the current directory for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
