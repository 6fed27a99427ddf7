//! Errors of this crate, with messages for the person who can fix the cause.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate. Each message names the file, field and value, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run file or an option that asks for something that cannot be done.
    #[error("{0}")]
    Config(String),
    /// Text or token ids that the tokenizer does not know.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A checkpoint or model file that is missing, damaged or of another shape.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// Path of the file or directory.
        path: String,
        /// Description of the problem.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A logged episode that cannot be learned from.
    #[error("{0}")]
    Data(String),
    /// A device that this program or machine does not have.
    #[error("{0}")]
    Device(String),
    /// Training that cannot go on: a loss or gradient that is not a number, a sampler that cannot be scored.
    #[error("{0}")]
    Training(String),
    /// A file of logged experience that cannot be read or written.
    #[error(transparent)]
    Log(#[from] palestra_datasets::Error),
    /// A corpus that cannot be built.
    #[error(transparent)]
    Corpus(#[from] palestra_corpus::Error),
    /// A label store, or a label for it, that cannot be used.
    #[error(transparent)]
    Labels(#[from] palestra_labels::Error),
    /// An environment or reward that failed.
    #[error(transparent)]
    Env(#[from] palestra_envs::Error),
    /// A run that a person stopped; everything was saved.
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// An [`Error::Io`] for a path, for `map_err`.
    pub fn io(path: impl AsRef<std::path::Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().display().to_string(), source }
    }
}
