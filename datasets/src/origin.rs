//! Place of a row: its file, and its line or number.

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;

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
    /// The line of text on which the row begins, counted from 1 as in editors.
    Line(u64),
    /// A row of Parquet, counted from 0.
    Row(u64),
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
