//! Communication between the ranks of a run: processes that train one model together, each on its share of every batch.
//!
//! All of it is made of one operation, [`Collective::transfer`]. Sums add what the ranks send in the order of the ranks, so
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
pub use buckets::{BUCKET, all_gather, all_reduce, reduce_scatter};
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

    /// Sends each other rank its part, and fills the buffers with the parts that the others sent to this one, both in the order of
    /// the ranks. A buffer is as long as the part that is sent to it; those of this rank itself are left alone.
    ///
    /// # Errors
    /// A rank that has ended, or that does not take part within the deadline; a part that is too long for a message.
    fn transfer(&self, parts: &[&[u8]], received: &mut [&mut [u8]]) -> Result<()>;

    /// Sends each rank its part, of any length, and returns the parts that all ranks sent to this one, both in the order of the
    /// ranks.
    ///
    /// # Errors
    /// As [`Collective::transfer`].
    fn exchange(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_le_bytes()).collect();
        let mut told = lengths.clone();
        let lengths: Vec<&[u8]> = lengths.iter().map(|length| &length[..]).collect();
        self.transfer(&lengths, &mut told.iter_mut().map(|length| &mut length[..]).collect::<Vec<_>>())?;
        let mut received: Vec<Vec<u8>> = told.iter().map(|told| vec![0; u64::from_le_bytes(*told) as usize]).collect();
        self.transfer(parts, &mut received.iter_mut().map(|buffer| &mut buffer[..]).collect::<Vec<_>>())?;
        received[self.rank()].copy_from_slice(parts[self.rank()]);
        Ok(received)
    }

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
    /// As [`Collective::transfer`].
    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(&vec![own; self.size()])
    }

    /// Returns the bytes of the rank `root`; those of the others are not looked at.
    ///
    /// # Errors
    /// As [`Collective::transfer`].
    fn broadcast(&self, root: usize, own: &[u8]) -> Result<Vec<u8>> {
        let sent = if self.rank() == root { own } else { &[] };
        Ok(self.all_gather(sent)?.swap_remove(root))
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// As [`Collective::transfer`].
    fn barrier(&self) -> Result<()> {
        let nothing = || (0..self.size()).map(|_| &mut [][..]);
        self.transfer(&vec![&[][..]; self.size()], &mut nothing().collect::<Vec<_>>())
    }

    /// Returns the numbers of all ranks, one after the other. `lengths` has how many each rank has.
    ///
    /// # Errors
    /// As [`Collective::transfer`].
    fn concatenate(&self, own: &[f32], lengths: &[usize]) -> Result<Vec<f32>> {
        let mut all = vec![0.0; lengths.iter().sum()];
        let mut left = &mut all[..];
        let mut parts: Vec<&mut [f32]> =
            lengths.iter().map(|count| left.split_off_mut(..*count).unwrap_or_default()).collect();
        parts[self.rank()].copy_from_slice(own);
        let mut received: Vec<&mut [u8]> = parts.into_iter().map(bytemuck::cast_slice_mut).collect();
        self.transfer(&vec![bytemuck::cast_slice(own); self.size()], &mut received)?;
        Ok(all)
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

    fn transfer(&self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<()> {
        Ok(())
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
/// As [`Collective::transfer`]; a value that cannot be read.
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

#[cfg(test)]
mod tests;
