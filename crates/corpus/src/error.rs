//! Errors of a corpus run, with messages for the person who can fix them.

use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a corpus run. Each message names the file, the position in it and the value, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// An input that does not exist.
    #[error("{0}")]
    Input(String),
    /// A document or row of a file that cannot be read.
    #[error("{file}{place}: {reason}")]
    Document {
        /// The file.
        file: String,
        /// The position in the file, such as `:12` for line 12, or `, row 3`.
        place: String,
        /// The problem, and what would be right.
        reason: String,
    },
    /// A row of a file of JSON that cannot be read.
    #[error(transparent)]
    Row(#[from] palestra_datasets::Error),
    /// A file that is damaged, so that nothing after the position can be read.
    #[error("{file} is damaged: {reason}; fetch it again, or pass over it with --skip-bad")]
    Damaged {
        /// The file.
        file: String,
        /// The message of the format's reader.
        reason: String,
    },
    /// An address of an object store that cannot be read or written.
    #[error(transparent)]
    Remote(#[from] palestra_remote::Error),
    /// A corpus without any remaining document.
    #[error("{0}")]
    Empty(String),
    /// An output that cannot be written or resumed.
    #[error("{0}")]
    Output(String),
    /// An error that all ranks of a run have.
    #[error("{0}")]
    Ranks(String),
    /// A rank that has ended or sent something else than expected.
    #[error("{0}")]
    Communication(String),
    /// A file that could not be read or written.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The attempted operation, such as "read".
        doing: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl Error {
    /// True if a store did not answer or refused to: an object that cannot be read now is not one to pass over.
    pub(crate) fn is_of_store(&self) -> bool {
        match self {
            Self::Remote(_) => true,
            Self::Row(palestra_datasets::Error::Io { source, .. }) => {
                source.get_ref().is_some_and(|inner| inner.is::<palestra_remote::Error>())
            }
            _ => false,
        }
    }

    pub(crate) fn io(file: impl AsRef<Path>, doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { file: file.as_ref().to_owned(), doing, source }
    }
}

impl From<palestra_files::Error> for Error {
    fn from(palestra_files::Error { path, source }: palestra_files::Error) -> Self {
        Self::Io { file: path, doing: "write", source }
    }
}

impl From<palestra_settings::Error> for Error {
    fn from(palestra_settings::Error(message): palestra_settings::Error) -> Self {
        Self::Settings(message)
    }
}
