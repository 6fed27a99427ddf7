//! Errors of collecting labels, worded for the user who can fix them.

use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of collecting labels. A refused label is not stored, and existing data stays unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A label store that cannot be opened, read or written.
    #[error("{}: {reason}", file.display())]
    Store {
        /// Path of the file.
        file: PathBuf,
        /// Description of the error and of the correct state.
        reason: String,
    },
    /// A label for an item that is not in the store.
    #[error("item {0}: there is no such item in the store; label what the store gave out")]
    UnknownItem(i64),
    /// A label for an item that was never assigned to the annotator.
    #[error("item {item}: was not given to {annotator}; label what the store gave out")]
    NotGiven {
        /// The item.
        item: i64,
        /// The annotator.
        annotator: String,
    },
    /// A second, different label of one annotator for one item.
    #[error("item {item}: {annotator} has labelled it before, and not like this; undo that label first")]
    AlreadyLabelled {
        /// The item.
        item: i64,
        /// The annotator.
        annotator: String,
    },
    /// A change of a label that was never given.
    #[error("item {item}: has no label of {annotator} to change; label it first")]
    NotLabelled {
        /// The item.
        item: i64,
        /// The annotator.
        annotator: String,
    },
    /// A label that is invalid for its item.
    #[error("label, {field}: {reason}")]
    Label {
        /// The invalid field of the label.
        field: &'static str,
        /// The value, the reason why it is invalid, and what would be right.
        reason: String,
    },
    /// An invalid or unknown annotator name.
    #[error("annotator {name:?}: {reason}")]
    Annotator {
        /// The name.
        name: String,
        /// The reason why it is refused, and what would be right.
        reason: String,
    },
    /// Error of a file of prompts or preferences.
    #[error(transparent)]
    Data(#[from] palestra_datasets::Error),
    /// An address that the server cannot listen on.
    #[error("{address}: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// The reason why it is refused, and what would be right.
        reason: String,
    },
    /// The terminal could not be read or written.
    #[error("terminal: {0}")]
    Terminal(#[from] std::io::Error),
    /// A writer failed to generate answers.
    #[error("{policy}: {reason}")]
    Writer {
        /// Name of the policy.
        policy: String,
        /// Reason of the failure.
        reason: String,
    },
}

impl Error {
    pub(crate) fn store(file: &Path, reason: impl Into<String>) -> Self {
        Self::Store { file: file.to_owned(), reason: reason.into() }
    }

    pub(crate) fn label(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Label { field, reason: reason.into() }
    }
}
