//! What can go wrong, told to the person who can mend it.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message names the file, field and value, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that a person wrote says something that cannot be done.
    #[error("{0}")]
    Config(String),
    /// Text or token ids that the tokenizer does not know.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A checkpoint or model file that is missing, damaged or of another shape.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// Which file or directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A logged episode that cannot be learned from.
    #[error("{0}")]
    Data(String),
    /// A device that this program or machine does not have.
    #[error("{0}")]
    Device(String),
    /// Training cannot go on: a loss or gradient that is no number, a sampler that cannot be scored.
    #[error("{0}")]
    Training(String),
    /// A file of logged experience that cannot be read or written.
    #[error(transparent)]
    Log(#[from] palestra_datasets::Error),
    /// A corpus that cannot be made.
    #[error(transparent)]
    Corpus(#[from] palestra_corpus::Error),
    /// A label store, or a label for it, that cannot be used.
    #[error(transparent)]
    Labels(#[from] palestra_labels::Error),
    /// An environment or reward failed.
    #[error(transparent)]
    Env(#[from] palestra_envs::Error),
    /// The person asked to stop; everything was saved.
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// An [`Error::Io`] for a path, for `map_err`.
    pub fn io(path: impl AsRef<std::path::Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().display().to_string(), source }
    }
}
