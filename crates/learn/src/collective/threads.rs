//! Ranks that are threads of one process, for tests.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{Collective, Traffic};
use crate::{Error, Result};

/// A rank that is a thread.
pub struct Threads {
    rank: usize,
    /// To each rank.
    senders: Vec<Sender<Vec<u8>>>,
    /// From each rank.
    receivers: Vec<Receiver<Vec<u8>>>,
    deadline: Duration,
    traffic: Cell<Traffic>,
}

impl Threads {
    /// Runs `work` on each of `size` ranks, and returns the results in the order of the ranks. A rank waits for another at
    /// most as long as the deadline.
    ///
    /// # Panics
    /// If the work of a rank panics.
    pub fn run<T: Send>(size: usize, deadline: Duration, work: impl Fn(&Self) -> T + Sync) -> Vec<T> {
        let mut senders: Vec<Vec<Sender<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<Receiver<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
        for from in &mut senders {
            for to in &mut receivers {
                let (sender, receiver) = channel();
                from.push(sender);
                to.push(receiver);
            }
        }
        let rank = |(rank, (senders, receivers))| Self { rank, senders, receivers, deadline, traffic: Cell::default() };
        let ranks: Vec<Self> = senders.into_iter().zip(receivers).enumerate().map(rank).collect();
        let work = &work;
        std::thread::scope(|scope| {
            // A rank that ends drops its senders, which the others notice.
            let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || work(&rank))).collect();
            threads.into_iter().map(|thread| thread.join().expect("the work of a rank panicked")).collect()
        })
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn transfer(&self, parts: &[&[u8]], received: &mut [&mut [u8]]) -> Result<()> {
        let until = Instant::now() + self.deadline;
        let ended = |rank: usize| Error::Training(format!("{} has ended", self.name(rank)));
        let others = |rank: &usize| *rank != self.rank;
        Traffic::count(&self.traffic, self.rank, parts, || {
            for (to, part) in parts.iter().enumerate().filter(|(to, _)| others(to)) {
                self.senders[to].send(part.to_vec()).map_err(|_| ended(to))?;
            }
            for (from, buffer) in received.iter_mut().enumerate().filter(|(from, _)| others(from)) {
                let wait = until.saturating_duration_since(Instant::now());
                let part = self.receivers[from].recv_timeout(wait).map_err(|error| match error {
                    RecvTimeoutError::Disconnected => ended(from),
                    RecvTimeoutError::Timeout => {
                        let seconds = self.deadline.as_secs_f64();
                        Error::Training(format!("{} has not answered for {seconds} s", self.name(from)))
                    }
                })?;
                if part.len() != buffer.len() {
                    let reason = format!("it sent {} bytes in place of {}", part.len(), buffer.len());
                    return Err(self.wrong(from, &reason));
                }
                buffer.copy_from_slice(&part);
            }
            Ok(())
        })
    }

    fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }
}
