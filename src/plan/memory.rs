//! Memory of training on one device, by formula.

use serde::Serialize;

use super::{Extent, Parameters, short};
use crate::config::Sharding;
use palestra_model::ops::LOGITS_CHUNK;
use palestra_model::{ModelConfig, Precision};

/// Bytes of memory on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, 4 bytes each, but for frozen ones that are quantised; and copies of trained matrices in 16 bits.
    pub weights: u64,
    /// Gradients, 4 bytes a trained parameter.
    pub gradients: u64,
    /// AdamW's two moments, 8 bytes a trained parameter; with `train.sharding = "optimizer"`, divided by the devices.
    pub moments: u64,
    /// Activations of the windows computed at once, kept for the backward pass. An estimate; with frozen weights, an
    /// upper bound.
    pub activations: u64,
    /// The logits of those windows and their gradient, of at most a chunk of them at once.
    pub logits: u64,
    /// Total of these.
    pub total: u64,
    /// Total of these, if weights, gradients and moments were sharded among the devices
    /// (ZeRO stage 3, [Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054)), which this program does not do.
    pub total_if_sharded: u64,
}

impl Memory {
    /// The parts by name, as people read them.
    pub(super) fn parts(&self) -> String {
        let Self { weights, gradients, moments, activations, logits, .. } = *self;
        let parts = [
            ("weights", weights),
            ("gradients", gradients),
            ("moments", moments),
            ("activations", activations),
            ("logits", logits),
        ];
        parts.map(|(name, size)| format!("{name} {}", bytes(size))).join(", ")
    }
}

/// Formats a number of bytes with three digits and a letter for its thousands.
pub(super) fn bytes(size: u64) -> String {
    short(size as f64) + "B"
}

/// Memory of one device. Activations are counted as in [Korthikanti et al. 2022](https://arxiv.org/abs/2205.05198), in
/// 32 bits, without dropout and with attention that keeps no scores. Each block keeps its two inputs, query, key and value, the
/// output of attention, what LayerNorm gives and what norms behind a sublayer read, and each step of the feed-forward layer, or
/// of each expert that a token passes with its input and output. What RMSNorm and SwiGLU give is computed again. In bf16 it is
/// kept, and takes half, as the feed-forward layer does. With gradient checkpointing, each block keeps its input, and one block
/// at a time keeps everything. Logits are made a chunk at a time ([`palestra_model::ops::TokenDistribution`]).
pub(super) fn memory(config: &ModelConfig, counted: Parameters, extent: Extent) -> Memory {
    const FLOAT: u64 = 4;
    let is_wide = extent.precision == Precision::F32;
    let narrow = if is_wide { 4 } else { 2 }; // of the numbers between matrix products
    let (query, kv) = (config.heads * config.head_dim(), config.kv_heads * config.head_dim());
    let inner = config.kept_inner_arrays(is_wide);
    let [before, behind] = config.norms_of_block();
    let kept = if is_wide && config.recomputes_norms() { 0 } else { before };
    let block = |layer| {
        let feed_forward = match config.experts_of(layer) {
            Some(experts) => experts.per_token * (inner * experts.feed_forward + 2 * config.width),
            None => inner * config.feed_forward,
        };
        let wide = (2 + behind) * config.width + 2 * query + 2 * kv;
        4 * wide + narrow * (kept * config.width + feed_forward)
    };
    let blocks = (0..config.layers).map(block);
    let blocks = match extent.gradient_checkpointing {
        true => 4 * config.layers * config.width + blocks.max().unwrap_or(0),
        false => blocks.sum(),
    };
    let tokens = (extent.micro_batch * extent.window) as u64;
    let [gradients, moments] = [counted.trained, 2 * counted.trained].map(|count| FLOAT * count);
    let weights = counted.bytes;
    let activations = tokens * (blocks + 8 * config.width) as u64;
    let all_logits = FLOAT * tokens * config.vocab_size as u64;
    let logits = match all_logits <= LOGITS_CHUNK as u64 {
        true => 2 * all_logits,
        // The scores of a chunk, their log-softmax and a gradient; and the gradient of the hidden states.
        false => 3 * LOGITS_CHUNK as u64 + FLOAT * tokens * config.width as u64,
    };
    let total_if_sharded = (weights + gradients + moments) / extent.devices + activations + logits;
    let moments = match extent.sharding {
        Sharding::None => moments,
        Sharding::Optimizer => moments.div_ceil(extent.devices),
    };
    Memory {
        weights,
        gradients,
        moments,
        activations,
        logits,
        total: weights + gradients + moments + activations + logits,
        total_if_sharded,
    }
}
