//! Rows of files of other tools, of JSON, CSV and TSV as well as of Parquet, and their locations.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Map, Value};

use crate::cells::value_of;
use crate::delimited::{DelimitedRows, delimiter_of};
use crate::error::{Error, Result};
use crate::json::JsonRows;
use crate::log::shield::shield;
pub use crate::origin::{Origin, RowPlace};
use crate::remote::local;
use crate::unchecked;

/// Number of Parquet rows decoded at a time.
pub(crate) const ROWS_AT_A_TIME: usize = 256;

/// Endings of the names of files that hold rows.
pub const ROW_FILES: [&str; 6] = ["jsonl", "ndjson", "json", "parquet", "csv", "tsv"];

/// Iterator over the rows of a file as JSON objects, read as they are needed: Parquet, CSV or TSV if its name ends so,
/// otherwise JSON: objects one after another, or the elements of one array.
pub struct Rows {
    file: Arc<Path>,
    reader: Reader,
}

enum Reader {
    Json(JsonRows<File>),
    Delimited(DelimitedRows<File>),
    Parquet { batches: ParquetRecordBatchReader, ready: VecDeque<Map<String, Value>>, row: u64 },
}

impl Rows {
    /// Opens a file with all columns.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &[], |file| unchecked::open(file)?.build())
    }

    /// Opens a file with those of the wanted columns that a Parquet file has. Of each group in `needed`, one column is
    /// required. JSON, CSV and TSV are read with all fields.
    pub(crate) fn open_columns(path: &Path, wanted: &[&str], needed: &[&[&str]]) -> Result<Self> {
        Self::open_with(path, needed, |file| read_columns(file, wanted, needed))
    }

    fn open_with<E: ToString>(
        path: &Path,
        needed: &[&[&str]],
        read: impl FnOnce(File) -> Result<ParquetRecordBatchReader, E>,
    ) -> Result<Self> {
        let copy = local(path)?;
        let file = File::open(&copy).map_err(Error::io(path, "open it"))?;
        let is_parquet = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let reader = match is_parquet {
            true => {
                let batches = shield(|| read(file).map_err(|error| error.to_string()));
                let batches = batches.map_err(|reason| Error::file(path, reason))?;
                Reader::Parquet { batches, ready: VecDeque::new(), row: 0 }
            }
            false => match delimiter_of(path) {
                Some(delimiter) => {
                    let rows = DelimitedRows::new(path, file, delimiter)?;
                    let names: Vec<&str> = rows.columns().iter().map(String::as_str).collect();
                    check_needed(&names, needed).map_err(|reason| Error::file(path, reason))?;
                    Reader::Delimited(rows)
                }
                None => Reader::Json(JsonRows::new(path, file)),
            },
        };
        Ok(Self { file: path.into(), reader })
    }

    /// Returns the number of bytes of text read so far; 0 of Parquet.
    pub fn bytes(&self) -> u64 {
        match &self.reader {
            Reader::Json(rows) => rows.bytes(),
            Reader::Delimited(rows) => rows.bytes(),
            Reader::Parquet { .. } => 0,
        }
    }

    fn next_row(&mut self) -> Result<Option<(Origin, Map<String, Value>)>> {
        let Self { file, reader } = self;
        let at = |place| Origin { file: file.clone(), place };
        match reader {
            Reader::Json(rows) => {
                let row = rows.next().transpose()?;
                Ok(row.map(|(line, row)| (at(RowPlace::Line(line)), row)))
            }
            Reader::Delimited(rows) => {
                let row = rows.next().transpose()?;
                Ok(row.map(|(line, row)| (at(RowPlace::Line(line)), row)))
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

/// Returns a reader of those of the wanted columns that a Parquet file has. Of each group in `needed`, one column is
/// required.
pub(crate) fn read_columns(
    file: File,
    wanted: &[&str],
    needed: &[&[&str]],
) -> Result<ParquetRecordBatchReader, String> {
    let builder = unchecked::open(file).map_err(|error| error.to_string())?;
    let fields = builder.parquet_schema().root_schema().get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    check_needed(&names, needed)?;
    let places: Vec<usize> = wanted.iter().filter_map(|name| names.iter().position(|other| other == name)).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), places);
    builder.with_projection(mask).with_batch_size(ROWS_AT_A_TIME).build().map_err(|error| error.to_string())
}

/// # Errors
/// Names a group of columns none of which is there.
fn check_needed(names: &[&str], needed: &[&[&str]]) -> Result<(), String> {
    match needed.iter().find(|group| group.iter().all(|name| !names.contains(name))) {
        Some(missing) => Err(format!("it has no column {}; its columns are {}", missing[0], names.join(", "))),
        None => Ok(()),
    }
}
