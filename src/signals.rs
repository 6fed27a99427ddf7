//! Signals that ask the program to stop: a run ends in order at the first, and at once at the second.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Error, Result};

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Returns a flag that the first Ctrl-C, termination or loss of the terminal sets. The second ends the process at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_by(&stop).map(|()| stop)
}

/// Sets this flag as [`stop_on_signals`] does.
pub(crate) fn stop_by(stop: &Arc<AtomicBool>) -> Result<()> {
    // A terminal that is closed may send its signal twice, from the system and from the shell: both mean the same.
    for signal in [SIGINT, SIGTERM].into_iter().chain(hang_up()) {
        signal_hook::flag::register(signal, Arc::clone(stop)).map_err(Error::io("signal handler"))?;
    }
    watch()
}

/// Says, when a person asks the program to stop, what happens now and what a second time does, and ends the process at
/// the second time. Once in the process.
fn watch() -> Result<()> {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    if IS_WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Error::io("signal handler"))?;
    std::thread::spawn(move || {
        // Nobody may be there to read it.
        let tell = |told: &str| _ = writeln!(std::io::stderr(), "\n{told}");
        let mut signals = signals.forever();
        if signals.next().is_some() {
            tell("stopping: what is under way is finished and saved; a second Ctrl-C ends at once and loses it");
        }
        if signals.next().is_some() {
            tell("ended at once: what was done since the last checkpoint is lost; --resume goes on from there");
            signal_hook::low_level::exit(INTERRUPTED);
        }
    });
    Ok(())
}

/// Signal of a terminal that is closed, unless it is ignored, as `nohup` makes it.
#[cfg(unix)]
fn hang_up() -> Option<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default(); // there is none but on Linux
    Some(signal_hook::consts::SIGHUP).filter(|signal| !is_ignored(&status, *signal))
}

#[cfg(not(unix))]
fn hang_up() -> Option<i32> {
    None
}

/// True if a process with this text of `/proc/<pid>/status` ignores a signal.
#[cfg(unix)]
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(all(test, unix))]
mod tests {
    use super::is_ignored;

    #[test]
    fn nohup_is_seen_in_the_status_of_a_process() {
        let status = |mask: &str| format!("Name:\tpalestra\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\n");
        assert!(is_ignored(&status("0000000000001001"), 1));
        assert!(!is_ignored(&status("0000000000001000"), 1) && !is_ignored("", 1));
    }
}
