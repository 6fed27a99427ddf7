//! Errors of environments, worded for the user who can fix them.

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of an environment.
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
        /// Id of the environment.
        env: String,
        /// `before reset()` or `after the episode's end`.
        when: &'static str,
    },
    /// A policy gave an answer that is not allowed; the message continues after "the policy:".
    #[error("the policy: {0}")]
    Policy(String),
    /// A reward could not be computed.
    #[error("reward {name}: {reason}")]
    Reward {
        /// Name of the reward.
        name: String,
        /// Reason of the failure.
        reason: String,
    },
    /// A file could not be read.
    #[error("{path}: {reason}")]
    File {
        /// Path of the file.
        path: String,
        /// Reason of the failure.
        reason: String,
    },
}

impl From<palestra_settings::Error> for Error {
    fn from(palestra_settings::Error(message): palestra_settings::Error) -> Self {
        Self::Definition(message)
    }
}
