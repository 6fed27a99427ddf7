//! The random order in which answers are shown. It avoids a position bias towards a policy and is recorded.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Display order of an item's answers: `order[shown]` is the index of the answer shown at that position. It is
/// determined by the store's seed, the item and the annotator, so that a returning annotator sees the same order, and
/// two annotators may see different orders.
pub(crate) fn order(seed: u64, item_key: &[u8], annotator: &str, answers: usize) -> Vec<usize> {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(item_key);
    hash.update(annotator);
    let mut random = ChaCha8Rng::from_seed(hash.finalize().into());
    let mut order: Vec<usize> = (0..answers).collect();
    order.shuffle(&mut random);
    order
}

/// The inverse permutation of an order.
pub(crate) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (shown, place) in order.iter().enumerate() {
        inverse[*place] = shown;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_answer_stands_first_as_often_and_always_in_the_same_place() {
        let first = |item: u64| order(1, &item.to_le_bytes(), "ada", 2)[0];
        let count: usize = (0..2000).map(first).sum();
        // 4 standard deviations of a fair coin thrown 2000 times: 89.
        assert!(count.abs_diff(1000) < 89, "{count}");
        assert_eq!(order(1, b"item", "ada", 9), order(1, b"item", "ada", 9));
        assert_ne!(order(1, b"item", "ada", 9), order(2, b"item", "ada", 9));
        assert_ne!(order(1, b"item", "ada", 9), order(1, b"item", "ben", 9));
    }
}
