//! Rows of a file of JSON, CSV, TSV or Parquet, consumed column by column.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Map, Value};

use super::columns::rows_of;
use crate::Content;
use crate::delimited::{DelimitedRows, delimiter_of};
use crate::error::shown;
use crate::error::{Error, Result};
use crate::json::JsonRows;
use crate::log::shield::shield;
use crate::origin::{Origin, RowPlace};
use crate::rows::ROWS_AT_A_TIME;
use crate::unchecked;

/// One row and its location. Null columns count as absent.
#[derive(Debug, Clone)]
pub struct Row {
    origin: Origin,
    /// The columns that are not consumed yet.
    pub columns: Map<String, Value>,
    /// True if all columns are texts, as in CSV: numbers and flags are written in them.
    is_text: bool,
}

/// Iterator over the rows of a file. An error concerns one row, and reading can continue with the next.
pub struct PreferenceRows {
    file: Arc<Path>,
    source: Source,
    any: bool,
    ended: bool,
}

enum Source {
    Json(JsonRows<File>),
    Delimited(DelimitedRows<File>),
    Parquet {
        batches: ParquetRecordBatchReader,
        ready: VecDeque<Result<Map<String, Value>, (String, String)>>,
        row: u64,
    },
}

impl PreferenceRows {
    /// Opens a file; the first bytes decide between Parquet and text, and the name between JSON, CSV and TSV.
    pub fn open(file: &Path) -> Result<Self> {
        let mut opened = File::open(file).map_err(Error::io(file, "open it"))?;
        let mut magic = Vec::new();
        (&mut opened).take(4).read_to_end(&mut magic).map_err(Error::io(file, "read it"))?;
        opened.rewind().map_err(Error::io(file, "read it"))?;
        let source = if magic == b"PAR1" {
            let batches = shield(|| unchecked::open(opened)?.with_batch_size(ROWS_AT_A_TIME).build());
            let batches = batches.map_err(|error| Error::file(file, format!("is damaged, or no Parquet: {error}")))?;
            Source::Parquet { batches, ready: VecDeque::new(), row: 0 }
        } else if let Some(delimiter) = delimiter_of(file) {
            Source::Delimited(DelimitedRows::new(file, opened, delimiter)?)
        } else {
            Source::Json(JsonRows::new(file, opened))
        };
        Ok(Self { file: file.into(), source, any: false, ended: false })
    }

    fn read(&mut self) -> Option<Result<Row>> {
        match &mut self.source {
            Source::Json(rows) => rows.next().map(|row| {
                let (line, mut columns) = row?;
                columns.retain(|_, value| !value.is_null());
                Ok(Row { columns, ..Row::at(&self.file, RowPlace::Line(line)) })
            }),
            Source::Delimited(rows) => rows.next().map(|row| {
                let (line, columns) = row?;
                Ok(Row { columns, is_text: true, ..Row::at(&self.file, RowPlace::Line(line)) })
            }),
            Source::Parquet { batches, ready, row: next } => loop {
                if let Some(columns) = ready.pop_front() {
                    let row = Row::at(&self.file, RowPlace::Row(*next));
                    *next += 1;
                    return Some(match columns {
                        Ok(columns) => Ok(Row { columns, ..row }),
                        Err((column, reason)) => Err(row.error(&column, reason)),
                    });
                }
                match shield(|| batches.next().transpose()).transpose()? {
                    Ok(batch) => ready.extend(rows_of(&batch)),
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(Error::file(&self.file, format!("is damaged: {error}"))));
                    }
                }
            },
        }
    }
}

impl Iterator for PreferenceRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.ended {
            return None;
        }
        let row = self.read();
        self.ended |= row.is_none();
        if row.is_none() && !self.any {
            return Some(Err(Error::file(&self.file, "is empty: it should have a row for each preference or prompt")));
        }
        self.any = true;
        row
    }
}

impl Row {
    /// Creates a row of another format than [`PreferenceRows`] reads. Null columns are left out.
    pub fn new(origin: Origin, mut columns: Map<String, Value>) -> Self {
        columns.retain(|_, value| !value.is_null());
        Self { origin, columns, is_text: false }
    }

    fn at(file: &Arc<Path>, place: RowPlace) -> Self {
        Self { origin: Origin { file: file.clone(), place }, columns: Map::new(), is_text: false }
    }

    /// Returns the location.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns an error about a column of this row.
    pub fn error(&self, column: &str, reason: impl Into<String>) -> Error {
        self.origin.error(column, reason)
    }

    /// True if all of these columns are present.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.columns.contains_key(*name))
    }

    /// Removes the first present column among the names, and returns it with its name.
    pub fn take<'n>(&mut self, names: &[&'n str]) -> Option<(&'n str, Value)> {
        names.iter().find_map(|name| Some((*name, self.columns.remove(*name)?)))
    }

    /// Removes a required column.
    pub fn required(&mut self, name: &str) -> Result<Value> {
        self.columns.remove(name).ok_or_else(|| {
            let found: Vec<&str> = self.columns.keys().map(String::as_str).collect();
            self.error(name, format!("missing; besides, there is {}", found.join(", ")))
        })
    }

    /// Removes a required column with a text or messages.
    pub fn text(&mut self, name: &str) -> Result<Content> {
        let value = self.required(name)?;
        Content::parse(value).map_err(|reason| self.error(name, reason))
    }

    /// Removes a required column with a list of texts or messages.
    pub fn texts(&mut self, name: &str) -> Result<Vec<Content>> {
        let value = self.required(name)?;
        let Value::Array(list) = value else { return Err(self.wrong(name, &value, "a list of answers")) };
        list.into_iter().map(|text| Content::parse(text).map_err(|reason| self.error(name, reason))).collect()
    }

    /// Removes the first present column among the names, as a finite number.
    pub fn number(&mut self, names: &[&str]) -> Result<Option<f64>> {
        let Some((name, value)) = self.take(names) else { return Ok(None) };
        let number = if self.is_text { parsed(&value).as_f64() } else { value.as_f64() };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &value, "a finite number")),
        }
    }

    /// Removes a boolean column; 1 and 0 are accepted too.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        let Some((_, value)) = self.take(&[name]) else { return Ok(None) };
        let flag = if self.is_text { flag_of(&parsed(&value)) } else { flag_of(&value) };
        flag.map(Some).ok_or_else(|| self.wrong(name, &value, "true or false"))
    }

    /// Removes the first present column among the names, as a text; numbers become their digits.
    pub fn string(&mut self, names: &[&str]) -> Result<Option<String>> {
        match self.take(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((name, value)) => Err(self.wrong(name, &value, "a text")),
        }
    }

    /// Returns an error like [`Row::error`] that shows a value and what is right in its place.
    pub fn wrong(&self, column: &str, value: &Value, right: &str) -> Error {
        self.error(column, format!("{} where {right} should be", shown(value)))
    }
}

/// The number or the flag in a text, as CSV has them; pandas writes flags with a capital letter.
fn parsed(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default().trim();
    match text {
        "True" => true.into(),
        "False" => false.into(),
        text => serde_json::from_str(text).unwrap_or_default(),
    }
}

pub(super) fn flag_of(value: &Value) -> Option<bool> {
    match (value.as_bool(), value.as_f64()) {
        (Some(flag), _) => Some(flag),
        (None, Some(number)) if number == 0.0 || number == 1.0 => Some(number == 1.0),
        _ => None,
    }
}
