//! Errors of this crate.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error. Each message names the file, field and value, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text or token ids that the tokenizer does not know.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A setting of a file that a person wrote cannot be used.
    #[error("{0}")]
    Config(String),
    /// Data that cannot be learned from.
    #[error("{0}")]
    Data(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of records that cannot be read or written.
    #[error(transparent)]
    Log(#[from] palestra_datasets::Error),
}

impl Error {
    /// The message without the word for the part of this crate.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Tokenizer(reason) => reason.clone(),
            other => other.to_string(),
        }
    }

    /// An [`Error::Io`] for a path, for `map_err`.
    pub fn io(path: impl AsRef<std::path::Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().display().to_string(), source }
    }
}
