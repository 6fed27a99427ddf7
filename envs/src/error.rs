//! What can go wrong with an environment, told to the person who can mend it.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with an environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No environment, kind or option of that name.
    #[error("{0}")]
    Unknown(String),
    /// A definition or one of its options cannot be used.
    #[error("{0}")]
    Definition(String),
    /// `step` was called when no episode was running.
    #[error("{env}: step() was called {when}; call reset(seed) first")]
    NotRunning {
        /// The environment's id.
        env: String,
        /// `before reset()` or `after the episode's end`.
        when: &'static str,
    },
    /// A policy or player answered what it may not; the message goes on from "the policy:".
    #[error("the policy: {0}")]
    Policy(String),
    /// A reward could not be computed.
    #[error("reward {name}: {reason}")]
    Reward {
        /// The reward's name.
        name: String,
        /// What went wrong.
        reason: String,
    },
    /// A file could not be read.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What went wrong.
        reason: String,
    },
}
