use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use positioned_io::ReadAt;

use super::header::{HEADER_BYTES, ShardHeader, Vocabulary};
use crate::error::{Error, Result};
use crate::remote::local;

/// The token ids of many documents, in a file or in memory.
#[derive(Debug)]
pub struct Shard {
    file: PathBuf,
    header: ShardHeader,
    store: Store,
}

#[derive(Debug)]
enum Store {
    File(File),
    Memory { tokens: Vec<u32>, ends: Vec<u64> },
}

impl Shard {
    /// Opens a file, or the copy of an address, and reads its header only.
    ///
    /// # Errors
    /// A file that is not a shard, is truncated, or has a damaged header.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(local(path)?).map_err(Error::io(path, "open it"))?;
        let found = file.metadata().map_err(Error::io(path, "look into it"))?.len();
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(0, &mut bytes).map_err(|_| {
            Error::file(path, "no token shard: it is shorter than a header; `palestra tokenizer encode` makes them")
        })?;
        let header = ShardHeader::from_bytes(&bytes, path)?;
        if found != header.file_bytes() {
            let right = header.file_bytes();
            let reason = format!("it has {found} bytes where {right} were written; copy it or encode the texts again");
            return Err(Error::file(path, reason));
        }
        Ok(Self { file: path.to_owned(), header, store: Store::File(file) })
    }

    /// Creates a shard from documents in memory that were just encoded; `name` is used in errors. Each document ends
    /// with the separator, if the vocabulary has one.
    pub fn in_memory(name: &Path, documents: &[Vec<u32>], vocabulary: Vocabulary, text_bytes: u64) -> Self {
        let mut tokens = Vec::new();
        let ends = documents.iter().map(|document| {
            tokens.extend(document.iter().chain(&vocabulary.separator));
            tokens.len() as u64
        });
        let ends: Vec<u64> = ends.collect();
        let (count, documents) = (tokens.len() as u64, ends.len() as u64);
        let header = ShardHeader { vocabulary, tokens: count, documents, text_bytes, checksums: [0; 2] };
        Self { file: name.to_owned(), header, store: Store::Memory { tokens, ends } }
    }

    /// Returns the header.
    pub fn header(&self) -> &ShardHeader {
        &self.header
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the tokens of a range, which must lie in the shard.
    ///
    /// # Errors
    /// A file that cannot be read, or an id beyond the vocabulary.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u32>> {
        let file = match &self.store {
            Store::Memory { tokens, .. } => return Ok(tokens[range.start as usize..range.end as usize].to_vec()),
            Store::File(file) => file,
        };
        let width = self.header.vocabulary.width();
        let mut bytes = vec![0; (range.end - range.start) as usize * width];
        let at = HEADER_BYTES as u64 + range.start * width as u64;
        file.read_exact_at(at, &mut bytes).map_err(Error::io(&self.file, "read it"))?;
        let tokens: Vec<u32> = match width {
            2 => bytes.chunks_exact(2).map(|id| u16::from_le_bytes([id[0], id[1]]).into()).collect(),
            _ => bytes.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).collect(),
        };
        let size = self.header.vocabulary.size;
        match tokens.iter().position(|&token| token >= size) {
            Some(place) => Err(Error::file(
                &self.file,
                format!(
                    "token {} is {}, beyond the vocabulary of {size}: it is damaged; encode the texts again",
                    range.start + place as u64,
                    tokens[place]
                ),
            )),
            None => Ok(tokens),
        }
    }

    /// Returns the token range of the document that contains a token, with its separator.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn document_at(&self, token: u64) -> Result<Range<u64>> {
        let (mut low, mut high) = (0, self.header.documents - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.end(middle)? <= token { low = middle + 1 } else { high = middle }
        }
        let start = if low == 0 { 0 } else { self.end(low - 1)? };
        Ok(start..self.end(low)?)
    }

    /// Returns the document ends inside a range of tokens, its end included.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn ends_in(&self, range: Range<u64>) -> Result<Vec<u64>> {
        let mut ends = Vec::new();
        let mut end = self.document_at(range.start)?.end;
        while end <= range.end {
            ends.push(end);
            if end >= self.header.tokens {
                break;
            }
            end = self.document_at(end)?.end;
        }
        Ok(ends)
    }

    /// Verifies the checksums of the whole file.
    ///
    /// # Errors
    /// Damage, with the part of the file that it is in.
    pub fn verify(&self) -> Result<()> {
        let Store::File(file) = &self.store else { return Ok(()) };
        let (ends_at, len) = (self.header.ends_at(), self.header.file_bytes());
        let parts = [("tokens", HEADER_BYTES as u64..ends_at), ("documents' ends", ends_at..len)];
        for ((what, range), expected) in parts.into_iter().zip(self.header.checksums) {
            let found = checksum(file, range).map_err(Error::io(&self.file, "read it"))?;
            if found != expected {
                let reason = format!("its {what} are damaged: the checksum is wrong; encode the texts again");
                return Err(Error::file(&self.file, reason));
            }
        }
        Ok(())
    }

    fn end(&self, document: u64) -> Result<u64> {
        match &self.store {
            Store::Memory { ends, .. } => Ok(ends[document as usize]),
            Store::File(file) => {
                let mut bytes = [0; 8];
                file.read_exact_at(self.header.ends_at() + document * 8, &mut bytes)
                    .map_err(Error::io(&self.file, "read it"))?;
                Ok(u64::from_le_bytes(bytes))
            }
        }
    }
}

fn checksum(file: &File, range: Range<u64>) -> io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let (mut at, mut hasher) = (range.start, Hasher::new());
    while at < range.end {
        let count = buffer.len().min((range.end - at) as usize);
        file.read_exact_at(at, &mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        at += count as u64;
    }
    Ok(hasher.finalize())
}
