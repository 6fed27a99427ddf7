//! Phase of an environment's life cycle, and the check that every game makes before it plays an action.

use crate::{Error, Result};

/// Phase of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `reset` was never called.
    New,
    /// An episode runs.
    Running,
    /// The last episode has ended.
    Over,
}

impl Phase {
    /// Returns an error unless an episode is running.
    pub(crate) fn check_running(self, env: &str) -> Result<()> {
        let when = match self {
            Phase::Running => return Ok(()),
            Phase::New => "before reset()",
            Phase::Over => "after the episode's end",
        };
        Err(Error::NotRunning { env: env.to_string(), when })
    }
}
