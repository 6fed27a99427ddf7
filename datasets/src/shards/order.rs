use crate::split_mix::mix;

/// A permutation of `0..count` that is computed element by element, without memory: a Feistel network over the next
/// power of four, iterated until the result is in range
/// ([Black and Rogaway 2002](https://doi.org/10.1007/3-540-45760-7_9)).
///
/// ```
/// # use palestra_datasets::shards::Shuffle;
/// let shuffle = Shuffle::new(10, 7);
/// let mut places: Vec<u64> = (0..10).map(|number| shuffle.at(number)).collect();
/// places.sort();
/// assert_eq!(places, (0..10).collect::<Vec<_>>());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Shuffle {
    count: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Shuffle {
    /// Creates the permutation of a seed.
    pub fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        let keys = [0, 1, 2, 3].map(|round| mix(seed.wrapping_add(mix(round))));
        Self { count, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Returns the element at an index below `count`.
    pub fn at(&self, number: u64) -> u64 {
        debug_assert!(number < self.count);
        let mut value = number;
        loop {
            value = self.permute(value);
            if value < self.count {
                return value;
            }
        }
    }

    fn permute(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_comes_once_in_an_order_of_the_seed() {
        for count in [1, 2, 3, 5, 16, 17, 1000] {
            let order = |seed| (0..count).map(|number| Shuffle::new(count, seed).at(number)).collect::<Vec<_>>();
            let mut sorted = order(1);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>());
        }
        let order = |seed| (0..1000).map(|number| Shuffle::new(1000, seed).at(number)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        // Neighbours end up far apart: the mean distance of two random elements is a third of the range.
        let distance: u64 = order(1).windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        assert!((250..420).contains(&(distance / 999)), "{}", distance / 999);
    }
}
