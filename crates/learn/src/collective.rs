//! Communication between the ranks of a run: processes that train one model together, each on its share of every batch.
//!
//! All of it is made of one operation, [`Collective::exchange`]. Sums add what the ranks send in the order of the ranks, so
//! that a run on a given number of ranks has the same bits each time, whatever carries the messages. MPI is known to
//! `collective/mpi.rs` alone.

#[cfg(feature = "mpi")]
mod mpi;
mod start;
mod threads;

use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use start::join;
pub use threads::Threads;

/// One rank's end of the communication. Every rank calls the same operations in the same order.
pub trait Collective {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Rank and machine as a message names them, such as `rank 1 on node-7`.
    fn name(&self, rank: usize) -> String {
        format!("rank {rank}")
    }

    /// Number of ranks on this rank's machine, at least 1.
    fn local_size(&self) -> usize {
        self.size()
    }

    /// Sends each rank its part, and returns the parts that all ranks sent to this one, both in the order of the ranks.
    ///
    /// # Errors
    /// A rank that has ended, or that does not take part within the deadline.
    fn exchange(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>>;

    /// Time spent and bytes sent since the last call.
    fn take_traffic(&self) -> Traffic;

    /// Ends all processes of the run at once, after an error of this one.
    fn abort(&self) {}

    /// Range of this rank's share of `count` items. The shares are contiguous, in the order of the ranks, and differ in
    /// length by at most 1.
    fn share(&self, count: usize) -> Range<usize> {
        share(count, self.rank(), self.size())
    }

    /// Returns the bytes of all ranks, in their order.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(&vec![own; self.size()])
    }

    /// Returns the bytes of the rank `root`; those of the others are not looked at.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn broadcast(&self, root: usize, own: &[u8]) -> Result<Vec<u8>> {
        let sent = if self.rank() == root { own } else { &[] };
        Ok(self.all_gather(sent)?.swap_remove(root))
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn barrier(&self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }

    /// Sums over the ranks, of this rank's [share](Collective::share) of the values.
    ///
    /// # Errors
    /// As [`Collective::exchange`]; another number of values on another rank.
    fn reduce_scatter(&self, values: &[f32]) -> Result<Vec<f32>> {
        let part = |rank| bytemuck::cast_slice(&values[share(values.len(), rank, self.size())]);
        let received = self.exchange(&(0..self.size()).map(part).collect::<Vec<&[u8]>>())?;
        let mut sums = vec![0.0; self.share(values.len()).len()];
        for (rank, bytes) in received.iter().enumerate() {
            let numbers = floats(bytes, sums.len()).map_err(|reason| self.wrong(rank, &reason))?;
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        Ok(sums)
    }

    /// Replaces values by their sums over the ranks.
    ///
    /// # Errors
    /// As [`Collective::reduce_scatter`].
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let own = self.reduce_scatter(values)?;
        self.all_gather_shares(&own, values)
    }

    /// Fills `values` with the shares of all ranks; `own` is this rank's.
    ///
    /// # Errors
    /// As [`Collective::reduce_scatter`].
    fn all_gather_shares(&self, own: &[f32], values: &mut [f32]) -> Result<()> {
        for (rank, bytes) in self.all_gather(bytemuck::cast_slice(own))?.iter().enumerate() {
            let share = share(values.len(), rank, self.size());
            let place = &mut values[share];
            let numbers = floats(bytes, place.len()).map_err(|reason| self.wrong(rank, &reason))?;
            place.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
        }
        Ok(())
    }

    /// Error of a rank that sent something else than expected.
    fn wrong(&self, rank: usize, reason: &str) -> Error {
        Error::Training(format!("{}: {reason}; all ranks must run the same program on the same data", self.name(rank)))
    }
}

/// The only rank of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        Ok(parts.iter().map(|part| part.to_vec()).collect())
    }

    fn take_traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Time spent in communication, and bytes sent to other ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Time in the operations, with the wait for other ranks.
    pub time: Duration,
    /// Bytes sent to other ranks.
    pub bytes: u64,
}

impl Traffic {
    /// Adds an operation that sends these parts to a count.
    fn count<T>(count: &Cell<Self>, rank: usize, parts: &[&[u8]], work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        let sent: usize = parts.iter().enumerate().filter(|(to, _)| *to != rank).map(|(_, part)| part.len()).sum();
        let Self { time, bytes } = count.get();
        count.set(Self { time: time + began.elapsed(), bytes: bytes + sent as u64 });
        result
    }
}

/// Range of a rank's share of `count` items.
pub fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    rank * count / size..(rank + 1) * count / size
}

/// Returns the values of all ranks, in their order.
///
/// # Errors
/// As [`Collective::exchange`]; a value that cannot be read.
pub fn gather<T: Serialize + DeserializeOwned>(collective: &dyn Collective, own: &T) -> Result<Vec<T>> {
    let json = serde_json::to_vec(own).map_err(|error| collective.wrong(collective.rank(), &error.to_string()))?;
    let parse = |(rank, bytes): (usize, Vec<u8>)| {
        serde_json::from_slice(&bytes).map_err(|error| collective.wrong(rank, &error.to_string()))
    };
    collective.all_gather(&json)?.into_iter().enumerate().map(parse).collect()
}

/// The numbers in a message, which must be `count`.
fn floats(bytes: &[u8], count: usize) -> Result<impl Iterator<Item = f32>, String> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    match numbers.len() == count && rest.is_empty() {
        true => Ok(numbers.iter().map(|bytes| f32::from_ne_bytes(*bytes))),
        false => Err(format!("it sent {} bytes in place of {count} numbers", bytes.len())),
    }
}

#[cfg(test)]
mod tests;
