//! Reading and filtering of documents: stages that run at the same time, with short queues between them, so that memory is
//! bounded. Documents leave them in the order of the input, whatever the number of threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, available_parallelism};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::clean::Cleaner;
use crate::error::{Error, Result};
use crate::filtered::{FilteredDocument, filter};
use crate::input::{InputFile, RawDocument, read_file};
use crate::settings::Settings;
use crate::work::Position;

/// The stages, with the settings, files and threads that they work on.
#[derive(Clone, Copy)]
pub(crate) struct Stages<'a> {
    pub settings: &'a Settings,
    pub files: &'a [InputFile],
    pub cleaner: &'a Cleaner,
    /// Threads that filter.
    pub pool: &'a ThreadPool,
}

/// Number of bytes per thread that are read before they are passed to the pool.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_DOCUMENTS: usize = 1024;
/// HTML parsers recurse as deep as a page is nested.
const STACK: usize = 64 << 20;

/// Makes the threads that filter; without a number in the settings, one for each core of this process's share of a machine.
pub(crate) fn pool_of(settings: &Settings, processes_on_machine: usize) -> Result<ThreadPool> {
    let threads = match settings.threads {
        0 if processes_on_machine > 1 => (available_parallelism().map_or(1, usize::from) / processes_on_machine).max(1),
        threads => threads,
    };
    let pool = ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build();
    pool.map_err(|error| Error::Settings(format!("`threads` is {threads}: {error}")))
}

impl Stages<'_> {
    /// Reads and filters the documents from a position on, at most `limit`, and adds the bytes read from disk to `bytes`.
    /// `consume` takes them in their order; when it returns, the stages end.
    pub fn run<T>(
        self,
        start: Position,
        limit: u64,
        bytes: &AtomicU64,
        consume: impl FnOnce(Receiver<Vec<FilteredDocument>>) -> T,
    ) -> T {
        thread::scope(|scope| {
            let (raw_to, raw_from) = sync_channel::<Vec<RawDocument>>(1);
            let (filtered_to, filtered_from) = sync_channel::<Vec<FilteredDocument>>(1);
            scope.spawn(move || self.read(start, limit, bytes, &raw_to));
            scope.spawn(move || {
                for chunk in raw_from {
                    let filter = |document| filter(document, self.settings, self.cleaner);
                    let filtered = self.pool.install(|| chunk.into_par_iter().map(filter).collect());
                    if filtered_to.send(filtered).is_err() {
                        break; // a document was wrong, or the disk is full
                    }
                }
            });
            consume(filtered_from)
        })
    }

    fn read(self, start: Position, limit: u64, bytes: &AtomicU64, to: &SyncSender<Vec<RawDocument>>) {
        let on_bytes = |count| {
            bytes.fetch_add(count, Ordering::Relaxed);
        };
        let chunk_bytes = CHUNK_BYTES * self.pool.current_num_threads();
        let mut chunk = Vec::new();
        let (mut size, mut sent) = (0, 0);
        for (number, file) in self.files.iter().enumerate().skip(start.file) {
            let skip = if number == start.file { start.record } else { 0 };
            let mut sink = |document: RawDocument| {
                if sent == limit {
                    return ControlFlow::Break(());
                }
                sent += 1;
                size += document.size();
                chunk.push(document);
                if size < chunk_bytes && chunk.len() < CHUNK_DOCUMENTS {
                    return ControlFlow::Continue(());
                }
                size = 0;
                match to.send(std::mem::take(&mut chunk)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            if read_file(file, number, skip, self.settings, &on_bytes, &mut sink).is_break() {
                break;
            }
        }
        // A closed channel is ignored here, because the reason is reported elsewhere.
        let _ = to.send(chunk);
    }
}
