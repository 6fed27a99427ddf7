//! What can go wrong in collecting labels, told to the person who can mend it.

use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Where a label is refused, nothing of it is kept, and what was there stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A label store that cannot be opened, read or written.
    #[error("{}: {reason}", file.display())]
    Store {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A label for an item that is not in the store.
    #[error("item {0}: there is no such item in the store; label what the store gave out")]
    UnknownItem(i64),
    /// A label for an item that the person was never given.
    #[error("item {item}: was not given to {annotator}; label what the store gave out")]
    NotGiven {
        /// Which item.
        item: i64,
        /// Who labelled it.
        annotator: String,
    },
    /// A second, different label of one person for one item.
    #[error("item {item}: {annotator} has labelled it before, and not like this; undo that label first")]
    AlreadyLabelled {
        /// Which item.
        item: i64,
        /// Who labelled it.
        annotator: String,
    },
    /// A label that says nothing possible of its item.
    #[error("label, {field}: {reason}")]
    Label {
        /// Which part of the label.
        field: &'static str,
        /// The value, what is wrong with it, and what would be right.
        reason: String,
    },
    /// A name that nobody can have, or that nobody has.
    #[error("annotator {name:?}: {reason}")]
    Annotator {
        /// The name.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A file of prompts or judgements.
    #[error(transparent)]
    Data(#[from] palestra_datasets::Error),
    /// An address on which the page cannot be shown.
    #[error("{address}: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The terminal could not be read or written.
    #[error("terminal: {0}")]
    Terminal(#[from] std::io::Error),
    /// What writes answers failed.
    #[error("{policy}: {reason}")]
    Writer {
        /// Which policy.
        policy: String,
        /// Why it failed.
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
