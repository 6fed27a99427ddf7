//! The bytes of a row group, in the form that the Parquet crate reads.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::record::read_at;

/// Maximum gap between column chunks that are read together: reading over a gap costs less than a seek.
const GAP: u64 = 256 << 10;

pub(super) enum Source {
    /// Ranges of the file in memory, in order, each with its start offset.
    Loaded(Vec<(u64, Bytes)>),
    /// The file itself, read one page at a time. The position of a file is shared, so each reader has its own file.
    File(Arc<File>, u64),
}

impl Source {
    /// Reads the ranges of `chunks` (start and length each) into memory.
    pub fn load(file: &mut File, mut chunks: Vec<(u64, u64)>) -> std::io::Result<Self> {
        chunks.sort_unstable();
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for (start, len) in chunks {
            match stretches.last_mut() {
                Some((first, end)) if start <= end.saturating_add(GAP) => *end = (*end).max(start + len),
                _ => stretches.push((start, start + len)),
            }
        }
        let loaded = stretches
            .into_iter()
            .map(|(start, end)| Ok((start, read_at(file, start, (end - start) as usize)?.into())))
            .collect::<std::io::Result<_>>()?;
        Ok(Self::Loaded(loaded))
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::Loaded(stretches) => stretches.last().map_or(0, |(start, bytes)| start + bytes.len() as u64),
            Self::File(_, len) => *len,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self {
            Self::Loaded(stretches) => {
                let (first, bytes) = stretch_at(stretches, start)?;
                Ok(Box::new(bytes.slice((start - first) as usize..).reader()))
            }
            Self::File(file, _) => Ok(Box::new(BufReader::new(FileReader { file: file.clone(), at: start }))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Self::Loaded(stretches) => {
                let (first, bytes) = stretch_at(stretches, start)?;
                let from = (start - first) as usize;
                match from.checked_add(length).filter(|end| *end <= bytes.len()) {
                    Some(end) => Ok(bytes.slice(from..end)),
                    None => Err(outside(start)),
                }
            }
            Self::File(file, len) if start.checked_add(length as u64).is_some_and(|end| end <= *len) => {
                let mut bytes = vec![0; length];
                FileReader { file: file.clone(), at: start }.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
            Self::File(..) => Err(outside(start)),
        }
    }
}

/// A reader with its own position on a file that is shared with other readers of the same thread.
struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.as_ref();
        file.seek(SeekFrom::Start(self.at))?;
        let count = file.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn stretch_at(stretches: &[(u64, Bytes)], place: u64) -> Result<&(u64, Bytes)> {
    let after = stretches.partition_point(|(start, _)| *start <= place);
    let stretch = after.checked_sub(1).map(|index| &stretches[index]);
    stretch.filter(|(start, bytes)| place - start <= bytes.len() as u64).ok_or_else(|| outside(place))
}

fn outside(place: u64) -> ParquetError {
    ParquetError::EOF(format!("byte {place} lies outside the row group"))
}
