//! Rollouts of all ranks together: each has played its share of the episodes, and learns from those of all.

use super::{RolloutResult, RolloutTimings};
use crate::Result;
use crate::collective::{Collective, gather};

/// Returns the episodes of all ranks, in the order of the ranks, and their timings: those of the slowest rank, with the counts
/// of all.
///
/// # Errors
/// The error of the first rank that could not play; every rank returns it. A rank that takes no part.
pub fn gather_rollouts(
    own: Result<(Vec<RolloutResult>, RolloutTimings)>,
    collective: &dyn Collective,
) -> Result<(Vec<RolloutResult>, RolloutTimings)> {
    if collective.size() == 1 {
        return own;
    }
    let own = own.map_err(|error| error.to_string());
    let (mut all, mut timings) = (Vec::new(), RolloutTimings::default());
    for (rank, played) in gather(collective, &own)?.into_iter().enumerate() {
        let (episodes, of_rank) = played.map_err(|reason| collective.error_of(rank, &reason))?;
        all.extend(episodes);
        timings = together(timings, of_rank);
    }
    Ok((all, timings))
}

/// Timings of the slower of two rollouts, with the counts of both.
fn together(one: RolloutTimings, other: RolloutTimings) -> RolloutTimings {
    let (tokens, turns) = (one.tokens + other.tokens, one.turns + other.turns);
    let (slower, faster) = if one.total > other.total { (one, other) } else { (other, one) };
    let mut dropped = slower.dropped;
    faster.dropped.into_iter().for_each(|(kind, count)| *dropped.entry(kind).or_default() += count);
    RolloutTimings { tokens, turns, dropped, ..slower }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Error;
    use crate::collective::Threads;

    fn timings(seconds: u64, turns: usize) -> RolloutTimings {
        let dropped = [("timeout".to_string(), turns)].into();
        RolloutTimings { total: Duration::from_secs(seconds), turns, dropped, ..RolloutTimings::default() }
    }

    #[test]
    fn timings_are_of_the_slowest_rank_and_counts_of_all() {
        let found = Threads::run(3, Duration::from_secs(60), |collective| {
            let rank = collective.rank();
            gather_rollouts(Ok((Vec::new(), timings([2, 5, 3][rank], rank))), collective).unwrap().1
        });
        assert_eq!(found, vec![timings(5, 3); 3]);
    }

    #[test]
    fn every_rank_learns_why_one_could_not_play() {
        let found = Threads::run(2, Duration::from_secs(60), |collective| {
            let own = match collective.rank() {
                0 => Ok((Vec::new(), RolloutTimings::default())),
                _ => Err(Error::Training("no more rewards".into())),
            };
            gather_rollouts(own, collective).map(drop).unwrap_err().to_string()
        });
        assert_eq!(found, ["rank 1: no more rewards"; 2]);
    }
}
