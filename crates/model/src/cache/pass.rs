use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;

use burn::tensor::{Device, Int, Tensor};

use super::{CacheShape, KvCache, indices};
use crate::ops::AttentionMask;

/// Tokens that a row of the cache reads in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Row of the cache.
    pub row: usize,
    /// Position of the first, which is the number of tokens that the row holds.
    pub start: usize,
    /// Number of tokens, at least 1.
    pub count: usize,
    /// False if nothing is read after them, and they begin the text. If no reading of a pass is kept, the cache stays as it
    /// is, and needs no room for them.
    pub is_kept: bool,
}

/// Tokens of one forward pass over a cache: those of each reading, one reading after the other.
///
/// The layers compute all tokens at once, each as a row of its own. Attention is computed in groups of rows that read
/// about as many tokens: rows that read one, rows that begin, and rows that go on.
pub struct Pass {
    readings: Vec<Reading>,
    tokens: usize,
    tensors: OnceLock<PassTensors>,
}

/// A pass as its layers need it that compute with tensors.
pub(super) struct PassTensors {
    /// Position of each token, `[tokens, 1]`.
    pub positions: Tensor<2, Int>,
    /// Cells of the cache that get the keys of each token and head; `None` if none does.
    pub cells: Option<Tensor<1, Int>>,
    pub groups: Vec<Group>,
}

/// Rows of a pass that attend together. Their tokens are a range of the pass's.
pub(super) struct Group {
    tokens: Range<usize>,
    rows: Rows,
    /// Rows and the number of queries in each; rows that read fewer are padded on the right.
    size: [usize; 2],
    /// Number of keys of each row.
    key_len: usize,
    /// For rows that are not all full: the token of each query, and the query of each token.
    ragged: Option<[Tensor<1, Int>; 2]>,
    /// Mask of each window.
    masks: BTreeMap<usize, AttentionMask>,
}

/// Rows of the cache that a group attends to.
#[expect(clippy::large_enum_variant, reason = "a pass has three")]
enum Rows {
    /// None: the rows begin, and see the tokens of the pass alone.
    New,
    /// Neighbours, which are not copied.
    Span(Range<usize>),
    /// Any rows.
    Listed(Tensor<1, Int>),
}

/// Kinds of readings that attend together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Single,
    Beginning,
    Further,
}

impl Reading {
    fn kind(&self) -> Kind {
        match (self.count, self.start) {
            (1, _) if self.is_kept => Kind::Single,
            (_, 0) => Kind::Beginning,
            _ => Kind::Further,
        }
    }
}

impl Pass {
    /// A pass of these readings, at least one, each of another row. It sorts them.
    pub fn new(mut readings: Vec<Reading>) -> Self {
        readings.sort_by_key(|reading| (reading.kind(), reading.row));
        let tokens = readings.iter().map(|reading| reading.count).sum();
        Self { readings, tokens, tensors: OnceLock::new() }
    }

    /// The readings in the order of their tokens.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Row and position of each token.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.readings.iter().flat_map(|r| (r.start..r.start + r.count).map(|position| (r.row, position)))
    }

    /// True if the cache gets the tokens.
    pub(crate) fn is_kept(&self) -> bool {
        self.readings.iter().any(|reading| reading.is_kept)
    }

    /// The pass over a cache; the first one that asks makes it for all caches of this shape.
    pub(super) fn tensors(&self, cache: &KvCache) -> &PassTensors {
        self.tensors.get_or_init(|| {
            let (shape, device) = (cache.shape, cache.layers[0].keys.device());
            let cells =
                || self.places().flat_map(|(row, at)| (0..shape.kv_heads).map(move |head| shape.cell(row, head, at)));
            let cells = self.is_kept().then(|| indices(cells(), &device));
            let windows: BTreeSet<usize> = cache.layers.iter().map(|layer| layer.window).collect();
            let mut from = 0;
            let groups = self.readings.chunk_by(|a, b| a.kind() == b.kind()).map(|readings| {
                let group = Group::new(readings, from, &windows, shape, &device);
                from = group.tokens.end;
                group
            });
            let groups = groups.collect();
            let positions = self.places().map(|(_, position)| position);
            PassTensors { cells, groups, positions: indices(positions, &device).reshape([self.tokens, 1]) }
        })
    }
}

impl Group {
    /// A group of readings of one kind, sorted by row, whose tokens begin at `from`.
    fn new(readings: &[Reading], from: usize, windows: &BTreeSet<usize>, shape: CacheShape, device: &Device) -> Self {
        let first = readings[0].row;
        let span = first..readings[readings.len() - 1].row + 1;
        let time = readings.iter().map(|reading| reading.count).max().unwrap_or(0);
        let kind = readings[0].kind();
        // Rows between others that read one token are computed for nothing, unless they are too many: it is cheaper than
        // to copy the others out of the cache.
        let keeps_span = match kind {
            Kind::Beginning => false,
            Kind::Single => 2 * readings.len() >= span.len(),
            Kind::Further => readings.len() == span.len(),
        };
        let rows = match kind {
            Kind::Beginning => Rows::New,
            _ if keeps_span => Rows::Span(span.clone()),
            _ => Rows::Listed(indices(readings.iter().map(|reading| reading.row), device)),
        };
        let count = if keeps_span { span.len() } else { readings.len() };
        let mut token_of = vec![from; count * time];
        let mut query_of = Vec::new();
        let mut starts = vec![0; count];
        for (number, reading) in readings.iter().enumerate() {
            let row = if keeps_span { reading.row - first } else { number };
            starts[row] = reading.start;
            for i in 0..reading.count {
                token_of[row * time + i] = from + query_of.len();
                query_of.push(row * time + i);
            }
        }
        let tokens = from..from + query_of.len();
        let is_full = query_of.len() == token_of.len();
        let ragged = (!is_full).then(|| [token_of, query_of].map(|of| indices(of.into_iter(), device)));
        let key_len = readings.iter().map(|reading| reading.start + reading.count).max().unwrap_or(0);
        let fits = key_len <= shape.capacity || matches!(rows, Rows::New);
        debug_assert!(fits, "{key_len} tokens in a cache of {}", shape.capacity);
        let mask = |&window: &usize| (window, AttentionMask::in_cache(&starts, time, key_len, window, device));
        Self { tokens, rows, size: [count, time], key_len, ragged, masks: windows.iter().map(mask).collect() }
    }

    /// True if the group sees more than the tokens of the pass.
    pub fn reads_cache(&self) -> bool {
        !matches!(self.rows, Rows::New)
    }

    /// The group's part of `[tokens, heads, 1, head_dim]` as `[rows, heads, time, head_dim]`.
    pub fn as_rows(&self, tokens: &Tensor<4>) -> Tensor<4> {
        let [all, heads, _, head_dim] = tokens.dims();
        let [rows, time] = self.size;
        let part = match &self.ragged {
            Some([token_of, _]) => tokens.clone().select(0, token_of.clone()),
            None if self.tokens.len() == all => tokens.clone(),
            None => tokens.clone().narrow(0, self.tokens.start, self.tokens.len()),
        };
        part.reshape([rows, time, heads, head_dim]).swap_dims(1, 2)
    }

    /// `[rows, heads, time, head_dim]` as the group's part of `[tokens, heads, 1, head_dim]`.
    pub fn as_tokens(&self, rows: Tensor<4>) -> Tensor<4> {
        let [count, heads, time, head_dim] = rows.dims();
        let queries = rows.swap_dims(1, 2).reshape([count * time, heads, 1, head_dim]);
        match &self.ragged {
            Some([_, query_of]) => queries.select(0, query_of.clone()),
            None => queries,
        }
    }

    /// The group's rows of a cache of `[rows, kv_heads, capacity, head_dim]`, up to the longest.
    pub fn rows_of(&self, cache: Tensor<4>) -> Tensor<4> {
        let [all, ..] = cache.dims();
        let held = cache.narrow(2, 0, self.key_len);
        match &self.rows {
            Rows::Listed(rows) => held.select(0, rows.clone()),
            Rows::Span(span) if span.len() < all => held.narrow(0, span.start, span.len()),
            Rows::Span(_) | Rows::New => held,
        }
    }

    /// The group's mask for layers of this window.
    pub fn mask(&self, window: usize) -> &AttentionMask {
        &self.masks[&window]
    }
}
