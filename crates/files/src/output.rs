//! The one place where bytes go to the disk: files that are being written.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::failpoint;

/// A file that is being written. With the feature `failpoints`, a test makes its writes fail.
#[derive(Debug)]
pub struct OutputFile(File);

impl OutputFile {
    /// Creates a file, or empties one.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open(OpenOptions::new().write(true).create(true).truncate(true), path)
    }

    /// Creates a file that does not exist yet.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        Self::open(OpenOptions::new().write(true).create_new(true), path)
    }

    /// Opens or creates a file to write at its end.
    pub fn append(path: &Path) -> io::Result<Self> {
        Self::open(OpenOptions::new().append(true).create(true), path)
    }

    fn open(options: &OpenOptions, path: &Path) -> io::Result<Self> {
        failpoint::reach()?;
        options.open(path).map(Self)
    }

    /// Waits until contents and length are on the disk.
    pub fn sync_all(&self) -> io::Result<()> {
        failpoint::reach()?;
        self.0.sync_all()
    }

    /// Waits until the contents are on the disk.
    pub fn sync_data(&self) -> io::Result<()> {
        failpoint::reach()?;
        self.0.sync_data()
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = failpoint::reach_write(bytes.len())?;
        self.0.write(&bytes[..length])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}
