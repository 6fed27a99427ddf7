//! An object that is read from its begin to its end, by ranges that are requested ahead.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use bytes::{Buf, Bytes};

use crate::error::{Error, Result};
use crate::store::{AT_ONCE, CHUNK_BYTES, Object, Store};

/// Reader of an object. It holds up to twice as many ranges as are requested at once.
#[derive(Debug)]
pub struct Reader {
    /// Of each requesting thread, the ranges in its turn.
    threads: Vec<Receiver<Result<Bytes>>>,
    next: usize,
    current: Bytes,
    /// Bytes that are not read yet.
    left: u64,
    object: Object,
}

impl Reader {
    /// Opens an object. It is requested at once.
    ///
    /// # Errors
    /// Variables of the environment that cannot be used.
    pub fn open(object: &Object) -> Result<Self> {
        let store = Store::open(&object.address)?;
        let chunks = object.bytes.div_ceil(CHUNK_BYTES);
        let requesting = |thread: u64, count: u64| {
            let (to, from) = sync_channel(1);
            let (store, object) = (store.clone(), object.clone());
            thread::spawn(move || {
                for chunk in (thread..chunks).step_by(count as usize) {
                    let begin = chunk * CHUNK_BYTES;
                    let read = store.range(&object, begin..(begin + CHUNK_BYTES).min(object.bytes));
                    let failed = read.is_err();
                    if to.send(read).is_err() || failed {
                        return; // the reader is gone, or ends with the error
                    }
                }
            });
            from
        };
        let count = chunks.min(AT_ONCE as u64);
        let threads = (0..count).map(|thread| requesting(thread, count)).collect();
        Ok(Self { threads, next: 0, current: Bytes::new(), left: object.bytes, object: object.clone() })
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && self.left > 0 {
            let received = self.threads[self.next].recv();
            let gone = |_| Err(Error::new(&self.object.address, "its reader ended with an error before"));
            self.current = received.unwrap_or_else(gone)?;
            self.next = (self.next + 1) % self.threads.len();
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}
