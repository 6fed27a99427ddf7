//! Share of a rank of what several ranks divide.

use std::ops::Range;

/// One of several ranks, which has a share of each array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Number of the rank, from 0.
    pub rank: usize,
    /// Number of ranks, at least 1.
    pub size: usize,
}

impl Shard {
    /// The shard that is everything.
    pub const WHOLE: Self = Self { rank: 0, size: 1 };

    /// Range of this rank's share of `count` items. The shares are contiguous, in the order of the ranks, and differ in length
    /// by at most 1.
    pub fn range(self, count: usize) -> Range<usize> {
        self.rank * count / self.size..(self.rank + 1) * count / self.size
    }
}
