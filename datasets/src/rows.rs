//! Rows of files that other tools wrote, lines of text and rows of Parquet alike, and where they stand.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use crate::error::Error;

/// Rows of Parquet that are decoded at once.
pub(crate) const ROWS_AT_A_TIME: usize = 256;

/// As much of a value as an error tells.
const LONGEST_VALUE: usize = 60;

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The place in it.
    pub place: Place,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of text, counted from 1 as editors do.
    Line(u64),
    /// A row of Parquet, counted from 0.
    Row(u64),
}

impl Origin {
    /// An error in a column of this row.
    pub fn error(&self, column: impl Into<String>, reason: impl Into<String>) -> Error {
        let (file, column, reason) = (self.file.to_path_buf(), column.into(), reason.into());
        match self.place {
            Place::Line(line) => Error::Line { file, line, field: column, reason },
            Place::Row(row) => Error::Cell { file, row, column, reason },
        }
    }
}

/// The lines of a file that hold something, with their numbers from 1.
pub(crate) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(crate) fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(1 << 18, file), buffer: Vec::new(), number: 0 }
    }

    /// The next line, its end included; `None` after the last.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.buffer.clear();
            if self.reader.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some((self.number, &self.buffer)));
            }
        }
    }
}

/// A reader of those of the wanted columns that a Parquet file has; it must have the first `needed`.
pub(crate) fn read_columns(file: File, wanted: &[&str], needed: usize) -> Result<ParquetRecordBatchReader, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let fields = builder.parquet_schema().root_schema().get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    if let Some(missing) = wanted[..needed].iter().find(|name| !names.contains(name)) {
        return Err(format!("it has no column {missing}; its columns are {}", names.join(", ")));
    }
    let places: Vec<usize> = wanted.iter().filter_map(|name| names.iter().position(|other| other == name)).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), places);
    builder.with_projection(mask).with_batch_size(ROWS_AT_A_TIME).build().map_err(|error| error.to_string())
}

/// A value as an error shows it, cut where it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
