//! Guard of a program: a second process that ends the program's whole process group when this process is gone, however
//! it went.

use std::io;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its input, which comes with [`Guard::act`] or with the end of this process, and kills the group.
/// It ignores what a terminal sends to all that runs in it.
const SCRIPT: &str = "trap '' HUP INT TERM; read -r _; kill -s KILL -- \"-$1\" 2>/dev/null";

/// Guard of one process group.
pub(super) struct Guard(Child);

impl Guard {
    /// Starts the guard of a process group.
    pub fn of(group: u32) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "palestra-guard", &group.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        own_group(&mut command);
        command.spawn().map(Self)
    }

    /// Ends the group.
    pub fn act(mut self) {
        drop(self.0.stdin.take());
        // It has nothing to wait for; without it, only the program itself is ended.
        let _ = self.0.wait();
    }
}

/// Makes the process of a command the first of a group of its own, so that it can be ended with all that it starts, and
/// so that Ctrl-C does not reach it.
#[cfg(unix)]
pub(super) fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
pub(super) fn own_group(_command: &mut Command) {}
