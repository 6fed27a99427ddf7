//! Rows of files of other tools, lines of text as well as rows of Parquet, and their locations.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value};

use crate::cells::value_of;
use crate::error::{Error, Result, shown};
use crate::log::shield::shield;

/// Number of Parquet rows decoded at a time.
pub(crate) const ROWS_AT_A_TIME: usize = 256;

/// Location of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The position in the file.
    pub place: RowPlace,
}

/// Position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPlace {
    /// A line of text, counted from 1 as in editors.
    Line(u64),
    /// A row of Parquet, counted from 0.
    Row(u64),
}

/// Iterator over the rows of a file as JSON objects, read as they are needed: Parquet if its name ends so, otherwise
/// JSON lines.
pub struct Rows {
    file: Arc<Path>,
    reader: Reader,
}

enum Reader {
    Lines(Lines),
    Parquet { batches: ParquetRecordBatchReader, ready: VecDeque<Map<String, Value>>, row: u64 },
}

impl Rows {
    /// Opens a file with all columns.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, |file| ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()))
    }

    /// Opens a file with those of the wanted columns that a Parquet file has; the first `needed` are required. JSON
    /// lines are read with all fields.
    pub(crate) fn open_columns(path: &Path, wanted: &[&str], needed: usize) -> Result<Self> {
        Self::open_with(path, |file| read_columns(file, wanted, needed))
    }

    fn open_with<E: ToString>(
        path: &Path,
        read: impl FnOnce(File) -> Result<ParquetRecordBatchReader, E>,
    ) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open it"))?;
        let is_parquet = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let reader = match is_parquet {
            true => {
                let batches = shield(|| read(file).map_err(|error| error.to_string()));
                let batches = batches.map_err(|reason| Error::file(path, reason))?;
                Reader::Parquet { batches, ready: VecDeque::new(), row: 0 }
            }
            false => Reader::Lines(Lines::new(file)),
        };
        Ok(Self { file: path.into(), reader })
    }

    fn next_row(&mut self) -> Result<Option<(Origin, Map<String, Value>)>> {
        let Self { file, reader } = self;
        let at = |place| Origin { file: file.clone(), place };
        match reader {
            Reader::Lines(lines) => {
                let Some((line, bytes)) = lines.next().map_err(Error::io(file, "read it"))? else { return Ok(None) };
                let origin = at(RowPlace::Line(line));
                match serde_json::from_slice(bytes) {
                    Ok(Value::Object(object)) => Ok(Some((origin, object))),
                    Ok(other) => {
                        Err(origin.error("the line", format!("{} where an object {{...}} should be", shown(&other))))
                    }
                    Err(error) => Err(origin.error("the line", format!("is no JSON: {error}"))),
                }
            }
            Reader::Parquet { batches, ready, row } => loop {
                if let Some(object) = ready.pop_front() {
                    *row += 1;
                    return Ok(Some((at(RowPlace::Row(*row - 1)), object)));
                }
                let batch = shield(|| batches.next().transpose()).map_err(|reason| Error::file(file, reason))?;
                let Some(batch) = batch else { return Ok(None) };
                for number in 0..batch.num_rows() {
                    let mut object = Map::new();
                    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                        let wrong =
                            |reason| at(RowPlace::Row(*row + number as u64)).error(field.name().as_str(), reason);
                        object.insert(field.name().clone(), value_of(column, number).map_err(wrong)?);
                    }
                    ready.push_back(object);
                }
            },
        }
    }
}

impl Iterator for Rows {
    type Item = Result<(Origin, Map<String, Value>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

impl Origin {
    /// Returns an error about a column of this row.
    pub fn error(&self, column: impl Into<String>, reason: impl Into<String>) -> Error {
        let (file, column, reason) = (self.file.to_path_buf(), column.into(), reason.into());
        match self.place {
            RowPlace::Line(line) => Error::Line { file, line, field: column, reason },
            RowPlace::Row(row) => Error::Cell { file, row, column, reason },
        }
    }
}

/// The non-blank lines of a file, with their numbers from 1.
pub(crate) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(crate) fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(1 << 18, file), buffer: Vec::new(), number: 0 }
    }

    /// Returns the next line, including its line end; `None` after the last.
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

/// Returns a reader of those of the wanted columns that a Parquet file has; the first `needed` are required.
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
