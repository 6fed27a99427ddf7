//! Length and CRC-32 of bytes, computed while they are written or read.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Length and checksum of a checkpoint's file, recorded when it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bytes: u64,
    pub(super) crc32: String,
}

/// A file that computes the length and CRC-32 of the bytes that pass through.
pub(super) struct Checksum<F> {
    inner: F,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl<F> Checksum<F> {
    pub(super) fn new(inner: F) -> Self {
        Self { inner, crc: crc32fast::Hasher::new(), bytes: 0 }
    }

    fn count(&mut self, passed: &[u8]) {
        self.crc.update(passed);
        self.bytes += passed.len() as u64;
    }

    pub(super) fn finish(self) -> (F, Record) {
        (self.inner, Record { bytes: self.bytes, crc32: format!("{:08x}", self.crc.finalize()) })
    }
}

impl<F: Write> Write for Checksum<F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.count(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<F: Read> Read for Checksum<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count(&buffer[..read]);
        Ok(read)
    }
}
