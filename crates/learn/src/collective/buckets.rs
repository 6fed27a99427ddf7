//! Named arrays that are added over the ranks, or gathered from them, many at a time: messages are few, and the memory beside
//! the arrays is bounded.

use std::collections::BTreeMap;

use super::Collective;
use crate::Result;
use palestra_model::optim::Shard;

/// Number of values in a bucket: 16 MiB.
pub const BUCKET: usize = 1 << 22;

/// Some of the arrays of a model by name, with their lengths. Each rank has a share of every array.
pub struct Bucket<'a>(Vec<(&'a str, usize)>);

/// Divides arrays, by name and length, into buckets.
pub fn buckets(lengths: &BTreeMap<String, usize>) -> Vec<Bucket<'_>> {
    buckets_of(lengths, BUCKET)
}

/// Buckets of at most `size` values, or of one array.
fn buckets_of(lengths: &BTreeMap<String, usize>, size: usize) -> Vec<Bucket<'_>> {
    let (mut buckets, mut filled) = (Vec::new(), usize::MAX);
    for (name, &length) in lengths {
        if filled.saturating_add(length) > size {
            buckets.push(Bucket(Vec::new()));
            filled = 0;
        }
        filled += length;
        buckets.last_mut().expect("the first array begins a bucket").0.push((name, length));
    }
    buckets
}

impl<'a> Bucket<'a> {
    /// Names of the arrays.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// Sums of the arrays over the ranks: this rank's share of each, one after the other. `take` gives this rank's arrays;
    /// one that it does not have is zeros.
    ///
    /// # Errors
    /// A rank that takes no part, or has arrays of other lengths.
    pub fn reduce_scatter(
        &self,
        take: &mut dyn FnMut(&str) -> Option<Vec<f32>>,
        collective: &dyn Collective,
    ) -> Result<Vec<f32>> {
        let size = collective.size();
        let mut parts: Vec<Vec<f32>> = (0..size).map(|rank| Vec::with_capacity(self.share(rank, size))).collect();
        for &(name, length) in &self.0 {
            let array = take(name);
            for (rank, part) in parts.iter_mut().enumerate() {
                let share = Shard { rank, size }.range(length);
                match &array {
                    Some(array) => part.extend(&array[share]),
                    None => part.resize(part.len() + share.len(), 0.0),
                }
            }
        }
        collective.reduce_scatter(&parts)
    }

    /// The whole arrays, one after the other, from the shares of all ranks; `own` are this rank's.
    ///
    /// # Errors
    /// As [`Bucket::reduce_scatter`].
    pub fn all_gather(&self, own: &[f32], collective: &dyn Collective) -> Result<Vec<f32>> {
        let size = collective.size();
        let lengths: Vec<usize> = (0..size).map(|rank| self.share(rank, size)).collect();
        let shares = collective.concatenate(own, &lengths)?;
        let mut left = &shares[..];
        let mut of_ranks: Vec<&[f32]> =
            lengths.iter().map(|&length| left.split_off(..length).unwrap_or_default()).collect();
        let mut whole = Vec::with_capacity(shares.len());
        for &(_, length) in &self.0 {
            for (rank, own) in of_ranks.iter_mut().enumerate() {
                whole.extend(own.split_off(..Shard { rank, size }.range(length).len()).unwrap_or_default());
            }
        }
        Ok(whole)
    }

    /// Splits values into those of each array: of the whole ones, or of the shares of a rank.
    pub fn split(&self, values: &[f32], shard: Shard) -> Vec<(&'a str, Vec<f32>)> {
        let mut left = values;
        let own = |&(name, length): &(&'a str, usize)| {
            (name, left.split_off(..shard.range(length).len()).unwrap_or_default().to_vec())
        };
        self.0.iter().map(own).collect()
    }

    /// Number of values in the shares of a rank.
    fn share(&self, rank: usize, size: usize) -> usize {
        self.0.iter().map(|(_, length)| Shard { rank, size }.range(*length).len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collective::Threads;

    fn lengths() -> BTreeMap<String, usize> {
        [("a", 5), ("b", 1), ("c", 4), ("d", 0), ("e", 9)].map(|(name, length)| (name.to_string(), length)).into()
    }

    #[test]
    fn a_bucket_is_full_or_has_one_array() {
        let lengths = lengths();
        let names = |size| buckets_of(&lengths, size).iter().map(|it| it.names().collect()).collect::<Vec<String>>();
        assert_eq!(names(100), ["abcde"]);
        assert_eq!(names(6), ["ab", "cd", "e"]);
        assert!(buckets_of(&BTreeMap::new(), 6).is_empty());
    }

    #[test]
    fn arrays_are_added_by_shares_and_gathered_whole() {
        let lengths = lengths();
        for size in [1, 2, 3] {
            let found = Threads::run(size, Duration::from_secs(60), |collective| {
                let rank = collective.rank();
                // The last rank has no array "c".
                let mut take = |name: &str| {
                    let has = name != "c" || rank + 1 < size || size == 1;
                    has.then(|| (0..lengths[name]).map(|at| (at * 10 + rank) as f32).collect())
                };
                let mut all = BTreeMap::new();
                for bucket in buckets_of(&lengths, 6) {
                    let own = bucket.reduce_scatter(&mut take, collective).unwrap();
                    let shares = bucket.split(&own, collective.shard());
                    let whole = bucket.all_gather(&own, collective).unwrap();
                    let arrays = bucket.split(&whole, Shard::WHOLE);
                    for ((name, array), (_, share)) in arrays.into_iter().zip(shares) {
                        assert_eq!(share, array[collective.share(array.len())], "{name}");
                        all.insert(name.to_string(), array);
                    }
                }
                all
            });
            let sum = |name: &str, at: usize| {
                let ranks = if name == "c" && size > 1 { 0..size - 1 } else { 0..size };
                ranks.map(|rank| (at * 10 + rank) as f32).sum::<f32>()
            };
            for all in &found {
                for (name, array) in all {
                    assert_eq!(*array, (0..lengths[name]).map(|at| sum(name, at)).collect::<Vec<_>>(), "{name}");
                }
            }
        }
    }
}
