//! Documents that are clean, before duplicates are dropped: for each input file a part, of three files. The last to get its
//! name has the counts; a part that has it is whole.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use palestra_files::{AtomicFile, write_atomically};
use serde::{Deserialize, Serialize};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use crate::candidate::Candidate;
use crate::duplicates::{BANDS, Signature};
use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::tally::Tally;
use crate::work::Position;

/// Counts of a part, and the file that it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    file: PathBuf,
    file_bytes: u64,
    /// Number of documents in the part.
    pub documents: u64,
    /// Documents that were read, and dropped for another reason than an earlier one.
    pub tally: Tally,
    /// The position behind the last record, if there is any.
    pub next: Option<Position>,
}

/// A part that is being written.
pub(super) struct PartWriter {
    folder: PathBuf,
    number: usize,
    documents: Encoder<'static, AtomicFile>,
    signatures: BufWriter<AtomicFile>,
    count: u64,
}

/// A document as the search for duplicates sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub id: u64,
    pub text_bytes: u64,
    pub signature: Option<Signature>,
}

/// Compression of texts that are read once: the fastest.
const ZSTD_LEVEL: i32 = 1;
/// Numbers of an [`Entry`] in its file: id, length of the text, 1 if there is a signature, and its bands.
const WIDTH: usize = 3 + BANDS;

impl Part {
    /// Reads the counts of a part that is whole.
    ///
    /// # Errors
    /// A part of another file than this one.
    pub fn load(folder: &Path, number: usize, file: &InputFile) -> Result<Option<Self>> {
        let path = name(folder, "counts", number);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(path, "read", source)),
        };
        let part: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::Output(format!("{}: {error}; start anew with --restart", path.display())))?;
        if (&part.file, part.file_bytes) != (&file.path, file.bytes) {
            return Err(Error::Output(format!(
                "{} is of {} with {} bytes, where file {} of the input is {} with {}; bring the file back, name another \
                 --out, or start anew with --restart",
                path.display(),
                part.file.display(),
                part.file_bytes,
                number + 1,
                file.path.display(),
                file.bytes
            )));
        }
        Ok(Some(part))
    }
}

impl PartWriter {
    pub fn create(folder: &Path, number: usize) -> Result<Self> {
        let path = name(folder, "documents", number);
        let documents = Encoder::new(AtomicFile::create(&path)?, ZSTD_LEVEL);
        Ok(Self {
            folder: folder.to_owned(),
            number,
            documents: documents.map_err(|source| Error::io(path, "write", source))?,
            signatures: BufWriter::new(AtomicFile::create(&name(folder, "signatures", number))?),
            count: 0,
        })
    }

    pub fn write(&mut self, candidate: &Candidate) -> Result<()> {
        let failed = |source| Error::io(name(&self.folder, "documents", self.number), "write", source);
        let clean = &candidate.clean;
        let mut line = serde_json::to_vec(candidate).expect("a document has text keys and finite numbers");
        line.push(b'\n');
        self.documents.write_all(&line).map_err(failed)?;
        let bands = clean.signature.unwrap_or_default();
        let head = [clean.id, clean.text.len() as u64, u64::from(clean.signature.is_some())];
        for number in head.into_iter().chain(bands) {
            self.signatures.write_all(&number.to_le_bytes()).map_err(failed)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Gives the part its name.
    pub fn finish(self, file: &InputFile, tally: Tally, next: Option<Position>) -> Result<()> {
        let Self { folder, number, documents, signatures, count } = self;
        let failed = |source| Error::io(name(&folder, "documents", number), "write", source);
        documents.finish().map_err(failed)?.commit()?;
        signatures.into_inner().map_err(|error| failed(error.into_error()))?.commit()?;
        let part = Part { file: file.path.clone(), file_bytes: file.bytes, documents: count, tally, next };
        let text = serde_json::to_vec(&part).expect("a part has text keys and finite numbers");
        Ok(write_atomically(&name(&folder, "counts", number), &text)?)
    }
}

/// Reads the entries of the parts of so many files.
pub(super) fn entries(folder: &Path, files: usize) -> impl Iterator<Item = Result<Entry>> {
    (0..files).flat_map(move |number| {
        let path = name(folder, "signatures", number);
        let mut reader = File::open(&path).map(BufReader::new);
        std::iter::from_fn(move || {
            let read = reader.as_mut().map_err(|error| error.kind().into()).and_then(read_entry);
            read.map_err(|source| Error::io(&path, "read", source)).transpose()
        })
    })
}

fn read_entry(reader: &mut BufReader<File>) -> io::Result<Option<Entry>> {
    if reader.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut bytes = [0; WIDTH * 8];
    reader.read_exact(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |at: usize| u64::from_le_bytes(numbers[at]);
    let signature = (number(2) == 1).then(|| std::array::from_fn(|band| number(3 + band)));
    Ok(Some(Entry { id: number(0), text_bytes: number(1), signature }))
}

/// Calls `each` with a range of the documents of all parts: the number of the document, that of its file, and the
/// document. `counts` has the number of documents of each part.
pub(super) fn for_documents(
    folder: &Path,
    counts: &[u64],
    range: Range<u64>,
    mut each: impl FnMut(u64, usize, Candidate) -> Result<()>,
) -> Result<()> {
    let mut first = 0;
    for (file, count) in counts.iter().enumerate() {
        let part = first..first + count;
        first = part.end;
        if part.start >= range.end || part.end <= range.start {
            continue;
        }
        let path = name(folder, "documents", file);
        let failed = |source| Error::io(&path, "read", source);
        let opened = File::open(&path).map_err(failed)?;
        let mut reader = BufReader::new(Decoder::new(opened).map_err(failed)?);
        let mut line = Vec::new();
        for number in part.start..part.end.min(range.end) {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(failed)?;
            if number < range.start {
                continue;
            }
            let candidate = serde_json::from_slice(&line)
                .map_err(|error| Error::Output(format!("{}: {error}; start anew with --restart", path.display())))?;
            each(number, file, candidate)?;
        }
    }
    Ok(())
}

fn name(folder: &Path, kind: &str, number: usize) -> PathBuf {
    let ending = match kind {
        "documents" => "jsonl.zst",
        "counts" => "json",
        _ => "bin",
    };
    folder.join(format!("{kind}-{number:05}.{ending}"))
}
