//! Communication between the ranks of a run: processes that train one model together, each on its share of every batch.
//!
//! All of it is made of one operation, [`Collective::exchange`]. Sums add what the ranks send in the order of the ranks, so
//! that a run on a given number of ranks has the same bits each time, whatever carries the messages. MPI is known to
//! `collective/mpi.rs` alone.

mod buckets;
#[cfg(feature = "mpi")]
mod mpi;
mod speed;
mod start;
mod threads;

use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};
pub use buckets::{BUCKET, Bucket, buckets};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
use palestra_model::optim::Shard;
pub use speed::{Speed, measure};
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

    /// This rank as one of those that share the work.
    fn shard(&self) -> Shard {
        Shard { rank: self.rank(), size: self.size() }
    }

    /// Range of this rank's share of `count` items. The shares are contiguous, in the order of the ranks, and differ in
    /// length by at most 1.
    fn share(&self, count: usize) -> Range<usize> {
        self.shard().range(count)
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

    /// Sends each rank its part, and returns the sum of the parts that all ranks sent to this one, added in the order of the
    /// ranks.
    ///
    /// # Errors
    /// As [`Collective::exchange`]; a part of another length from another rank.
    fn reduce_scatter(&self, parts: &[Vec<f32>]) -> Result<Vec<f32>> {
        let sent: Vec<&[u8]> = parts.iter().map(|part| bytemuck::cast_slice(part)).collect();
        let mut sums = vec![0.0; parts[self.rank()].len()];
        for (rank, bytes) in self.exchange(&sent)?.iter().enumerate() {
            let numbers = floats(bytes, sums.len()).map_err(|reason| self.wrong(rank, &reason))?;
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        Ok(sums)
    }

    /// Returns the numbers of all ranks, one after the other. `lengths` has how many each rank has.
    ///
    /// # Errors
    /// As [`Collective::reduce_scatter`].
    fn concatenate(&self, own: &[f32], lengths: &[usize]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(lengths.iter().sum());
        for (rank, bytes) in self.all_gather(bytemuck::cast_slice(own))?.iter().enumerate() {
            all.extend(floats(bytes, lengths[rank]).map_err(|reason| self.wrong(rank, &reason))?);
        }
        Ok(all)
    }

    /// Returns the numbers of all `count` items, of which each rank has those of its [share](Collective::share).
    ///
    /// # Errors
    /// As [`Collective::reduce_scatter`].
    fn gather_shares(&self, own: &[f32], count: usize) -> Result<Vec<f32>> {
        let size = self.size();
        let lengths: Vec<usize> = (0..size).map(|rank| Shard { rank, size }.range(count).len()).collect();
        self.concatenate(own, &lengths)
    }

    /// Error of a rank, as the others tell it.
    fn error_of(&self, rank: usize, reason: &str) -> Error {
        Error::Training(format!("{}: {reason}", self.name(rank)))
    }

    /// Error of a rank that sent something else than expected.
    fn wrong(&self, rank: usize, reason: &str) -> Error {
        self.error_of(rank, &format!("{reason}; all ranks must run the same program on the same data"))
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

/// Returns the value of rank 0.
///
/// # Errors
/// As [`gather`].
pub fn of_first<T: Serialize + DeserializeOwned>(collective: &dyn Collective, own: &T) -> Result<T> {
    Ok(gather(collective, own)?.swap_remove(0))
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
