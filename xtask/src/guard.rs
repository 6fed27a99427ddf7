//! Children of this program, each with all that it starts: they end when this program does, even by SIGKILL.

use std::process::{Child, Command, Output, Stdio};

use crate::Result;

/// Waits for the end of its input, which comes when this program drops it or ends, and kills the process group.
#[cfg(unix)]
const SCRIPT: &str = "trap '' HUP INT TERM; read -r _; kill -s KILL -- \"-$1\" 2>/dev/null";

/// A child in a process group of its own, which is killed with this value.
pub struct Guarded {
    /// `None` once it was waited for.
    child: Option<Child>,
    /// The process that kills the group.
    guard: Option<Child>,
}

impl Guarded {
    /// Starts a command.
    ///
    /// # Errors
    /// A program that does not start, by its name.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        #[cfg(unix)]
        let guard = {
            let mut guard = Command::new("sh");
            guard.args(["-c", SCRIPT, "guard", &child.id().to_string()]);
            guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            std::os::unix::process::CommandExt::process_group(&mut guard, 0);
            Some(guard.spawn().map_err(|error| format!("`sh`, which guards {name}, does not start: {error}"))?)
        };
        #[cfg(not(unix))]
        let guard = None;
        Ok(Self { child: Some(child), guard })
    }

    /// Process id of the child.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// True once the child is over.
    pub fn is_over(&mut self) -> Result<bool> {
        let status = self.child.as_mut().map_or(Ok(None), Child::try_wait);
        status.map(|status| status.is_some()).map_err(|error| error.to_string())
    }

    /// Waits for the end of the child; the output has what it wrote to streams that are piped.
    pub fn output(mut self) -> Result<Output> {
        let child = self.child.take().ok_or("it was waited for before")?;
        child.wait_with_output().map_err(|error| error.to_string())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // What ended by itself has nothing to end.
            let _ = child.kill().and_then(|()| child.wait());
        }
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}
