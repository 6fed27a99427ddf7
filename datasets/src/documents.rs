//! Documents for training, read one by one from plain text, JSON lines, CSV, TSV and Parquet files.
//!
//! A `.parquet` file holds a document in each row of its column `text`, a `.jsonl` file (`.ndjson`, `.json`) in the
//! field `text` of each object, a `.csv` or `.tsv` file in the column `text`, and any other file is one document of UTF-8. The column name is configurable. With a
//! column `split`, only the documents of one split can be selected.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::{Array, ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Map, Value};

use crate::cells::{is_text, text_of};
use crate::delimited::{DelimitedRows, delimiter_of};
use crate::error::{Error, Result};
use crate::json::JsonRows;
use crate::log::paths::find_files;
use crate::log::shield::shield;
use crate::rows::read_columns;

/// Selection of the documents to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentOptions {
    /// The column or field that holds the text.
    pub column: String,
    /// Selects the documents whose column or field `split` has this value. Plain text files have no split and are
    /// refused.
    pub split: Option<String>,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        Self { column: "text".to_string(), split: None }
    }
}

/// Iterator over the documents of some files, in order. Each file is read as it is needed. Iteration ends after an
/// error.
pub struct Documents {
    options: DocumentOptions,
    files: VecDeque<PathBuf>,
    open: Option<Open>,
    total_bytes: u64,
    done_bytes: u64,
    failed: bool,
}

/// The file that is being read.
struct Open {
    path: PathBuf,
    bytes: u64,
    reader: Reader,
}

enum Reader {
    Whole(Option<Vec<u8>>),
    Json(JsonRows<File>),
    Delimited(DelimitedRows<File>),
    Parquet { batches: ParquetRecordBatchReader, ready: VecDeque<String>, row: u64 },
}

impl Documents {
    /// Opens the documents of files, folders and patterns.
    ///
    /// # Errors
    /// A pattern that matches no file.
    pub fn open(patterns: &[impl AsRef<str>], options: DocumentOptions) -> Result<Self> {
        let files = find_files(patterns, &["txt", "jsonl", "ndjson", "parquet", "csv", "tsv"])?;
        let mut total_bytes = 0;
        for file in &files {
            total_bytes += std::fs::metadata(file).map_err(Error::io(file, "look into it"))?.len();
        }
        Ok(Self { options, files: files.into(), open: None, total_bytes, done_bytes: 0, failed: false })
    }

    /// Returns the progress: the bytes of the files read whole so far, and of all files.
    pub fn progress(&self) -> (u64, u64) {
        (self.done_bytes, self.total_bytes)
    }

    fn next_document(&mut self) -> Result<Option<String>> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => match self.files.pop_front() {
                    Some(path) => self.open.insert(Open::new(path, &self.options)?),
                    None => return Ok(None),
                },
            };
            if let Some(text) = open.next(&self.options)? {
                return Ok(Some(text));
            }
            self.done_bytes += open.bytes;
            self.open = None;
        }
    }
}

impl Iterator for Documents {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        if self.failed {
            return None;
        }
        let next = self.next_document();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl Open {
    fn new(path: PathBuf, options: &DocumentOptions) -> Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let file = File::open(&path).map_err(Error::io(&path, "open it"))?;
        let bytes = file.metadata().map_err(Error::io(&path, "look into it"))?.len();
        let reader = match ending.as_str() {
            "parquet" => {
                let split = options.split.as_ref().map(|_| "split");
                let wanted: Vec<&str> = [Some(options.column.as_str()), split].into_iter().flatten().collect();
                let batches = shield(|| {
                    read_columns(file, &wanted, &wanted.iter().map(std::slice::from_ref).collect::<Vec<_>>())
                });
                let batches = batches.map_err(|reason| Error::file(&path, reason))?;
                Reader::Parquet { batches, ready: VecDeque::new(), row: 0 }
            }
            "jsonl" | "ndjson" | "json" => Reader::Json(JsonRows::new(&path, file)),
            "csv" | "tsv" => {
                let delimiter = delimiter_of(&path).expect("both endings have one");
                Reader::Delimited(DelimitedRows::new(&path, file, delimiter)?)
            }
            _ if options.split.is_some() => {
                return Err(Error::file(&path, "a file of plain text has no splits; name Parquet or JSON lines files"));
            }
            _ => Reader::Whole(Some(std::fs::read(&path).map_err(Error::io(&path, "read it"))?)),
        };
        Ok(Self { path, bytes, reader })
    }

    fn next(&mut self, options: &DocumentOptions) -> Result<Option<String>> {
        match &mut self.reader {
            Reader::Whole(text) => text.take().map(|bytes| utf8(bytes, &self.path)).transpose(),
            Reader::Json(rows) => {
                while let Some((line, row)) = rows.next().transpose()? {
                    if let Some(text) = text_of_row(row, &self.path, line, options)? {
                        return Ok(Some(text));
                    }
                }
                Ok(None)
            }
            Reader::Delimited(rows) => {
                while let Some((line, row)) = rows.next().transpose()? {
                    if let Some(text) = text_of_row(row, &self.path, line, options)? {
                        return Ok(Some(text));
                    }
                }
                Ok(None)
            }
            Reader::Parquet { batches, ready, row } => loop {
                if let Some(text) = ready.pop_front() {
                    return Ok(Some(text));
                }
                let batch = shield(|| batches.next().transpose());
                let Some(batch) = batch.map_err(|reason| Error::file(&self.path, reason))? else { return Ok(None) };
                texts_of_batch(&batch, &self.path, *row, options, ready)?;
                *row += batch.num_rows() as u64;
            },
        }
    }
}

fn utf8(bytes: Vec<u8>, path: &Path) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let reason = format!("byte {at}, in line {line}, is no UTF-8; `palestra corpus` repairs encodings");
        Error::file(path, reason)
    })
}

fn text_of_row(
    mut row: Map<String, Value>,
    path: &Path,
    line: u64,
    options: &DocumentOptions,
) -> Result<Option<String>> {
    let wrong = |field: &str, reason: String| Error::Line { file: path.to_owned(), line, field: field.into(), reason };
    if let Some(wanted) = &options.split {
        match row.get("split").and_then(Value::as_str) {
            Some(split) if split == wanted => {}
            Some(_) => return Ok(None),
            None => {
                return Err(wrong("split", format!("is no text; it says which split a document is of, as {wanted}")));
            }
        }
    }
    match row.get_mut(&options.column).map(Value::take) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(&options.column, format!("{other} is no text"))),
        None => {
            let fields: Vec<&String> = row.keys().collect();
            Err(wrong(&options.column, format!("is missing; the line has {fields:?}")))
        }
    }
}

fn texts_of_batch(
    batch: &RecordBatch,
    path: &Path,
    first_row: u64,
    options: &DocumentOptions,
    texts: &mut VecDeque<String>,
) -> Result<()> {
    let column = |name: &str| -> Result<&ArrayRef> {
        let column = batch.column_by_name(name).expect("the projection has it");
        match column.data_type() {
            kind if is_text(kind) => Ok(column),
            other => Err(Error::file(path, format!("column {name} is {other} and no text"))),
        }
    };
    let text = column(&options.column)?;
    let split = options.split.as_ref().map(|wanted| Ok::<_, Error>((wanted, column("split")?))).transpose()?;
    for row in 0..batch.num_rows() {
        let place = first_row + row as u64;
        let wrong = |column: &str, reason: String| Error::Cell {
            file: path.to_owned(),
            row: place,
            column: column.to_string(),
            reason,
        };
        if let Some((wanted, split)) = &split
            && (split.is_null(row) || text_of(split, row).map_err(|reason| wrong("split", reason))? != wanted.as_str())
        {
            continue;
        }
        if text.is_null(row) {
            return Err(Error::file(path, format!("row {place}: column {} is null and no text", options.column)));
        }
        texts.push_back(text_of(text, row).map_err(|reason| wrong(&options.column, reason))?.into_owned());
    }
    Ok(())
}
