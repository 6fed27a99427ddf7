//! Errors of this crate: the path, and the error of the operating system.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a file or directory that could not be written.
#[derive(Debug)]
pub struct Error {
    /// The file or directory; the final name, if it has one.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

impl Error {
    /// Returns a converter for `map_err` that names the path.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind of the error, and names the path in the message.
    fn from(error: Error) -> Self {
        Self::new(error.source.kind(), error.to_string())
    }
}
