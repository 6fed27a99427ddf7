//! What can go wrong with a file of episodes, told to the person who can mend it.

use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a file of episodes. Rows and row groups are counted from 0, rows through the whole file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What was tried, such as `create it`.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A path, folder or pattern that stands for no file.
    #[error("{pattern}: {reason}")]
    NoFiles {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be used as a whole.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A column that is missing or has another type.
    #[error("{}: column {column}: {reason}", file.display())]
    Column {
        /// Which file.
        file: PathBuf,
        /// The column's name.
        column: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A row group that cannot be read.
    #[error("{}: row group {row_group}: {reason}", file.display())]
    RowGroup {
        /// Which file.
        file: PathBuf,
        /// Which row group of the file.
        row_group: usize,
        /// What is wrong.
        reason: String,
    },
    /// A row that breaks the rules of the experience log.
    #[error("{}: row {row} (row group {row_group}), column {column}: {reason}", file.display())]
    Row {
        /// Which file.
        file: PathBuf,
        /// Which row group of the file.
        row_group: usize,
        /// Which row of the file.
        row: u64,
        /// The column's name.
        column: &'static str,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// A cell of a Parquet file that is no experience log.
    #[error("{}: row {row}, column {column}: {reason}", file.display())]
    Cell {
        /// Which file.
        file: PathBuf,
        /// Which row of the file.
        row: u64,
        /// The column's name.
        column: String,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// A line of a text file that cannot be read as what it should be.
    #[error("{}: line {line}, {field}: {reason}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, counted from 1 as editors do.
        line: u64,
        /// The field, or what else of the line.
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
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl Error {
    /// For `map_err`: what the operating system said, of this file.
    pub(crate) fn io(file: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { file: file.to_owned(), doing, source }
    }

    pub(crate) fn file(file: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), reason: reason.into() }
    }
}
