//! Input of a program: lines that are written together, and never waited for.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Number of bytes that a pipe holds at least. A write does not wait while no more than that are unread.
const PIPE: u64 = 4096;

/// Input of a program.
pub(super) struct Input {
    stdin: Arc<Mutex<ChildStdin>>,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// Number of bytes of all lines before the buffer.
    written: u64,
    /// Lines for the thread that may wait.
    chunks: Sender<Vec<u8>>,
    /// Number of chunks that it has not written yet.
    queued: Arc<AtomicUsize>,
}

impl Input {
    /// Starts the thread that writes what does not fit into the pipe.
    pub fn new(stdin: ChildStdin) -> Self {
        let stdin = Arc::new(Mutex::new(stdin));
        let (chunks, taken) = channel();
        let queued = Arc::<AtomicUsize>::default();
        let (shared, counted) = (Arc::clone(&stdin), Arc::clone(&queued));
        std::thread::spawn(move || write_chunks(&shared, &taken, &counted));
        Self { stdin, buffer: Vec::new(), written: 0, chunks, queued }
    }

    /// Adds a line, and returns the number of bytes of all lines up to its end.
    pub fn add(&mut self, message: &Value) -> u64 {
        // Writing to memory does not fail, and a `Value` has a form in JSON.
        let _ = serde_json::to_writer(&mut self.buffer, message);
        self.buffer.push(b'\n');
        self.written + self.buffer.len() as u64
    }

    /// Writes the lines; `read` tells how many bytes the program has read. What might have to wait is left to the thread,
    /// because a program that does not read must not stop its caller.
    pub fn flush(&mut self, read: impl FnOnce() -> u64) {
        if self.buffer.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.buffer);
        self.written += lines.len() as u64;
        if self.queued.load(Ordering::Acquire) == 0 && self.written - read() <= PIPE {
            // An error says that the program is gone, which the end of its output tells.
            let _ = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines);
        } else {
            self.queued.fetch_add(1, Ordering::AcqRel);
            let _ = self.chunks.send(lines);
        }
    }
}

/// Writes lines until there are no more, or until nobody reads them.
fn write_chunks(stdin: &Mutex<ChildStdin>, chunks: &Receiver<Vec<u8>>, queued: &AtomicUsize) {
    for lines in chunks {
        if stdin.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines).is_err() {
            break;
        }
        queued.fetch_sub(1, Ordering::AcqRel);
    }
}
