//! Key-value cache: the keys and values of the tokens read so far, so that each new token costs one step.
//!
//! Each row holds one text from its column 0, so that a token's column is its position. Rows have lengths of their own,
//! which the caller knows: a [`Pass`] says which rows read how many tokens from where.

mod pass;
mod shared;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::decoding::{DecodingPass, Place};
use super::layer_plan::LayerPlan;
use super::{ModelConfig, Transformer};
use crate::ops::loops::{HeadSizes, Readers, Threads, attend_to_cache};
use crate::ops::memory::OwnNumbers;
use crate::ops::{AttentionMask, put_rows};
use pass::PassTensors;
pub use pass::{Pass, Reading};
use shared::SharedRows;

/// Keys and values of every layer of a model.
pub struct KvCache {
    layers: Vec<LayerCache>,
    shape: CacheShape,
    shared: SharedRows,
    pass: Option<Arc<Pass>>,
    /// The model's pass of few tokens, if it has one.
    pub(super) decoding: Option<Box<DecodingPass>>,
}

/// One layer's keys and values, `[rows * kv_heads * capacity, head_dim]` each.
struct LayerCache {
    keys: Tensor<2>,
    values: Tensor<2>,
    /// Number of the last keys that a query sees; 0 for all.
    window: usize,
}

/// Size of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Texts that it holds.
    pub rows: usize,
    /// Tokens of each.
    pub capacity: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// The beginning of a row that another row gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPrefix {
    /// Row that holds it.
    pub from: usize,
    /// Row that gets it.
    pub to: usize,
    /// Number of its tokens.
    pub count: usize,
}

impl KvCache {
    /// An empty cache of a model, of `capacity` tokens in each of `rows` rows.
    pub fn new(model: &Transformer, rows: usize, capacity: usize) -> Self {
        let (config, device) = (model.config(), model.device());
        let shape = CacheShape { rows, capacity, kv_heads: config.kv_heads, head_dim: config.head_dim() };
        let zeros = || Tensor::zeros([rows * shape.kv_heads * capacity, shape.head_dim], &device);
        let layer = |plan: LayerPlan| LayerCache { keys: zeros(), values: zeros(), window: plan.window };
        let layers = config.layer_plans().into_iter().map(layer).collect();
        let mut shared = SharedRows::default();
        shared.reserve(rows);
        Self { layers, shape, shared, pass: None, decoding: DecodingPass::of(model).map(Box::new) }
    }

    /// Bytes of a cache of a model of this shape, in 32 bits.
    pub fn bytes(config: &ModelConfig, rows: usize, capacity: usize) -> u64 {
        let numbers = 2 * config.layers * config.kv_heads * config.head_dim() * rows * capacity;
        4 * numbers as u64
    }

    /// Size of the cache.
    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Grows to at least this many rows and tokens; what it holds stays.
    pub fn reserve(&mut self, rows: usize, capacity: usize) {
        let old = self.shape;
        let new = CacheShape { rows: rows.max(old.rows), capacity: capacity.max(old.capacity), ..old };
        if new == old {
            return;
        }
        let cells = new.rows * new.kv_heads * new.capacity;
        let grown = |tensor: Tensor<2>| {
            let device = tensor.device();
            if old.rows * old.capacity == 0 {
                return Tensor::zeros([cells, new.head_dim], &device);
            }
            let mut tensor = tensor.reshape([old.rows * old.kv_heads, old.capacity, old.head_dim]);
            for (dim, missing) in [(1, new.capacity - old.capacity), (0, (new.rows - old.rows) * old.kv_heads)] {
                if missing > 0 {
                    let mut size = tensor.dims();
                    size[dim] = missing;
                    tensor = Tensor::cat(vec![tensor, Tensor::zeros(size, &device)], dim);
                }
            }
            tensor.reshape([cells, new.head_dim])
        };
        for layer in &mut self.layers {
            layer.keys.inplace(grown);
            layer.values.inplace(grown);
        }
        self.shape = new;
        self.shared.reserve(new.rows);
    }

    /// Copies beginnings of rows to other rows. No row gives after it got one.
    pub fn share(&mut self, prefixes: &[SharedPrefix]) {
        let Some(layer) = self.layers.first().filter(|_| !prefixes.is_empty()) else { return };
        self.shared.share(prefixes);
        let (shape, device) = (self.shape, layer.keys.device());
        let cells = |row: fn(&SharedPrefix) -> usize| {
            let cells = prefixes.iter().flat_map(|prefix| {
                (0..shape.kv_heads)
                    .flat_map(move |head| (0..prefix.count).map(move |at| shape.cell(row(prefix), head, at)))
            });
            indices(cells, &device)
        };
        let (from, to) = (cells(|prefix| prefix.from), cells(|prefix| prefix.to));
        for LayerCache { keys, values, .. } in &mut self.layers {
            for tensor in [keys, values] {
                let shared = tensor.clone().select(0, from.clone());
                put_rows(tensor, to.clone(), shared);
            }
        }
    }

    /// Sets the pass that the next forward pass computes.
    pub fn begin(&mut self, pass: Arc<Pass>) {
        if pass.is_kept() {
            self.shared.read(pass.readings());
        }
        self.pass = Some(pass);
    }

    /// Position of each token of the pass that has begun, `[tokens, 1]`.
    pub(super) fn positions(&self) -> Tensor<2, Int> {
        self.begun().tensors(self).positions.clone()
    }

    /// Hidden states of the tokens of the pass that has begun, if the model's [`DecodingPass`] computes it.
    pub(super) fn decode(&mut self, tokens: &[u32], is_far: bool) -> Option<Tensor<2>> {
        let pass = Arc::clone(self.begun());
        let mut decoding = self.decoding.take_if(|decoding| decoding.takes(&pass))?;
        let hidden = decoding.forward(tokens, &pass, is_far, self);
        self.decoding = Some(decoding);
        Some(hidden)
    }

    /// The tokens of a pass in groups that see the same cells first, for attention on so many threads.
    pub(super) fn readers(&self, places: &[Place], threads: Threads) -> Vec<Readers> {
        self.shared.readers(places, self.shape.kv_heads, threads.count())
    }

    /// [`Self::attend`] in the cache's own memory, for tokens of these places, and as they are grouped: query, key and value are
    /// `[tokens, heads * head_dim]`, as is `mixed`, which gets the result. Queries are scaled already.
    pub(super) fn attend_in_memory(
        &mut self,
        layer: usize,
        (places, readers): (&[Place], &[Readers]),
        [query, key, value]: [&[f32]; 3],
        mixed: &mut [f32],
        threads: Threads,
    ) {
        let shape @ CacheShape { kv_heads, head_dim, .. } = self.shape;
        let LayerCache { keys, values, window } = &mut self.layers[layer];
        let put = |all: Tensor<2>, new: &[f32]| {
            let mut all = OwnNumbers::of(all);
            for (number, new) in new.chunks_exact(head_dim).enumerate() {
                let Place { row, position } = places[number / kv_heads];
                all[shape.cell(row, number % kv_heads, position) * head_dim..][..head_dim].copy_from_slice(new);
            }
            all
        };
        let seen = |token: usize| {
            let Place { row, position } = places[token];
            let first = if *window == 0 { 0 } else { (position + 1).saturating_sub(*window) };
            (row, first..position + 1)
        };
        let group = mixed.len() / (places.len() * kv_heads * head_dim);
        let sizes = HeadSizes { kv_heads, group, head_dim, capacity: shape.capacity };
        let size = [shape.rows * kv_heads * shape.capacity, head_dim];
        keys.inplace(|keys| {
            let keys = put(keys, key);
            values.inplace(|values| {
                let values = put(values, value);
                attend_to_cache(query, [&keys, &values], mixed, sizes, readers, seen, threads);
                values.tensor(size)
            });
            keys.tensor(size)
        });
    }

    /// # Panics
    /// If no pass has begun.
    fn begun(&self) -> &Arc<Pass> {
        self.pass.as_ref().expect("a forward pass with a cache begins with a pass")
    }

    /// Adds one layer's keys and values of the pass to the cache, and attends with its queries: `[tokens, heads, 1,
    /// head_dim]` to the same shape. `attention` is given the queries, keys and values of rows of texts, and their mask.
    ///
    /// # Panics
    /// If no pass has begun.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        attention: impl Fn(Tensor<4>, Tensor<4>, Tensor<4>, &AttentionMask) -> Tensor<4>,
    ) -> Tensor<4> {
        let pass = Arc::clone(self.begun());
        let PassTensors { cells, groups, .. } = pass.tensors(self);
        let shape = self.shape;
        let LayerCache { keys, values, window } = &mut self.layers[layer];
        if let Some(cells) = cells {
            for (all, new) in [(&mut *keys, &key), (&mut *values, &value)] {
                let new = new.clone().reshape([pass.tokens() * shape.kv_heads, shape.head_dim]);
                put_rows(all, cells.clone(), new);
            }
        }
        let mut mixed: Vec<Tensor<4>> = Vec::with_capacity(groups.len());
        for group in groups {
            let seen = |all: &Tensor<2>, new: &Tensor<4>| match group.reads_cache() {
                true => {
                    group.rows_of(all.clone().reshape([shape.rows, shape.kv_heads, shape.capacity, shape.head_dim]))
                }
                false => group.as_rows(new),
            };
            let (key, value) = (seen(keys, &key), seen(values, &value));
            mixed.push(group.as_tokens(attention(group.as_rows(&query), key, value, group.mask(*window))));
        }
        if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(mixed, 0) }
    }
}

impl CacheShape {
    /// Number of the cell of one head of a row at a position.
    fn cell(self, row: usize, head: usize, at: usize) -> usize {
        (row * self.kv_heads + head) * self.capacity + at
    }
}

/// Numbers of rows or cells as a tensor.
fn indices(numbers: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = numbers.map(|number| number as i64).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}
