use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use palestra_files::AtomicFile;

use super::header::{HEADER_BYTES, ShardHeader, Vocabulary};
use crate::error::{Error, Result};

/// Writes a shard, document by document, with bounded memory. [`ShardWriter::finish`] gives the file its name, after
/// all of it is on disk. If the writer is dropped before, it leaves nothing.
pub struct ShardWriter {
    path: PathBuf,
    header: ShardHeader,
    tokens: Part,
    /// The ends of the documents, which are appended to the tokens at the end.
    ends: Part,
}

/// A growing file, with the checksum of the bytes written.
struct Part {
    /// Path of the shard, for errors.
    path: PathBuf,
    file: AtomicFile,
    checksum: Hasher,
}

impl ShardWriter {
    /// Starts a shard in a new file.
    ///
    /// # Errors
    /// A name that is taken, or a file that cannot be created.
    ///
    /// # Panics
    /// Panics if the fingerprint is not of 32 ASCII characters.
    pub fn create(path: &Path, vocabulary: Vocabulary) -> Result<Self> {
        if path.exists() {
            return Err(Error::file(path, "there is a file already; a shard is never written over"));
        }
        Self::replace(path, vocabulary)
    }

    /// Starts a shard that replaces an existing file when it is finished.
    ///
    /// # Errors
    /// A file that cannot be created.
    ///
    /// # Panics
    /// Panics if the fingerprint is not of 32 ASCII characters.
    pub fn replace(path: &Path, vocabulary: Vocabulary) -> Result<Self> {
        assert!(vocabulary.fingerprint.len() == 32 && vocabulary.fingerprint.is_ascii(), "no fingerprint");
        let mut tokens = Part::create(path)?;
        tokens.skip_header()?;
        let ends = Part::create(path)?;
        let header = ShardHeader { vocabulary, tokens: 0, documents: 0, text_bytes: 0, checksums: [0; 2] };
        Ok(Self { path: path.to_owned(), header, tokens, ends })
    }

    /// Adds a document with `text_bytes` bytes of text, and the separator after it.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// # Panics
    /// Panics if an id is beyond the vocabulary.
    pub fn add(&mut self, tokens: &[u32], text_bytes: u64) -> Result<()> {
        let Vocabulary { size, separator, .. } = self.header.vocabulary;
        let width = self.header.vocabulary.width();
        let mut bytes = Vec::with_capacity((tokens.len() + 1) * width);
        for &token in tokens.iter().chain(&separator) {
            assert!(token < size, "token {token} is beyond the vocabulary of {size}");
            bytes.extend_from_slice(&token.to_le_bytes()[..width]);
        }
        self.tokens.write(&bytes)?;
        self.header.tokens += (bytes.len() / width) as u64;
        self.header.documents += 1;
        self.header.text_bytes += text_bytes;
        self.ends.write(&self.header.tokens.to_le_bytes())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// No text, or a file that cannot be written.
    pub fn finish(mut self) -> Result<ShardHeader> {
        if self.header.text_bytes == 0 {
            return Err(Error::file(&self.path, "there is no text to write: every file is empty or filtered out"));
        }
        self.header.checksums = [&self.tokens, &self.ends].map(|part| part.checksum.clone().finalize());
        let Self { path, header, tokens: Part { file: mut tokens, .. }, ends: Part { file: mut ends, .. } } = self;
        let mut write = || -> io::Result<()> {
            ends.flush()?;
            io::copy(&mut BufReader::new(File::open(ends.temporary_path())?), &mut tokens)?;
            tokens.seek(SeekFrom::Start(0))?;
            tokens.write_all(&header.to_bytes())
        };
        write().map_err(Error::io(&path, "write it"))?;
        tokens.commit()?;
        Ok(header)
    }
}

impl Part {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: AtomicFile::create(path)?, checksum: Hasher::new() })
    }

    fn skip_header(&mut self) -> Result<()> {
        self.file.write_all(&[0; HEADER_BYTES]).map_err(Error::io(&self.path, "write it"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write it"))
    }
}
