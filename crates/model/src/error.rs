//! Errors of this crate.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error. Each message names the file, field and value, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of a file that a person wrote cannot be used.
    #[error("{0}")]
    Config(String),
    /// A checkpoint or model file is missing, damaged or of another shape.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file or directory.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Training cannot go on: a loss or gradient that is not finite, a sampler that cannot be scored.
    #[error("{0}")]
    Training(String),
}

impl Error {
    /// An [`Error::Checkpoint`] about a file or directory.
    pub(crate) fn checkpoint(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.display().to_string(), reason: reason.into() }
    }

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
