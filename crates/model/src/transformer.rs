//! The decoder: embedding, blocks of attention and feed-forward, norm, output layer.
//!
//! Activations are `[batch * time, width]` everywhere but inside attention, so that every linear layer is one
//! matrix product.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, module};

use super::checkpointing::recomputed;
use super::families::NormPlacement;
use super::feed_forward::{FeedForward, Stds};
use super::layer_plan::{LayerPlan, Rope};
use super::layers::{Init, Weight, normal};

use super::rotary::{RotaryTable, Rotation};
use super::{KvCache, Linear, ModelConfig, Norm, Precision};
use crate::ops::{AttentionMask, OutputVocabulary, TokenDistribution, attention, in_type, linear};
use crate::quantize::{FrozenMatrix, Quantization};

/// Positions and attention mask of the tokens of a forward pass.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Attention mask: the tokens that each token attends to.
    pub mask: AttentionMask,
    /// Each row's own positions, `[batch, time]`; `None`: every row continues from the cache's length, or from 0.
    pub positions: Option<Tensor<2, Int>>,
    /// True if the texts are longer than LongRoPE's first context, false if none is; `None`: the positions tell.
    pub is_far: Option<bool>,
}

impl Placement {
    /// Rows without padding on the left: each token attends to itself and to the tokens before it.
    pub fn causal() -> Self {
        Self { mask: AttentionMask::causal(), positions: None, is_far: None }
    }
}

/// A decoder transformer of any of the families.
#[derive(Module, Debug)]
pub struct Transformer {
    /// `[vocab, width]`; with tied embeddings its transpose is the output layer.
    pub embedding: Param<Tensor<2>>,
    /// Learned positions, `[context, width]` (GPT-2).
    pub positions: Option<Param<Tensor<2>>>,
    /// The blocks, first to last.
    pub blocks: Vec<Block>,
    /// The norm before the output layer.
    pub norm: Norm,
    /// The output layer, where it is not tied to the embedding.
    pub head: Option<Linear>,
    /// The rotations that the blocks have between them.
    #[module(skip)]
    rotary: Vec<RotaryTable>,
    /// The windows that the blocks have between them; 0 for none.
    #[module(skip)]
    windows: Vec<usize>,
    #[module(skip)]
    config: ModelConfig,
    /// True if a backward pass computes the blocks again.
    #[module(skip)]
    recomputes: bool,
    #[module(skip)]
    precision: Precision,
}

/// Inputs of attention that blocks share.
pub(super) struct View {
    /// Batch and time.
    size: [usize; 2],
    /// Type of the numbers that blocks multiply.
    dtype: DType,
    /// Of each of the windows.
    masks: Vec<AttentionMask>,
    /// Of each of the rotary tables.
    rotations: Vec<Rotation>,
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
    attention_norm: Option<Norm>,
    attention: Attention,
    attention_post_norm: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<Norm>,
}

/// Multi-head attention with grouped key and value heads.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Norm of each head's query, `[head_dim]` (Qwen3), or of all at once (OLMo 2); the next field is that of the keys.
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    heads: usize,
    kv_heads: usize,
    /// Factor of the queries, where scores are not divided by the root of a head's width (Gemma 3).
    #[module(skip)]
    query_scale: Option<f64>,
    #[module(skip)]
    index: ViewIndex,
}

/// Numbers of a block's mask and rotation in a [`View`].
#[derive(Debug, Clone, Copy)]
struct ViewIndex {
    mask: usize,
    rotation: Option<usize>,
}

impl Transformer {
    /// A new model: weights N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)), biases 0
    /// (GPT-2's initialisation, used for all families); or blank, if a file's weights follow.
    pub fn new(config: &ModelConfig, init: &mut Init, device: &Device) -> Self {
        const STD: f64 = 0.02;
        let &ModelConfig { vocab_size, width, context, norm_eps, .. } = config;
        let decoder = config.decoder();
        let stds = Stds { all: STD, residual: STD / (2.0 * config.layers as f64).sqrt() };
        let plans = config.layer_plans();
        let windows = distinct(plans.iter().map(|plan| plan.window));
        let ropes: Vec<Rope> = distinct(plans.iter().filter_map(|plan| plan.rope.clone()));
        let index = |plan: &LayerPlan| ViewIndex {
            mask: windows.iter().position(|&window| window == plan.window).unwrap_or(0),
            rotation: plan.rope.as_ref().and_then(|rope| ropes.iter().position(|other| other == rope)),
        };
        Self {
            embedding: normal([vocab_size, width], STD, init, device),
            positions: decoder.learned_positions.then(|| normal([context, width], STD, init, device)),
            blocks: plans.iter().map(|plan| Block::new(config, plan, index(plan), stds, init, device)).collect(),
            norm: Norm::new(width, norm_eps, decoder.norm, device),
            head: (!config.tie_embeddings).then(|| Linear::new([width, vocab_size], STD, false, init, device)),
            rotary: ropes.iter().map(|rope| RotaryTable::new(rope, device)).collect(),
            windows,
            config: config.clone(),
            recomputes: false,
            precision: Precision::F32,
        }
    }

    /// The same model with gradient checkpointing, or without: a backward pass then computes each block again, of which
    /// only the input is kept.
    #[must_use]
    pub fn with_gradient_checkpointing(self, recomputes: bool) -> Self {
        Self { recomputes, ..self }
    }

    /// The same model with matrix products of this precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Precision of its matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the weights; in the autodiff context if the model is being trained.
    pub fn device(&self) -> Device {
        self.embedding.val().device()
    }

    /// Hidden states after the last norm: `[batch, time]` to `[batch * time, width]`.
    ///
    /// With a cache, `tokens` are those of the pass that it has begun, `[tokens, 1]`, and the placement has their
    /// positions; they are added to the cache.
    pub fn forward(&self, tokens: Tensor<2, Int>, placement: &Placement, mut cache: Option<&mut KvCache>) -> Tensor<2> {
        let size = tokens.dims();
        let mut x = self.embed(tokens, placement, 0);
        let view = self.view(size, placement, 0);
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|cache| (layer, cache));
            x = match cache.is_none() && self.recomputes && x.is_autodiff() {
                true => recomputed(block, x, &view),
                false => block.forward(x, &view, cache),
            };
        }
        self.norm.forward(x)
    }

    /// Input of the first block: `[batch, time]` to `[batch * time, width]`. `start` is the position of the first
    /// token.
    pub(super) fn embed(&self, tokens: Tensor<2, Int>, placement: &Placement, start: usize) -> Tensor<2> {
        let [batch, time] = tokens.dims();
        let mut x = module::embedding(self.embedding.val(), tokens); // [batch, time, width]
        if self.config.decoder().scaled_embedding {
            x = x.mul_scalar((self.config.width as f64).sqrt());
        }
        if let Some(table) = &self.positions {
            let table = table.val();
            x = x + match &placement.positions {
                Some(positions) => module::embedding(table, positions.clone()),
                None => table.slice(start..start + time).unsqueeze(),
            };
        }
        x.reshape([batch * time, self.config.width])
    }

    /// Computes the `View` of tokens of this size that all blocks share, in the autodiff context of the weights.
    pub(super) fn view(&self, size: [usize; 2], placement: &Placement, start: usize) -> View {
        let [_, time] = size;
        let rotations = self.rotary.iter().map(|table| {
            let rotation = match &placement.positions {
                Some(positions) => table.at(positions.clone(), placement.is_far),
                None => table.range(start, time),
            };
            rotation.like(&self.embedding.val())
        });
        let masks = self.windows.iter().map(|&window| match window {
            window if window > 0 && start + time > window => {
                placement.mask.within(window, time, start + time, &self.device())
            }
            _ => placement.mask.clone(),
        });
        let dtype = self.precision.dtype();
        View { size, dtype, masks: masks.collect(), rotations: rotations.collect() }
    }

    /// Maximum length of the texts that rotate by the angles of short ones (LongRoPE): what a cache holds of one that grows
    /// beyond it has to be computed again. `None` if all lengths have the same angles.
    pub(super) fn near_length(&self) -> Option<usize> {
        self.rotary.iter().filter_map(RotaryTable::near_length).min()
    }

    /// Every linear layer of the blocks by name, such as `blocks.0.attention.query`.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.blocks.iter_mut().enumerate().flat_map(|(i, block)| {
            let Block { attention, feed_forward, .. } = block;
            let attention = [
                ("query", &mut attention.query),
                ("key", &mut attention.key),
                ("value", &mut attention.value),
                ("output", &mut attention.output),
            ];
            let attention = attention.map(|(name, layer)| (format!("blocks.{i}.attention.{name}"), layer));
            let feed_forward = feed_forward.linears_mut().into_iter();
            let feed_forward =
                feed_forward.map(move |(name, layer)| (format!("blocks.{i}.feed_forward.{name}"), layer));
            attention.into_iter().chain(feed_forward)
        })
    }

    /// The model with the matrices of the blocks' linear layers frozen in this form, each freed before the next is made.
    /// Those that are in such a form already stay as they are, and so do routers, which have few weights: rounding would
    /// change the choice of experts.
    #[must_use]
    pub fn quantized(mut self, quantization: Quantization) -> Self {
        for (_, layer) in self.linears_mut().filter(|(name, _)| !is_router(name)) {
            layer.weight = layer.weight.clone().quantized(quantization);
        }
        self
    }

    /// The frozen matrices by the name of their layer. They are no parameters, so that [`super::parameters`] does not know
    /// them.
    pub fn frozen_matrices(&self) -> Vec<(String, FrozenMatrix)> {
        let mut model = self.clone();
        let frozen = |(name, layer): (String, &mut Linear)| match &layer.weight {
            Weight::Frozen(matrix) => Some((name, matrix.clone())),
            Weight::Dense(_) => None,
        };
        model.linears_mut().filter_map(frozen).collect()
    }

    /// Logits of the next token, `[rows, width]` to `[rows, vocab]`. Pass only the rows that are needed: this is the
    /// largest matrix product of a small model.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = match &self.head {
            Some(head) => head.forward(hidden),
            None => linear(hidden, self.embedding.val().transpose(), None),
        };
        match self.config.final_logit_softcapping {
            0.0 => logits,
            cap => logits.div_scalar(cap).tanh().mul_scalar(cap),
        }
    }

    /// Distribution of the next token, at temperature 1, over all ids that the model has: what a loss is computed from,
    /// since it never makes the logits of all tokens.
    pub fn next_token(&self) -> TokenDistribution {
        let (weight, bias) = match &self.head {
            Some(head) => (head.whole_weight(), head.bias.as_ref().map(|bias| bias.val())),
            None => (self.embedding.val().transpose(), None),
        };
        let soft_cap = Some(self.config.final_logit_softcapping).filter(|&cap| cap > 0.0);
        let vocabulary = OutputVocabulary::whole(self.config.vocab_size);
        TokenDistribution { weight, bias, soft_cap, temperature: 1.0, allowed: None, vocabulary }
    }
}

impl Block {
    fn new(
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

/// True if a linear layer of this name chooses experts.
pub fn is_router(name: &str) -> bool {
    name.ends_with(".router")
}

fn normed(norm: Option<&Norm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// The values without repetitions, in the order in which they first stand.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
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
