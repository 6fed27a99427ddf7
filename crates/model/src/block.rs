//! A block of the decoder: attention and feed-forward, each with its norms and a residual connection.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

use super::families::NormPlacement;
use super::feed_forward::{FeedForward, Stds};
use super::layer_plan::LayerPlan;
use super::layers::Init;
use super::rotary::Rotation;
use super::{KvCache, Linear, ModelConfig, Norm};
use crate::ops::{AttentionMask, attention, in_type};

/// Inputs of attention that blocks share.
pub(super) struct View {
    /// Batch and time.
    pub size: [usize; 2],
    /// Type of the numbers that blocks multiply.
    pub dtype: DType,
    /// Of each of the windows.
    pub masks: Vec<AttentionMask>,
    /// Of each of the rotary tables.
    pub rotations: Vec<Rotation>,
}

impl View {
    /// The same outside autodiff.
    pub(super) fn inner(&self) -> Self {
        let rotations = self.rotations.iter().map(Rotation::inner).collect();
        Self { masks: self.masks.clone(), rotations, ..*self }
    }
}

/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`. Some families have norms behind the sublayers too, or in
/// place of those before them.
#[derive(Module, Debug)]
pub struct Block {
    pub(super) attention_norm: Option<Norm>,
    pub(super) attention: Attention,
    pub(super) attention_post_norm: Option<Norm>,
    pub(super) feed_forward_norm: Option<Norm>,
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_post_norm: Option<Norm>,
}

/// Multi-head attention with grouped key and value heads.
#[derive(Module, Debug)]
pub struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    /// Norm of each head's query, `[head_dim]` (Qwen3), or of all at once (OLMo 2); the next field is that of the keys.
    pub(super) query_norm: Option<Norm>,
    pub(super) key_norm: Option<Norm>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Factor of the queries, where scores are not divided by the root of a head's width (Gemma 3).
    #[module(skip)]
    pub(super) query_scale: Option<f64>,
    #[module(skip)]
    pub(super) index: ViewIndex,
}

/// Numbers of a block's mask and rotation in a [`View`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ViewIndex {
    pub mask: usize,
    pub rotation: Option<usize>,
}

impl Block {
    /// A new block.
    pub(super) fn new(
        config: &ModelConfig,
        plan: &LayerPlan,
        index: ViewIndex,
        stds: Stds,
        init: &mut Init,
        device: &Device,
    ) -> Self {
        let decoder = config.decoder();
        let (width, head_dim) = (config.width, config.head_dim());
        let (head_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let is_before = decoder.norm_placement != NormPlacement::Behind;
        let is_behind = decoder.norm_placement != NormPlacement::Before;
        let norm = |is_there: bool| is_there.then(|| Norm::new(width, config.norm_eps, decoder.norm, device));
        let qk_norm = |whole| {
            let width = if decoder.whole_qk_norm { whole } else { head_dim };
            config.qk_norm.then(|| Norm::new(width, config.norm_eps, decoder.norm, device))
        };
        let mut linear = |shape, std, with_bias| Linear::new(shape, std, decoder.all_biases || with_bias, init, device);
        let divisor = config.score_divisor();
        let attention = Attention {
            query: linear([width, head_width], stds.all, config.qkv_bias),
            key: linear([width, kv_width], stds.all, config.qkv_bias),
            value: linear([width, kv_width], stds.all, config.qkv_bias),
            output: linear([head_width, width], stds.residual, config.output_bias),
            query_norm: qk_norm(head_width),
            key_norm: qk_norm(kv_width),
            heads: config.heads,
            kv_heads: config.kv_heads,
            query_scale: (divisor != head_dim).then(|| (head_dim as f64 / divisor as f64).sqrt()),
            index,
        };
        Self {
            attention_norm: norm(is_before),
            attention,
            attention_post_norm: norm(is_behind),
            feed_forward_norm: norm(is_before),
            feed_forward: FeedForward::new(config, plan.experts.as_ref(), stds, init, device),
            feed_forward_post_norm: norm(is_behind),
        }
    }

    /// Every linear layer by its name in the block, such as `attention.query`.
    pub(super) fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        let Self { attention, feed_forward, .. } = self;
        let attention = [
            ("query", &mut attention.query),
            ("key", &mut attention.key),
            ("value", &mut attention.value),
            ("output", &mut attention.output),
        ];
        let attention = attention.map(|(name, layer)| (format!("attention.{name}"), layer));
        let feed_forward = feed_forward.linears_mut().into_iter();
        attention.into_iter().chain(feed_forward.map(|(name, layer)| (format!("feed_forward.{name}"), layer)))
    }

    /// Output of the block, `[batch * time, width]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<2>, view: &View, cache: Option<(usize, &mut KvCache)>) -> Tensor<2> {
        // The residual stream and the norms have 32 bits.
        let narrow = |x: Tensor<2>| in_type(x, view.dtype);
        let wide = |x: Tensor<2>| in_type(x, DType::F32);
        let attended = self.attention.forward(narrow(normed(self.attention_norm.as_ref(), x.clone())), view, cache);
        let x = x + normed(self.attention_post_norm.as_ref(), wide(attended));
        let fed = self.feed_forward.forward(narrow(normed(self.feed_forward_norm.as_ref(), x.clone())));
        x + normed(self.feed_forward_post_norm.as_ref(), wide(fed))
    }
}

fn normed(norm: Option<&Norm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

impl Attention {
    fn forward(&self, x: Tensor<2>, view: &View, cache: Option<(usize, &mut KvCache)>) -> Tensor<2> {
        let [batch, time] = view.size;
        // [batch * time, heads * head_dim] to [batch, heads, time, head_dim], in 32 bits
        let split = |x: Tensor<2>, heads, norm: Option<&Norm>| {
            let x = in_type(x, DType::F32);
            let [_, all] = x.dims();
            let head_dim = all / heads;
            let x = match norm {
                Some(norm) => {
                    let width = norm.width(); // of a head, or of all of them
                    norm.forward(x.reshape([batch * time * all / width, width]))
                }
                None => x,
            };
            x.reshape([batch, time, heads, head_dim]).swap_dims(1, 2)
        };
        let mut query = split(self.query.forward(x.clone()), self.heads, self.query_norm.as_ref());
        let mut key = split(self.key.forward(x.clone()), self.kv_heads, self.key_norm.as_ref());
        let value = split(self.value.forward(x), self.kv_heads, None);
        if let Some(at) = self.index.rotation {
            let rotation = &view.rotations[at];
            query = rotation.apply(query);
            key = rotation.apply(key);
        }
        if let Some(scale) = self.query_scale {
            query = query.mul_scalar(scale);
        }
        // [batch, heads, time, head_dim]
        let mixed = match cache {
            Some((layer, cache)) => cache.attend(layer, query, key, value, attention),
            None => attention(query, key, value, &view.masks[self.index.mask]),
        };
        let [_, _, _, head_dim] = mixed.dims();
        let mixed = mixed.swap_dims(1, 2).reshape([batch * time, self.heads * head_dim]);
        self.output.forward(in_type(mixed, view.dtype))
    }
}
