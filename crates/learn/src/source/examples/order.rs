//! The order of rows: shuffled in each epoch, one example per row or packed.

use std::sync::Arc;

use palestra_datasets::shards::Shuffle;
use palestra_envs::episode_seed;
use serde::{Deserialize, Serialize};

use crate::batch::TextRow;
use crate::source::packing::pack;

/// Endless stream of rows: each epoch goes through all examples in its own order and packing.
#[derive(Debug, Clone)]
pub struct ExampleOrder {
    examples: Arc<[TextRow]>,
    lengths: Vec<usize>,
    /// Max length of a packed row; `None`: one example per row.
    packed_to: Option<usize>,
    seed: u64,
    place: ExamplePlace,
    /// The examples of each row of this epoch.
    epoch_rows: Vec<Vec<usize>>,
}

/// Position of the next row in the examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamplePlace {
    /// Completed passes over all examples.
    pub epoch: u64,
    /// Rows drawn in this epoch.
    pub number: u64,
}

impl ExampleOrder {
    /// Creates a stream of rows from these examples; the seed fixes their order.
    pub fn new(examples: Arc<[TextRow]>, packed_to: Option<usize>, seed: u64) -> Self {
        let lengths = examples.iter().map(|row| row.tokens.len()).collect();
        let place = ExamplePlace::default();
        let mut order = Self { examples, lengths, packed_to, seed, place, epoch_rows: Vec::new() };
        order.begin_epoch(0);
        order
    }

    /// The next row.
    pub fn draw(&mut self) -> TextRow {
        if self.place.number >= self.epoch_rows.len() as u64 {
            self.begin_epoch(self.place.epoch + 1);
        }
        // Packing sorts by length, so rows are shuffled again.
        let shuffle = Shuffle::new(self.epoch_rows.len() as u64, !episode_seed(self.seed, self.place.epoch));
        let row = &self.epoch_rows[shuffle.at(self.place.number) as usize];
        self.place.number += 1;
        join(row.iter().map(|&at| &self.examples[at]))
    }

    /// Number of rows of this epoch; others have about as many.
    pub fn rows_per_epoch(&self) -> u64 {
        self.epoch_rows.len() as u64
    }

    /// Position of the next row.
    pub fn place(&self) -> ExamplePlace {
        self.place
    }

    /// Moves to a position; returns false if the position does not exist.
    pub fn go_to(&mut self, place: ExamplePlace) -> bool {
        self.begin_epoch(place.epoch);
        self.place = place;
        place.number <= self.epoch_rows.len() as u64
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.place = ExamplePlace { epoch, number: 0 };
        let count = self.examples.len() as u64;
        let shuffle = Shuffle::new(count, episode_seed(self.seed, epoch));
        let order = (0..count).map(|number| shuffle.at(number) as usize);
        self.epoch_rows = match self.packed_to {
            Some(max_length) => pack(&self.lengths, order, max_length),
            None => order.map(|at| vec![at]).collect(),
        };
    }
}

/// Packs examples into as few rows as possible, always in the same order.
pub fn packed(examples: &[TextRow], max_length: usize) -> Vec<TextRow> {
    let lengths: Vec<usize> = examples.iter().map(|row| row.tokens.len()).collect();
    let rows = pack(&lengths, 0..examples.len(), max_length);
    rows.iter().map(|row| join(row.iter().map(|&at| &examples[at]))).collect()
}

/// Joins examples into one row; attention does not cross their borders.
fn join<'a>(examples: impl IntoIterator<Item = &'a TextRow>) -> TextRow {
    let mut row = TextRow::default();
    for example in examples {
        let start = row.tokens.len();
        if start > 0 {
            row.borders.push(start);
        }
        row.counted.extend(example.counted.iter().map(|at| start + at));
        row.tokens.extend(&example.tokens);
        row.bytes += example.bytes;
    }
    row
}
