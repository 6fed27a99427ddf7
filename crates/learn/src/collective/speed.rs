//! Speed of the communication between ranks, measured.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{BUCKET, Collective};
use crate::Result;
use palestra_model::optim::Shard;

/// Rounds of each measurement, of which the median counts.
const ROUNDS: usize = 9;
/// Empty exchanges in a round.
const MESSAGES: u32 = 100;

/// Speed of the communication between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Number of ranks.
    pub ranks: usize,
    /// Number of ranks on the machine of rank 0.
    pub ranks_on_machine: usize,
    /// Time that an exchange takes for each other rank, however short the message.
    pub message_seconds: f64,
    /// Bytes that a rank sends in a second while gradients are added.
    pub bytes_per_second: f64,
}

/// Measures the speed of at least two ranks; all call it, and each gets what it measured.
///
/// # Errors
/// A rank that takes no part.
pub fn measure(collective: &dyn Collective) -> Result<Speed> {
    let size = collective.size();
    let round = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        collective.barrier()?;
        let began = Instant::now();
        work()?;
        Ok(began.elapsed().as_secs_f64())
    };
    let median = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        round(work)?; // memory is taken, and connections are made
        let mut times = (0..ROUNDS).map(|_| round(work)).collect::<Result<Vec<f64>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    };
    let exchange = median(&|| (0..MESSAGES).try_for_each(|_| collective.barrier()))? / f64::from(MESSAGES);
    let parts: Vec<Vec<f32>> = (0..size).map(|rank| vec![1.0; Shard { rank, size }.range(BUCKET).len()]).collect();
    let all_reduce = median(&|| {
        let own = collective.reduce_scatter(&parts)?;
        collective.gather_shares(&own, BUCKET).map(drop)
    })?;
    let sent = 2.0 * (size - 1) as f64 / size as f64 * (4 * BUCKET) as f64;
    Ok(Speed {
        ranks: size,
        ranks_on_machine: collective.local_size(),
        message_seconds: exchange / (size - 1) as f64,
        bytes_per_second: sent / (all_reduce - 2.0 * exchange).max(Duration::from_nanos(1).as_secs_f64()),
    })
}
