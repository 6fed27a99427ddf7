//! Errors of files of episodes, with messages for the person who can fix them.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a file of episodes. Rows and row groups are counted from 0, rows through the whole file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the operating system.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The attempted operation, such as `create it`.
        doing: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// A path, folder or pattern that matches no file.
    #[error("{pattern}: {reason}")]
    NoFiles {
        /// The pattern as it was given.
        pattern: String,
        /// The problem.
        reason: String,
    },
    /// An address of an object store that cannot be read; the message names it.
    #[error("{0}")]
    Remote(String),
    /// A file that cannot be used as a whole.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The problem, and what would be right.
        reason: String,
    },
    /// A column that is missing or has another type.
    #[error("{}: column {column}: {reason}", file.display())]
    Column {
        /// The file.
        file: PathBuf,
        /// The column's name.
        column: &'static str,
        /// The problem, and what would be right.
        reason: String,
    },
    /// A row group that cannot be read.
    #[error("{}: row group {row_group}: {reason}", file.display())]
    RowGroup {
        /// The file.
        file: PathBuf,
        /// Index of the row group in the file.
        row_group: usize,
        /// The problem.
        reason: String,
    },
    /// A row that breaks the rules of the experience log.
    #[error("{}: row {row} (row group {row_group}), column {column}: {reason}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Index of the row group in the file.
        row_group: usize,
        /// Index of the row in the file.
        row: u64,
        /// The column's name.
        column: &'static str,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// A cell of a Parquet file that is not an experience log.
    #[error("{}: row {row}, column {column}: {reason}", file.display())]
    Cell {
        /// The file.
        file: PathBuf,
        /// Index of the row in the file.
        row: u64,
        /// The column's name.
        column: String,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// A line of a text file with content of an unexpected form.
    #[error("{}: line {line}, {field}: {reason}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1 as in editors.
        line: u64,
        /// The field, or another part of the line.
        field: String,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// An episode that cannot be written.
    #[error("episode {id:?}, step {step}, {column}: {reason}")]
    Episode {
        /// The episode's id.
        id: String,
        /// The turn, counted from 0.
        step: usize,
        /// The column that would have held the value.
        column: &'static str,
        /// The problem, and what would be right.
        reason: String,
    },
}

impl Error {
    /// Returns a converter for `map_err` that wraps the operating system's error for this file.
    pub(crate) fn io(file: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { file: file.to_owned(), doing, source }
    }

    pub(crate) fn file(file: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), reason: reason.into() }
    }
}

impl From<palestra_files::Error> for Error {
    fn from(palestra_files::Error { path, source }: palestra_files::Error) -> Self {
        Self::Io { file: path, doing: "write it", source }
    }
}

/// Maximum number of characters of a value in an error message.
const MAX_VALUE_LENGTH: usize = 60;

/// Returns a value for an error message, truncated if it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
