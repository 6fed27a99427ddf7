//! What can go wrong, told to the person who can mend it.

use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message names the file, the place in it and the value, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that cannot be followed.
    #[error("{0}")]
    Settings(String),
    /// What was named as input is not there.
    #[error("{0}")]
    Input(String),
    /// A document or row of a file that cannot be read.
    #[error("{file}{place}: {reason}")]
    Document {
        /// Which file.
        file: String,
        /// Where in it, such as `:12` for line 12, or `, row 3`.
        place: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A file that is damaged, so that nothing behind the place can be read.
    #[error("{file} is damaged: {reason}; fetch it again, or pass over it with --skip-bad")]
    Damaged {
        /// Which file.
        file: String,
        /// What the reader of its format said.
        reason: String,
    },
    /// Nothing is left to write.
    #[error("{0}")]
    Empty(String),
    /// The output cannot be written here, or not gone on with.
    #[error("{0}")]
    Output(String),
    /// A file could not be read or written.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What was tried, such as "read".
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(file: impl AsRef<Path>, doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { file: file.as_ref().to_owned(), doing, source }
    }
}
