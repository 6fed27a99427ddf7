//! Destination of the program's logs: standard error, or the file of a rank other than 0.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;

use crate::{Error, Result};

/// Destination of logs at the moment.
enum Target {
    Stderr,
    /// Kept until the file is known.
    Held(Vec<u8>),
    File(File),
}

/// A process has one logger, as it has one standard error.
static TARGET: Mutex<Target> = Mutex::new(Target::Stderr);

/// Starts to log to standard error.
pub fn start(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::WARN,
        (_, 0) => LevelFilter::INFO,
        (_, 1) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let logs = tracing_subscriber::fmt()
        .with_writer(|| Logs)
        .with_ansi(io::stderr().is_terminal())
        .with_target(level >= LevelFilter::DEBUG)
        .with_max_level(level);
    // A program that logs in its own way has set a logger before.
    let _ = logs.try_init();
}

/// Holds the logs until their file is known.
pub fn hold() {
    set(Target::Held(Vec::new()));
}

/// Logs to a file from its end on, first what was held.
///
/// # Errors
/// A file that cannot be written.
pub fn write_to(path: &Path) -> Result<()> {
    let mut file = File::options().append(true).create(true).open(path).map_err(Error::io(path))?;
    if let Target::Held(held) = set(Target::Stderr) {
        file.write_all(&held).map_err(Error::io(path))?;
    }
    set(Target::File(file));
    Ok(())
}

/// Writes what is still held to standard error, where the process ends before the file is known.
pub fn release() {
    if let Target::Held(held) = set(Target::Stderr) {
        let _ = io::stderr().write_all(&held);
    }
}

fn set(target: Target) -> Target {
    std::mem::replace(&mut *TARGET.lock().unwrap_or_else(PoisonError::into_inner), target)
}

/// The writer of logs. A reader of standard error that is gone, as after the end of an SSH connection, ends no run, nor does a
/// full disk: what it would have read is dropped.
struct Logs;

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = match &mut *TARGET.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Stderr => io::stderr().write_all(bytes),
            Target::Held(held) => held.write_all(bytes),
            Target::File(file) => file.write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
