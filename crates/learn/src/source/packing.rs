//! Packing of examples into rows.

use std::collections::BTreeSet;

/// Packs items into rows of at most `max_length`: the longest first, each into the row that it fills best (best-fit
/// decreasing). Items of equal length keep the order of `order`, which names each once. An item longer than `max_length` gets
/// a row of its own.
pub fn pack(lengths: &[usize], order: impl IntoIterator<Item = usize>, max_length: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = order.into_iter().collect();
    order.sort_by_key(|&at| std::cmp::Reverse(lengths[at])); // stable
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut spaces: BTreeSet<(usize, usize)> = BTreeSet::new(); // what is left of a row, and its number
    for at in order {
        let length = lengths[at];
        let best = spaces.range((length, 0)..).next().copied();
        let (space, row) = best.unwrap_or((max_length.max(length), rows.len()));
        spaces.remove(&(space, row));
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push(at);
        spaces.insert((space - length, row));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first_and_the_rest_fills_up() {
        // [1, 2, 3], [4, 5, 6, 7], [8] into rows of 4: [4, 5, 6, 7], [1, 2, 3, 8].
        assert_eq!(pack(&[3, 4, 1], 0..3, 4), [vec![1], vec![0, 2]]);
        // Best fit: 2 goes into the row with 2 left, not into the one with 3 left.
        assert_eq!(pack(&[5, 6, 2, 3], 0..4, 8), [vec![1, 2], vec![0, 3]]);
        assert_eq!(pack(&[9, 1], 0..2, 8), [vec![0], vec![1]]);
    }

    proptest::proptest! {
        #[test]
        fn properties_of_any_lengths(lengths in proptest::collection::vec(1_usize..80, 0..100), most in 1_usize..64) {
            let rows = pack(&lengths, 0..lengths.len(), most);
            for row in &rows {
                let length: usize = row.iter().map(|&at| lengths[at]).sum();
                assert!(length <= most || row.len() == 1, "{row:?}: {length}");
            }
            let mut all = rows.concat();
            all.sort_unstable();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_comes_once_and_no_row_is_too_long() {
        let lengths: Vec<usize> = (0..200).map(|at| 1 + at * 37 % 50).collect();
        let rows = pack(&lengths, (0..200).rev(), 64);
        assert!(rows.iter().all(|row| row.iter().map(|&at| lengths[at]).sum::<usize>() <= 64));
        let mut all = rows.concat();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        // At most one row more than the minimum.
        assert!(rows.len() <= lengths.iter().sum::<usize>().div_ceil(64) + 1, "{}", rows.len());
    }
}
