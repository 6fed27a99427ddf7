//! Errors of this crate.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error. Each message names the file, field and value, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of a file that a person wrote cannot be used.
    #[error("{0}")]
    Config(String),
    /// Data that cannot be learned from.
    #[error("{0}")]
    Data(String),
    /// Training cannot go on: a loss or gradient that is not finite, a sampler that cannot be scored.
    #[error("{0}")]
    Training(String),
    /// The person asked to stop; everything was saved.
    #[error("{0}")]
    Interrupted(String),
    /// A device that this program or machine does not have.
    #[error("{0}")]
    Device(String),
    /// A checkpoint or model file is missing, damaged or of another shape.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file or directory.
        path: String,
        /// The reason.
        reason: String,
    },
    /// Text or token ids that the tokenizer does not know.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
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
    /// An environment or reward failed.
    #[error(transparent)]
    Env(#[from] palestra_envs::Error),
    /// A corpus that cannot be made.
    #[error(transparent)]
    Corpus(#[from] palestra_corpus::Error),
    /// An address of an object store that cannot be read or written.
    #[error(transparent)]
    Remote(#[from] palestra_remote::Error),
    /// A label store, or a label for it, that cannot be used.
    #[error(transparent)]
    Labels(#[from] palestra_labels::Error),
}

impl Error {
    /// An [`Error::Io`] for a path, for `map_err`.
    pub fn io(path: impl AsRef<std::path::Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().display().to_string(), source }
    }
}

impl From<palestra_files::Error> for Error {
    fn from(palestra_files::Error { path, source }: palestra_files::Error) -> Self {
        Self::io(path)(source)
    }
}

impl From<palestra_settings::Error> for Error {
    fn from(palestra_settings::Error(message): palestra_settings::Error) -> Self {
        Self::Config(message)
    }
}

impl From<palestra_model::Error> for Error {
    fn from(error: palestra_model::Error) -> Self {
        use palestra_model::Error as From;
        match error {
            From::Config(it) => Self::Config(it),
            From::Checkpoint { path, reason } => Self::Checkpoint { path, reason },
            From::Io { path, source } => Self::Io { path, source },
            From::Training(it) => Self::Training(it),
        }
    }
}

impl From<palestra_text::Error> for Error {
    fn from(error: palestra_text::Error) -> Self {
        use palestra_text::Error as From;
        match error {
            From::Log(it) => Self::Log(it),
            From::Tokenizer(it) => Self::Tokenizer(it),
            From::Config(it) => Self::Config(it),
            From::Data(it) => Self::Data(it),
            From::Io { path, source } => Self::Io { path, source },
        }
    }
}

impl From<palestra_learn::Error> for Error {
    fn from(error: palestra_learn::Error) -> Self {
        use palestra_learn::Error as From;
        match error {
            From::Config(it) => Self::Config(it),
            From::Data(it) => Self::Data(it),
            From::Training(it) => Self::Training(it),
            From::Interrupted(it) => Self::Interrupted(it),
            From::Checkpoint { path, reason } => Self::Checkpoint { path, reason },
            From::Tokenizer(it) => Self::Tokenizer(it),
            From::Io { path, source } => Self::Io { path, source },
            From::Log(it) => Self::Log(it),
            From::Env(it) => Self::Env(it),
        }
    }
}
