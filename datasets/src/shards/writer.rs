use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::header::{HEADER_BYTES, ShardHeader, Vocabulary};
use crate::error::{Error, Result};

/// Writes a shard, document by document, with bounded memory. [`ShardWriter::finish`] gives the file its name, after
/// all of it is on disk. If the writer is dropped before, it leaves nothing.
pub struct ShardWriter {
    path: PathBuf,
    header: ShardHeader,
    tokens: Part,
    ends: Part,
    is_finished: bool,
}

/// A growing file, with the checksum of the bytes written.
struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    checksum: Hasher,
}

impl ShardWriter {
    /// Starts a shard.
    ///
    /// # Errors
    /// A name that is taken, or a file that cannot be created.
    ///
    /// # Panics
    /// Panics if the fingerprint is not of 32 ASCII characters.
    pub fn create(path: &Path, vocabulary: Vocabulary) -> Result<Self> {
        assert!(vocabulary.fingerprint.len() == 32 && vocabulary.fingerprint.is_ascii(), "no fingerprint");
        if path.exists() {
            return Err(Error::file(path, "there is a file already; a shard is never written over"));
        }
        let mut tokens = Part::create(hidden(path, "tokens"))?;
        tokens.skip_header()?;
        let ends = Part::create(hidden(path, "documents"))?;
        let header = ShardHeader { vocabulary, tokens: 0, documents: 0, text_bytes: 0, checksums: [0; 2] };
        Ok(Self { path: path.to_owned(), header, tokens, ends, is_finished: false })
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
        self.ends.file.flush().map_err(Error::io(&self.ends.path, "write it"))?;
        let mut write = || -> io::Result<()> {
            let file = &mut self.tokens.file;
            io::copy(&mut BufReader::new(File::open(&self.ends.path)?), file)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&self.header.to_bytes())?;
            file.flush()?;
            file.get_ref().sync_all()
        };
        write().map_err(Error::io(&self.tokens.path, "write it"))?;
        fs::rename(&self.tokens.path, &self.path).map_err(Error::io(&self.path, "give it its name"))?;
        self.is_finished = true;
        Ok(self.header.clone())
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        // A leftover file is hidden and harmless, and the earlier failure is the one to report.
        let _ = fs::remove_file(&self.ends.path);
        if !self.is_finished {
            let _ = fs::remove_file(&self.tokens.path);
        }
    }
}

impl Part {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(Error::io(&path, "create it"))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 18, file), path, checksum: Hasher::new() })
    }

    fn skip_header(&mut self) -> Result<()> {
        self.file.write_all(&[0; HEADER_BYTES]).map_err(Error::io(&self.path, "write it"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write it"))
    }
}

/// Returns the path of a hidden file in the same folder.
fn hidden(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}
