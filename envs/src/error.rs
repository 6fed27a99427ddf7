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
    /// A program outside of this process did not finish an episode. The episode is dropped and counted; others go on.
    #[error("{env}: {reason}")]
    EpisodeFailed {
        /// Id of the environment.
        env: String,
        /// Kind of the failure, by which it is counted.
        kind: FailureKind,
        /// Description of the failure.
        reason: String,
    },
    /// A program outside of this process failed too often.
    #[error("{0}")]
    TooManyFailures(String),
    /// A file could not be read.
    #[error("{path}: {reason}")]
    File {
        /// Path of the file.
        path: String,
        /// Reason of the failure.
        reason: String,
    },
}

/// Kind of a failure of a program outside of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// It could not be started, or did not say hello as it should.
    Start,
    /// It did not answer in time.
    Timeout,
    /// It ended.
    Exit,
    /// It wrote a line that is no JSON.
    NoJson,
    /// It wrote a line that is longer than allowed.
    Flood,
    /// It wrote a message that does not belong there, or one with a wrong field.
    Protocol,
    /// It answered that the episode failed, as after an exception.
    Error,
    /// It was ended because of the failure of another episode.
    Lost,
}

impl FailureKind {
    /// Name of the kind in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Timeout => "timeout",
            Self::Exit => "exit",
            Self::NoJson => "no_json",
            Self::Flood => "flood",
            Self::Protocol => "protocol",
            Self::Error => "error",
            Self::Lost => "lost",
        }
    }
}

impl Error {
    /// Kind of the failure, if it concerns one episode alone, so that the others can go on.
    pub fn episode_failure(&self) -> Option<FailureKind> {
        match self {
            Self::EpisodeFailed { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}

impl From<palestra_settings::Error> for Error {
    fn from(palestra_settings::Error(message): palestra_settings::Error) -> Self {
        Self::Definition(message)
    }
}
