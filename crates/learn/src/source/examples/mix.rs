//! Several sets of examples, mixed by weight.

use std::sync::Arc;

use palestra_datasets::shards::furthest_behind;
use serde::{Deserialize, Serialize};

use super::order::{ExampleOrder, ExamplePlace};
use crate::batch::TextRow;

/// Training rows of one of several data sets.
#[derive(Debug, Clone)]
pub struct ExampleSet {
    /// The rows.
    pub rows: Arc<[TextRow]>,
    /// Share of the rows drawn, relative to the weights of the other sets.
    pub weight: f64,
}

/// Endless stream of rows of several sets, each in an order of its own. The next row is of the set that is furthest
/// behind its share, so that the order depends on the seed and the places alone.
#[derive(Debug, Clone)]
pub struct ExampleMix {
    orders: Vec<ExampleOrder>,
    weights: Vec<f64>,
    drawn: Vec<u64>,
}

/// Position of the next row in one of the sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixPlace {
    /// Position in the set.
    #[serde(flatten)]
    pub place: ExamplePlace,
    /// Rows drawn in all epochs.
    pub drawn: u64,
}

impl ExampleMix {
    /// Creates a stream of rows from these sets, at least one; the seed fixes their order.
    pub fn new(sets: &[ExampleSet], packed_to: Option<usize>, seed: u64) -> Self {
        let order = |(at, set): (usize, &ExampleSet)| {
            ExampleOrder::new(Arc::clone(&set.rows), packed_to, seed.wrapping_add((at as u64) << 32))
        };
        Self {
            orders: sets.iter().enumerate().map(order).collect(),
            weights: sets.iter().map(|set| set.weight).collect(),
            drawn: vec![0; sets.len()],
        }
    }

    /// The next row.
    pub fn draw(&mut self) -> TextRow {
        let at = furthest_behind(&self.weights, &self.drawn);
        self.drawn[at] += 1;
        self.orders[at].draw()
    }

    /// Number of rows of an epoch of each set, in all.
    pub fn rows_per_epoch(&self) -> u64 {
        self.orders.iter().map(ExampleOrder::rows_per_epoch).sum()
    }

    /// Completed passes over the set that has the fewest.
    pub fn epoch(&self) -> u64 {
        self.orders.iter().map(|order| order.place().epoch).min().unwrap_or(0)
    }

    /// Position of the next row in each set.
    pub fn places(&self) -> Vec<MixPlace> {
        let place = |(order, &drawn): (&ExampleOrder, &u64)| MixPlace { place: order.place(), drawn };
        self.orders.iter().zip(&self.drawn).map(place).collect()
    }

    /// Moves to positions; returns false if they do not exist.
    pub fn go_to(&mut self, places: Vec<MixPlace>) -> bool {
        if places.len() != self.orders.len() {
            return false;
        }
        self.drawn = places.iter().map(|place| place.drawn).collect();
        self.orders.iter_mut().zip(places).all(|(order, place)| order.go_to(place.place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(seed: u64) -> ExampleMix {
        let set = |first: u32, count: u32, weight: f64| ExampleSet {
            rows: (first..first + count).map(|token| TextRow::whole(vec![token; 2], 1)).collect(),
            weight,
        };
        ExampleMix::new(&[set(0, 4, 1.0), set(100, 30, 3.0)], None, seed)
    }

    #[test]
    fn each_set_has_its_share_and_goes_through_its_own_epochs() {
        let mut drawn = mix(1);
        let tokens: Vec<u32> = (0..40).map(|_| drawn.draw().tokens[0]).collect();
        let small: Vec<u32> = tokens.iter().copied().filter(|token| *token < 100).collect();
        assert_eq!(small.len(), 10);
        let mut first = small[..4].to_vec();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
        let large: std::collections::BTreeSet<u32> = tokens.into_iter().filter(|token| *token >= 100).collect();
        assert_eq!(large.len(), 30);
        assert_eq!((drawn.epoch(), drawn.rows_per_epoch()), (0, 34));
    }

    #[test]
    fn a_resumed_mix_goes_on_with_the_same_rows() {
        let mut whole = mix(2);
        (0..13).for_each(|_| drop(whole.draw()));
        let places = serde_json::to_value(whole.places()).unwrap();
        let mut resumed = mix(2);
        assert!(resumed.go_to(serde_json::from_value(places).unwrap()));
        for _ in 0..40 {
            assert_eq!(resumed.draw(), whole.draw());
        }
        assert!(!mix(2).go_to(Vec::new()));
        assert_ne!(mix(3).draw(), mix(4).draw());
    }
}
