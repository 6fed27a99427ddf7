//! Speed of the communication between ranks, measured.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{BUCKET, Collective, all_reduce};
use crate::Result;

/// Rounds of each measurement, of which the median counts.
const ROUNDS: usize = 9;
/// Empty exchanges in a round.
const MESSAGES: u32 = 100;
/// Buckets of gradients that are added in a round.
const BUCKETS: usize = 8;

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
    let numbers = RefCell::new(vec![1.0; BUCKETS * BUCKET]);
    let all_reduce = median(&|| all_reduce(vec![&mut numbers.borrow_mut()], collective).map(drop))?;
    let sent = 2.0 * (size - 1) as f64 / size as f64 * (4 * BUCKETS * BUCKET) as f64;
    let messages = 2.0 * BUCKETS as f64 * exchange;
    Ok(Speed {
        ranks: size,
        ranks_on_machine: collective.local_size(),
        message_seconds: exchange / (size - 1) as f64,
        bytes_per_second: sent / (all_reduce - messages).max(Duration::from_nanos(1).as_secs_f64()),
    })
}
