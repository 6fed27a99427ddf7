//! Rows that hold the same beginning: the numbers of one are read for all of them.

use super::{Reading, SharedPrefix};
use crate::decoding::Place;
use crate::ops::loops::Readers;

/// Maximum number of tokens whose queries are multiplied with the same numbers at once.
const MOST: usize = 32;

/// Beginnings that rows of a cache have from others.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SharedRows(Vec<Origin>);

/// The first `count` cells of a row have the numbers of those of the row `from`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Origin {
    from: usize,
    count: usize,
}

impl SharedRows {
    /// Adds rows up to so many.
    pub fn reserve(&mut self, rows: usize) {
        let old = self.0.len();
        self.0.extend((old..rows).map(|from| Origin { from, count: 0 }));
    }

    /// Beginnings have been copied.
    pub fn share(&mut self, prefixes: &[SharedPrefix]) {
        prefixes.iter().for_each(|prefix| self.write(prefix.to, 0));
        for &SharedPrefix { from, to, count } in prefixes {
            let origin = self.0[from];
            self.0[to] = Origin { from: if origin.count >= count { origin.from } else { from }, count };
        }
    }

    /// Rows get the numbers of new tokens.
    pub fn read(&mut self, readings: &[Reading]) {
        readings.iter().for_each(|reading| self.write(reading.row, reading.start));
    }

    /// A row gets other numbers from this position on.
    fn write(&mut self, row: usize, position: usize) {
        for (to, origin) in self.0.iter_mut().enumerate() {
            if to == row || origin.from == row {
                origin.count = origin.count.min(position);
            }
        }
    }

    /// Groups the tokens of a pass by the numbers that they see first, for attention of so many heads of keys on so many threads.
    /// Tokens of one row stand beside each other.
    pub fn readers(&self, places: &[Place], kv_heads: usize, threads: usize) -> Vec<Readers> {
        // Parts for all threads, where the heads alone cannot be divided evenly.
        let most = if kv_heads.is_multiple_of(threads) { MOST } else { places.len().div_ceil(threads).min(MOST) };
        let row_of = |index: Option<usize>| index.and_then(|index| places.get(index)).map(|place| place.row);
        let mut tokens: Vec<(usize, usize, usize)> = Vec::with_capacity(places.len());
        for (index, &Place { row, position }) in places.iter().enumerate() {
            let is_alone =
                [index.checked_sub(1), Some(index + 1)].into_iter().all(|beside| row_of(beside) != Some(row));
            let Origin { from, count } = self.0[row];
            let is_shared = is_alone && count > 0;
            let (from, seen) = if is_shared { (from, count.min(position + 1)) } else { (row, position + 1) };
            tokens.push((from, seen, index));
        }
        tokens.sort_unstable_by_key(|&(from, seen, index)| (from, std::cmp::Reverse(seen), index));
        let mut groups: Vec<Readers> = Vec::new();
        let mut longest = 0;
        for (row, shared, index) in tokens {
            match groups.last_mut() {
                // One that shares little would keep the others from sharing more.
                Some(group) if group.row == row && group.tokens.len() < most && 2 * shared >= longest => {
                    group.tokens.push(index);
                    group.shared = shared;
                }
                _ => {
                    longest = shared;
                    groups.push(Readers { tokens: vec![index], row, shared });
                }
            }
        }
        groups.iter_mut().filter(|group| group.tokens.len() == 1).for_each(|group| group.shared = 0);
        // Those of a row come longest first: each thread gets as many long ones.
        let mut dealt: Vec<_> = groups.into_iter().enumerate().collect();
        dealt.sort_by_key(|(number, _)| number % threads);
        dealt.into_iter().map(|(_, group)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> SharedRows {
        let mut rows = SharedRows::default();
        rows.reserve(count);
        rows
    }

    fn prefix(from: usize, to: usize, count: usize) -> SharedPrefix {
        SharedPrefix { from, to, count }
    }

    fn readers(rows: &SharedRows, places: &[[usize; 2]], threads: usize) -> Vec<(usize, usize, Vec<usize>)> {
        let places: Vec<Place> = places.iter().map(|&[row, position]| Place { row, position }).collect();
        rows.readers(&places, 3, threads).into_iter().map(|it| (it.row, it.shared, it.tokens)).collect()
    }

    #[test]
    fn rows_with_the_beginning_of_one_are_read_together() {
        let mut rows = rows(5);
        rows.share(&[prefix(1, 0, 64), prefix(1, 2, 64)]);
        rows.share(&[prefix(2, 3, 50)]); // which has it from row 1
        let places = [[0, 64], [1, 70], [2, 80], [3, 50], [4, 90]];
        assert_eq!(readers(&rows, &places, 1), [(1, 50, vec![1, 0, 2, 3]), (4, 0, vec![4])]);
        assert_eq!(readers(&rows, &places, 2), [(1, 64, vec![1, 0, 2]), (4, 0, vec![4]), (1, 0, vec![3])]);
    }

    #[test]
    fn tokens_of_one_row_are_read_together() {
        let mut rows = rows(3);
        rows.share(&[prefix(0, 1, 40)]);
        let places = [[0, 60], [1, 40], [1, 41], [1, 42], [2, 7]];
        assert_eq!(readers(&rows, &places, 1), [(0, 0, vec![0]), (1, 41, vec![3, 2, 1]), (2, 0, vec![4])]);
    }

    #[test]
    fn a_row_that_shares_little_does_not_keep_others_from_sharing_more() {
        let mut rows = rows(4);
        rows.share(&[prefix(0, 1, 100), prefix(0, 2, 90), prefix(0, 3, 20)]);
        let places = [[0, 120], [1, 100], [2, 100], [3, 30]];
        assert_eq!(readers(&rows, &places, 1), [(0, 90, vec![0, 1, 2]), (0, 0, vec![3])]);
    }

    #[test]
    fn what_is_written_over_is_shared_no_longer() {
        let mut rows = rows(4);
        rows.share(&[prefix(0, 1, 64), prefix(0, 2, 64)]);
        let reading = |row, start| Reading { row, start, count: 1, is_kept: true };
        rows.read(&[reading(0, 64), reading(1, 64), reading(2, 48)]);
        let places = [[0, 65], [1, 65], [2, 65]];
        assert_eq!(readers(&rows, &places, 1), [(0, 48, vec![0, 1, 2])]);
        rows.read(&[reading(0, 10)]);
        assert_eq!(readers(&rows, &places, 1)[0], (0, 0, vec![0]));
        rows.share(&[prefix(3, 0, 30)]);
        assert!(readers(&rows, &places, 1).iter().all(|group| group.1 == 0));
    }
}
