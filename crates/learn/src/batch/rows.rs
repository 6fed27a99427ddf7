//! Rows of tokens that the model reads, and the place of each sequence in them.

use std::collections::HashMap;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use palestra_model::Placement;
use palestra_model::ops::AttentionMask;

use crate::source::pack;

/// Rows of tokens, padded on the right, where a causal model cannot see.
#[derive(Debug, Clone)]
pub struct Rows {
    /// `[rows, time]`
    pub tokens: Tensor<2, Int>,
    /// Attention mask, and the position of each token in its sequence, `[rows, time]`, if rows hold several sequences;
    /// `None`: every row is one.
    texts: Option<(AttentionMask, Tensor<2, Int>)>,
}

/// Rows of sequences, and where each stands.
///
/// A beginning that neighbours have in common stands once, in front of the rest of each, and rows are filled, if that
/// leaves enough of the work out; else each sequence has a row. A token attends to its own sequence alone, so that both ways
/// compute the same.
pub(super) struct Layout {
    pub rows: Rows,
    places: Vec<Place>,
}

/// Place of a sequence: offsets in `rows * time`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    /// Offset of its first token, and the number of tokens from there on.
    begin: usize,
    shared: usize,
    /// Offset of the token behind them.
    rest: usize,
}

/// Neighbouring sequences with a common beginning.
struct Siblings {
    first: usize,
    count: usize,
    shared: usize,
    /// Number of tokens of the beginning and of each rest.
    length: usize,
}

/// Keys to which a token attends at the cost of its matrix products, in a small model: 5 times the width, since a block
/// multiplies a token with 12 numbers a square of the width, and with 2 numbers a key and the width; 400 wide.
const PRODUCTS: usize = 2048;

/// Part of the cost that is left out by rows of several sequences, at least, as one in so many; and the cells, tokens and
/// padding, of a batch that is worth a mask.
const WORTH_ONE_IN: usize = 8;
const WORTH: usize = 1024;

/// Cells of a mask, at most.
const MASK: usize = 1 << 24;

/// Tokens of a beginning that is shared, at least.
const LONG: usize = 32;

/// An order of sequences in which those with the same long prompt stand where the first of them stood.
pub fn side_by_side<'a>(mut order: Vec<usize>, prompt: impl Fn(usize) -> &'a [u32]) -> Vec<usize> {
    let mut firsts: HashMap<&[u32], usize> = HashMap::new();
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        let prompt = prompt(at);
        places[at] = if prompt.len() < LONG { place } else { *firsts.entry(prompt).or_insert(place) };
    }
    order.sort_by_key(|&at| places[at]); // stable
    order
}

impl Rows {
    /// One row for each sequence.
    pub(super) fn plain<'a>(sequences: impl Iterator<Item = &'a [u32]> + Clone, device: &Device) -> Self {
        let count = sequences.clone().count();
        let time = sequences.clone().map(<[u32]>::len).max().unwrap_or(0);
        let mut tokens = vec![0i64; count * time];
        for (cells, row) in tokens.chunks_exact_mut(time.max(1)).zip(sequences) {
            cells.iter_mut().zip(row).for_each(|(cell, &token)| *cell = i64::from(token));
        }
        Self { tokens: Tensor::from_data(TensorData::new(tokens, [count, time]), device), texts: None }
    }

    /// Rows of several texts, each row with the offsets at which its texts begin.
    pub(super) fn packed<'a>(rows: impl Iterator<Item = (&'a [u32], &'a [usize])> + Clone, device: &Device) -> Self {
        let plain = Self::plain(rows.clone().map(|(tokens, _)| tokens), device);
        if rows.clone().all(|(_, borders)| borders.is_empty()) {
            return plain;
        }
        let [count, time] = plain.tokens.dims();
        let mut view = View::new(count, time);
        for (row, (_, borders)) in rows.enumerate() {
            let (begins, ends) = (borders.iter().copied(), borders.iter().copied().chain([time]));
            let texts = [0].into_iter().chain(begins).zip(ends);
            texts.for_each(|(begin, end)| view.add(row, begin..end, begin..begin));
        }
        Self { texts: Some(view.tensors(device)), ..plain }
    }

    /// Number of rows, and of tokens in each.
    pub fn dims(&self) -> [usize; 2] {
        self.tokens.dims()
    }

    /// Positions and attention mask of the rows.
    pub fn placement(&self) -> Placement {
        match &self.texts {
            None => Placement::causal(),
            Some((mask, positions)) => {
                Placement { mask: mask.clone(), positions: Some(positions.clone()), is_far: None }
            }
        }
    }

    /// The same rows outside autodiff.
    #[must_use]
    pub fn inner(&self) -> Self {
        let texts = self.texts.as_ref().map(|(mask, positions)| (mask.clone(), positions.clone().inner()));
        Self { tokens: self.tokens.clone().inner(), texts }
    }
}

impl Layout {
    /// Places sequences, in the way that costs less.
    pub fn new(sequences: &[&[u32]], device: &Device) -> Self {
        let longest = sequences.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
        let siblings = siblings(sequences);
        let lengths: Vec<usize> = siblings.iter().map(|group| group.length).collect();
        let rows = pack(&lengths, 0..siblings.len(), lengths.iter().copied().max().unwrap_or(0));
        let of_row = |row: &Vec<usize>| row.iter().map(|&group| lengths[group]).sum::<usize>();
        let time = rows.iter().map(of_row).max().unwrap_or(0);
        let (apart, together) = (sequences.len() * alone(longest), rows.len() * masked(time));
        let is_worth = sequences.len() * longest >= WORTH && together <= apart - apart / WORTH_ONE_IN;
        match is_worth && rows.len() * time * time <= MASK {
            true => Self::together(sequences, &siblings, &rows, time, device),
            false => Self::plain(sequences, device),
        }
    }

    /// A row for each sequence.
    fn plain(sequences: &[&[u32]], device: &Device) -> Self {
        let rows = Rows::plain(sequences.iter().copied(), device);
        let [_, time] = rows.dims();
        let place = |(row, tokens): (usize, &&[u32])| Place { begin: row * time, shared: tokens.len(), rest: 0 };
        Self { places: sequences.iter().enumerate().map(place).collect(), rows }
    }

    /// Families, by their numbers in each row.
    fn together(
        sequences: &[&[u32]],
        siblings: &[Siblings],
        rows: &[Vec<usize>],
        time: usize,
        device: &Device,
    ) -> Self {
        let mut tokens = vec![0i64; rows.len() * time];
        let mut view = View::new(rows.len(), time);
        let mut places = vec![Place { begin: 0, shared: 0, rest: 0 }; sequences.len()];
        for (row, groups) in rows.iter().enumerate() {
            let mut at = 0;
            let mut write = |part: &[u32]| {
                let begin = at;
                for &token in part {
                    tokens[row * time + at] = i64::from(token);
                    at += 1;
                }
                begin..at
            };
            for group in groups.iter().map(|&group| &siblings[group]) {
                let shared = write(&sequences[group.first][..group.shared]);
                view.add(row, shared.clone(), shared.start..shared.start);
                for number in group.first..group.first + group.count {
                    let rest = write(&sequences[number][group.shared..]);
                    let (begin, at_rest) = (row * time + shared.start, row * time + rest.start);
                    places[number] = Place { begin, shared: group.shared, rest: at_rest };
                    view.add(row, rest, shared.clone());
                }
            }
        }
        let tokens = Tensor::from_data(TensorData::new(tokens, [rows.len(), time]), device);
        Self { rows: Rows { tokens, texts: Some(view.tensors(device)) }, places }
    }

    /// Offset in `rows * time` of a token of a sequence.
    pub fn at(&self, sequence: usize, position: usize) -> i64 {
        let Place { begin, shared, rest } = self.places[sequence];
        (if position < shared { begin + position } else { rest + position - shared }) as i64
    }
}

/// Cost of a row that is one sequence, whose tokens see those before them, in products of a token with a key.
fn alone(length: usize) -> usize {
    length * (PRODUCTS + length / 2)
}

/// Cost of a row with a mask, which is applied to all pairs of tokens.
fn masked(length: usize) -> usize {
    length * (PRODUCTS + length)
}

/// Divides sequences, in their order, into siblings; a neighbour joins them if that costs less.
fn siblings(sequences: &[&[u32]]) -> Vec<Siblings> {
    let mut groups: Vec<Siblings> = Vec::new();
    for (number, tokens) in sequences.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let common = tokens.iter().zip(sequences[group.first]).take_while(|(one, other)| one == other).count();
            let shared = common.min(group.shared);
            // What is shared no longer is part of each rest.
            let more = (group.shared - shared) * (group.count - 1) + tokens.len() - shared;
            if shared >= LONG && masked(group.length + more) < masked(group.length) + alone(tokens.len()) {
                *group = Siblings { count: group.count + 1, shared, length: group.length + more, ..*group };
                continue;
            }
        }
        groups.push(Siblings { first: number, count: 1, shared: tokens.len(), length: tokens.len() });
    }
    groups
}

/// The tokens that each token attends to, and its position in its sequence.
struct View {
    time: usize,
    visible: Vec<bool>,
    positions: Vec<i64>,
}

impl View {
    fn new(rows: usize, time: usize) -> Self {
        Self { time, visible: vec![false; rows * time * time], positions: vec![0; rows * time] }
    }

    /// Adds tokens that see those before them among these tokens, and all of `before`.
    fn add(&mut self, row: usize, tokens: std::ops::Range<usize>, before: std::ops::Range<usize>) {
        for at in tokens.clone() {
            let cell = row * self.time + at;
            self.positions[cell] = (before.len() + at - tokens.start) as i64;
            let visible = &mut self.visible[cell * self.time..][..self.time];
            visible[before.clone()].fill(true);
            visible[tokens.start..=at].fill(true);
        }
    }

    fn tensors(self, device: &Device) -> (AttentionMask, Tensor<2, Int>) {
        let Self { time, visible, positions } = self;
        let rows = positions.len() / time.max(1);
        let visible: Tensor<4, Bool> = Tensor::from_data(TensorData::new(visible, [rows, 1, time, time]), device);
        let positions = Tensor::from_data(TensorData::new(positions, [rows, time]), device);
        (AttentionMask::from_visible(visible), positions)
    }
}

#[cfg(test)]
mod tests;
