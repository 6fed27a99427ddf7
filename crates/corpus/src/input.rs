//! Input of a corpus run: files identified by their names, and the documents in them.

mod columns;
mod compressed;
mod files;
mod lines;
mod members;
mod pieces;
mod warc;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::rule::{Failed, Rule};
use crate::settings::{Format, Settings};

pub use files::{InputFile, Kind, find_inputs};
pub(crate) use warc::{Answer, WebPage, answers};

/// A document as stored in a file.
#[derive(Debug, Clone)]
pub(crate) struct RawDocument {
    pub file: Arc<str>,
    /// Index of the file in the input, from 0.
    pub file_number: usize,
    /// Index of the record in the file, from 0, valid or not: the position to resume from.
    pub record: u64,
    /// Position for messages: the line, the row or the part, from 1.
    pub row: u64,
    pub content: Content,
    /// Key that is the same for all parts of one document, so that they stay in one split.
    pub split_key: Option<u64>,
}

/// Content of a document.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Bytes in this format.
    Bytes(Vec<u8>, Format),
    /// A line of JSON that is not parsed yet.
    Json(Vec<u8>),
    /// A text from a column with this format.
    Column(String, Format),
    /// A page of a web archive.
    Web(Box<WebPage>),
    /// Unusable content: the rule, and the error unless it is to be skipped.
    Bad(Failed, Option<Arc<Error>>),
}

impl RawDocument {
    /// Returns the approximate memory in bytes.
    pub fn size(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes, _) | Content::Json(bytes) => bytes.len(),
            Content::Column(text, _) => text.len(),
            Content::Web(page) => page.bytes.len(),
            Content::Bad(failed, _) => failed.detail.len(),
        }
    }

    /// Returns the position for an error message.
    pub fn place(&self) -> String {
        match &self.content {
            Content::Web(page) => page.place.to_string(),
            Content::Json(_) => format!(":{}", self.row),
            Content::Column(..) => format!(", row {}", self.row),
            _ if self.row > 1 => format!(", part {}", self.row),
            _ => String::new(),
        }
    }
}

/// Receiver of the documents of a file. It breaks if no more are wanted.
pub(crate) type Sink<'a> = dyn FnMut(RawDocument) -> ControlFlow<()> + 'a;

/// Assigns numbers to the records of one file before they reach the sink.
struct Records<'a> {
    file: Arc<str>,
    file_number: usize,
    next: u64,
    /// Number of records that were read in an earlier run.
    skip: u64,
    sink: &'a mut Sink<'a>,
}

impl Records<'_> {
    fn send(&mut self, row: u64, content: Content, split_key: Option<u64>) -> ControlFlow<()> {
        let record = self.next;
        self.next += 1;
        if record < self.skip {
            return ControlFlow::Continue(());
        }
        let (file, file_number) = (self.file.clone(), self.file_number);
        (self.sink)(RawDocument { file, file_number, record, row, content, split_key })
    }

    fn too_large(&mut self, row: u64, settings: &Settings) -> ControlFlow<()> {
        let detail = format!("more than {} bytes", settings.read.max_document_bytes);
        self.send(row, Content::Bad(Failed::new(Rule::TooLarge, detail), None), None)
    }
}

/// Sends the documents of a file to the sink, from record `skip` on. `on_bytes` receives the number of bytes read from
/// disk.
///
/// For a damaged file, the last record is an error.
pub(crate) fn read_file(
    input: &InputFile,
    file_number: usize,
    skip: u64,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    sink: &mut Sink<'_>,
) -> ControlFlow<()> {
    let file: Arc<str> = input.path.display().to_string().into();
    let mut records = Records { file: file.clone(), file_number, next: 0, skip, sink };
    let read = match input.kind {
        Kind::Text => pieces::read_text(input, Format::Text, settings, on_bytes, &mut records),
        Kind::Markdown => pieces::read_text(input, Format::Markdown, settings, on_bytes, &mut records),
        Kind::Html => pieces::read_page(input, settings, on_bytes, &mut records),
        Kind::Json => lines::read_json(input, settings, on_bytes, &mut records),
        Kind::Parquet => columns::read_parquet(input, settings, on_bytes, &mut records),
        Kind::Warc => warc::read_warc(input, settings, on_bytes, &mut records),
    };
    match read {
        Ok(flow) => flow,
        Err(error) => {
            let rule = if matches!(error, Error::Document { .. }) { Rule::BadRow } else { Rule::DamagedFile };
            let failed = Failed::new(rule, error.to_string());
            let row = records.next + 1;
            records.send(row, Content::Bad(failed, Some(Arc::new(error))), None)
        }
    }
}

/// Result of a reader: whether more documents are wanted, or the problem of the file.
type Reading = Result<ControlFlow<()>>;

/// Error of reading a file: of the store that an object is in, or of the file's format.
fn unreadable(input: &InputFile, error: std::io::Error) -> Error {
    error.downcast().map_or_else(|error| damaged(input, error), Error::Remote)
}

fn damaged(input: &InputFile, error: impl std::fmt::Display) -> Error {
    Error::Damaged { file: input.path.display().to_string(), reason: error.to_string() }
}
