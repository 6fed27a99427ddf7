//! Key-value cache: the keys and values of the tokens read so far, so that each new token costs one step.

use burn::tensor::{Device, Int, Tensor, s};

use super::ModelConfig;

/// Keys and values of every layer, allocated once for a whole generation.
pub struct KvCache {
    layers: Vec<LayerCache>,
    capacity: usize,
    length: usize,
}

/// One layer's keys and values, `[batch, kv_heads, capacity, head_dim]`.
pub struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    /// An empty cache of `capacity` tokens for each of `batch` rows.
    pub fn new(config: &ModelConfig, batch: usize, capacity: usize, device: &Device) -> Self {
        let zeros = || Tensor::zeros([batch, config.kv_heads, capacity, config.head_dim()], device);
        let layers = (0..config.layers).map(|_| LayerCache { keys: zeros(), values: zeros() }).collect();
        Self { layers, capacity, length: 0 }
    }

    /// Number of tokens that each row holds, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Maximum number of tokens of each row.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends one layer's new keys and values, `[batch, kv_heads, time, head_dim]`, and returns all of them so far.
    /// The length grows with [`KvCache::advance`], once all layers have appended.
    pub(super) fn append(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let (start, end) = (self.length, self.length + keys.dims()[2]);
        let LayerCache { keys: all_keys, values: all_values } = &mut self.layers[layer];
        all_keys.inplace(|all| all.slice_assign(s![.., .., start..end], keys));
        all_values.inplace(|all| all.slice_assign(s![.., .., start..end], values));
        (all_keys.clone().narrow(2, 0, end), all_values.clone().narrow(2, 0, end))
    }

    /// Counts the tokens that every layer has appended.
    pub(super) fn advance(&mut self, time: usize) {
        self.length += time;
    }

    /// Keeps only the given rows, once the others have ended.
    pub fn keep_rows(&mut self, rows: Tensor<1, Int>) {
        for layer in &mut self.layers {
            layer.keys.inplace(|keys| keys.select(0, rows.clone()));
            layer.values.inplace(|values| values.select(0, rows.clone()));
        }
    }
}
