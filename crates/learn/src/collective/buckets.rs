//! Arrays that are added over the ranks, or gathered from them, in place and many at a time: messages are few, and what
//! is sent stays in the processor's cache.

use std::ops::Range;

use super::Collective;
use crate::Result;
use palestra_model::optim::Shard;

/// Number of values in a bucket: 2 MiB.
pub const BUCKET: usize = 1 << 19;

/// Replaces this rank's share of each array by its sum over the ranks, added in their order, and returns the sum of the squares of
/// these sums. Every rank has arrays of the same lengths in the same order.
///
/// # Errors
/// A rank that takes no part.
pub fn reduce_scatter(arrays: Vec<&mut [f32]>, collective: &dyn Collective) -> Result<f64> {
    Exchange::new(collective).reduce(arrays, false, BUCKET)
}

/// As [`reduce_scatter`], and the shares of the other ranks are replaced by theirs.
///
/// # Errors
/// As [`reduce_scatter`].
pub fn all_reduce(arrays: Vec<&mut [f32]>, collective: &dyn Collective) -> Result<f64> {
    Exchange::new(collective).reduce(arrays, true, BUCKET)
}

/// Replaces the shares of the other ranks of each array by theirs.
///
/// # Errors
/// As [`reduce_scatter`].
pub fn all_gather(arrays: Vec<&mut [f32]>, collective: &dyn Collective) -> Result<()> {
    let mut exchange = Exchange::new(collective);
    buckets(arrays, collective.size(), BUCKET).iter_mut().try_for_each(|bucket| exchange.gather(bucket))
}

/// Parts of arrays, each as the pieces of it that belong to the ranks' shares, in the order of the ranks.
type Bucket<'a> = Vec<Vec<&'a mut [f32]>>;

/// Divides arrays into buckets of at most `size` values, or of one value of each rank.
fn buckets(arrays: Vec<&mut [f32]>, ranks: usize, size: usize) -> Vec<Bucket<'_>> {
    let (mut buckets, mut filled) = (Vec::new(), usize::MAX);
    for array in arrays {
        let length = array.len();
        let mut rest = array;
        let mut shares: Vec<&mut [f32]> = Vec::new();
        for rank in 0..ranks {
            let share = Shard { rank, size: ranks }.range(length).len();
            shares.push(rest.split_off_mut(..share).unwrap_or_default());
        }
        // Shares differ in length by at most one, so that the last pieces of some may be empty.
        while shares.iter().any(|share| !share.is_empty()) {
            if filled.saturating_add(ranks) > size {
                buckets.push(Vec::new());
                filled = 0;
            }
            let count = ((size - filled.min(size)) / ranks).max(1);
            let pieces: Vec<&mut [f32]> = shares.iter_mut().map(|share| split_front(share, count)).collect();
            filled += pieces.iter().map(|piece| piece.len()).sum::<usize>();
            buckets.last_mut().expect("the first array begins a bucket").push(pieces);
        }
    }
    buckets
}

/// The first `count` values of a slice, or all, which are taken out of it.
fn split_front<'a>(slice: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let count = count.min(slice.len());
    slice.split_off_mut(..count).unwrap_or_default()
}

/// Messages of buckets, whose memory all of them share.
struct Exchange<'a> {
    collective: &'a dyn Collective,
    sent: Vec<f32>,
    received: Vec<f32>,
}

impl<'a> Exchange<'a> {
    fn new(collective: &'a dyn Collective) -> Self {
        Self { collective, sent: Vec::new(), received: Vec::new() }
    }

    fn reduce(&mut self, arrays: Vec<&mut [f32]>, is_gathered: bool, size: usize) -> Result<f64> {
        let mut squares = 0.0;
        for mut bucket in buckets(arrays, self.collective.size(), size) {
            squares += self.add(&mut bucket)?;
            if is_gathered {
                self.gather(&mut bucket)?;
            }
        }
        Ok(squares)
    }

    /// Adds the pieces of this rank's shares; returns the sum of the squares of the sums.
    fn add(&mut self, bucket: &mut Bucket) -> Result<f64> {
        let (rank, size) = (self.collective.rank(), self.collective.size());
        let own: usize = bucket.iter().map(|pieces| pieces[rank].len()).sum();
        let others = (0..size).filter(|it| *it != rank);
        self.sent.clear();
        let mut sent = vec![0..0; size];
        for to in others.clone() {
            let from = self.sent.len();
            bucket.iter().for_each(|pieces| self.sent.extend_from_slice(pieces[to]));
            sent[to] = from..self.sent.len();
        }
        let mut received = vec![0; size];
        others.for_each(|from| received[from] = own);
        let mut messages = self.transfer(&sent, &received)?;
        let mut squares = 0.0;
        for pieces in bucket {
            let own = &mut pieces[rank];
            let others: Vec<&[f32]> = messages
                .iter_mut()
                .map(|left| left.split_off(..own.len().min(left.len())).unwrap_or_default())
                .collect();
            squares += add_in_order(own, rank, &others);
        }
        Ok(squares)
    }

    /// Replaces the pieces of the other ranks' shares by theirs.
    fn gather(&mut self, bucket: &mut Bucket) -> Result<()> {
        let (rank, size) = (self.collective.rank(), self.collective.size());
        self.sent.clear();
        bucket.iter().for_each(|pieces| self.sent.extend_from_slice(pieces[rank]));
        let mut sent = vec![0..self.sent.len(); size];
        sent[rank] = 0..0;
        let length = |from: usize| bucket.iter().map(|pieces| pieces[from].len()).sum();
        let received: Vec<usize> = (0..size).map(|from| if from == rank { 0 } else { length(from) }).collect();
        let mut messages = self.transfer(&sent, &received)?;
        for pieces in bucket {
            for (from, piece) in pieces.iter_mut().enumerate().filter(|(from, _)| *from != rank) {
                piece.copy_from_slice(messages[from].split_off(..piece.len()).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Sends each rank its range of what is to be sent, and returns what each sent to this one, of a known length.
    fn transfer(&mut self, sent: &[Range<usize>], received: &[usize]) -> Result<Vec<&[f32]>> {
        // Never shortened, so that it is not filled anew.
        let length = self.received.len().max(received.iter().sum());
        self.received.resize(length, 0.0);
        let mut left = &mut self.received[..];
        let mut buffers: Vec<&mut [u8]> =
            received.iter().map(|count| bytemuck::cast_slice_mut(split_front(&mut left, *count))).collect();
        let parts: Vec<&[u8]> = sent.iter().map(|range| bytemuck::cast_slice(&self.sent[range.clone()])).collect();
        self.collective.transfer(&parts, &mut buffers)?;
        let mut left = &self.received[..];
        Ok(received.iter().map(|count| left.split_off(..*count).unwrap_or_default()).collect())
    }
}

/// Values that are added at once, in the nearest cache.
const PART: usize = 2048;

/// Replaces a rank's numbers by their sums with those of the others, added in the order of the ranks; returns the sum of the sums'
/// squares.
fn add_in_order(own: &mut [f32], rank: usize, others: &[&[f32]]) -> f64 {
    let mut squares = [0.0; 8];
    for (number, own) in own.chunks_mut(PART).enumerate() {
        let mut sums = [0.0; PART];
        let sums = &mut sums[..own.len()];
        for (from, other) in others.iter().enumerate() {
            let numbers = if from == rank { &own[..] } else { &other[number * PART..][..own.len()] };
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        own.copy_from_slice(sums);
        for sums in sums.chunks(squares.len()) {
            squares.iter_mut().zip(sums).for_each(|(square, &sum)| *square += f64::from(sum).powi(2));
        }
    }
    squares.iter().sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collective::{Alone, Threads};

    #[test]
    fn a_bucket_is_full_or_ends_the_arrays() {
        let lengths = |ranks: usize, size: usize| -> Vec<Vec<Vec<usize>>> {
            let (mut a, mut b, mut c) = ([0.0; 5], [0.0; 1], [0.0; 9]);
            let of = |pieces: &Vec<&mut [f32]>| pieces.iter().map(|piece| piece.len()).collect();
            let found = buckets(vec![&mut a, &mut b, &mut [], &mut c], ranks, size);
            found.iter().map(|bucket| bucket.iter().map(of).collect()).collect()
        };
        assert_eq!(lengths(1, 100), [[[5], [1], [9]]]);
        assert_eq!(lengths(1, 6), [vec![vec![5], vec![1]], vec![vec![6]], vec![vec![3]]]);
        // A bucket without room for a value of each rank is full.
        assert_eq!(lengths(2, 6), [vec![vec![2, 3]], vec![vec![0, 1], vec![2, 2]], vec![vec![2, 3]]]);
        assert_eq!(lengths(3, 1)[..3], [[[1, 1, 1]], [[0, 1, 1]], [[0, 0, 1]]]);
    }

    /// Runs `work` on ranks that have arrays of these lengths, and returns the arrays of each.
    fn on_ranks<T: Send>(
        size: usize,
        lengths: &[usize],
        work: impl Fn(Vec<&mut [f32]>, &Threads) -> T + Sync,
    ) -> Vec<(Vec<Vec<f32>>, T)> {
        Threads::run(size, Duration::from_secs(60), |collective| {
            let array = |&length: &usize| (0..length).map(|at| number(at, collective.rank())).collect();
            let mut arrays: Vec<Vec<f32>> = lengths.iter().map(array).collect();
            let told = work(arrays.iter_mut().map(|array| &mut array[..]).collect(), collective);
            (arrays, told)
        })
    }

    fn number(at: usize, rank: usize) -> f32 {
        (at * 10 + rank) as f32
    }

    #[test]
    fn arrays_are_added_by_shares_or_whole() {
        let lengths = [5, 1, 0, 4, 900];
        for size in [1, 2, 3] {
            let sum = |at: usize| (0..size).map(|rank| number(at, rank)).sum::<f32>();
            for bucket in [1, 6, 100] {
                for is_gathered in [false, true] {
                    let reduce =
                        |arrays: Vec<&mut [f32]>, all: &Threads| Exchange::new(all).reduce(arrays, is_gathered, bucket);
                    let mut squares = 0.0;
                    for (rank, (arrays, square)) in on_ranks(size, &lengths, reduce).into_iter().enumerate() {
                        for array in arrays {
                            let own = Shard { rank, size }.range(array.len());
                            let expected =
                                |at: usize| if is_gathered || own.contains(&at) { sum(at) } else { number(at, rank) };
                            assert_eq!(array, (0..array.len()).map(expected).collect::<Vec<_>>());
                        }
                        squares += square.unwrap();
                    }
                    let expected: f64 = lengths.iter().flat_map(|it| 0..*it).map(|at| f64::from(sum(at)).powi(2)).sum();
                    assert_eq!(squares, expected, "{size} ranks, buckets of {bucket}");
                }
            }
        }
    }

    #[test]
    fn sums_add_the_ranks_in_their_order() {
        // In this order 1 is lost beside 1e8, and -1e8 leaves 0; in another order the sum is 1.
        let numbers = [1e8_f32, 1.0, -1e8];
        let found = on_ranks(3, &[4], |mut arrays, all| {
            arrays[0].fill(numbers[all.rank()]);
            Exchange::new(all).reduce(arrays, true, BUCKET).unwrap()
        });
        found.into_iter().for_each(|(arrays, _)| assert_eq!(arrays, [[0.0; 4]]));
    }

    #[test]
    fn shares_of_all_ranks_are_gathered() {
        for size in [1, 2, 4] {
            let found = on_ranks(size, &[7, 2], |arrays, all| {
                let gather = |bucket: &mut Bucket| Exchange::new(all).gather(bucket);
                buckets(arrays, size, 4).iter_mut().try_for_each(gather).unwrap();
            });
            let of_owner = |length: usize| -> Vec<f32> {
                (0..size).flat_map(|rank| Shard { rank, size }.range(length).map(move |at| number(at, rank))).collect()
            };
            assert_eq!(found, vec![(vec![of_owner(7), of_owner(2)], ()); size]);
        }
    }

    #[test]
    fn one_rank_keeps_its_arrays() {
        let mut array = vec![3.0, -4.0];
        assert_eq!(Exchange::new(&Alone).reduce(vec![&mut array], true, BUCKET).unwrap(), 25.0);
        assert_eq!(array, [3.0, -4.0]);
    }
}
