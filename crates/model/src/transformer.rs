//! The decoder: embedding, blocks of attention and feed-forward, norm, output layer.
//!
//! Activations are `[batch * time, width]` everywhere but inside attention, so that every linear layer is one
//! matrix product.

use burn::module::{Module, Param};
use burn::tensor::activation::{gelu, gelu_approximate};
use burn::tensor::{Device, Int, Tensor, module};

use super::checkpointing::recomputed;
use super::layers::{Init, normal};

use super::rotary::{RotaryTable, Rotation};
use super::{Family, Gelu, KvCache, Linear, ModelConfig, Norm};
use crate::ops::{AttentionMask, TokenDistribution, attention, swiglu};

/// Positions and attention mask of the tokens of a forward pass.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Attention mask: the tokens that each token attends to.
    pub mask: AttentionMask,
    /// Each row's own positions, `[batch, time]`; `None`: every row continues from the cache's length, or from 0.
    pub positions: Option<Tensor<2, Int>>,
}

impl Placement {
    /// Rows without padding on the left: each token attends to itself and to the tokens before it.
    pub fn causal() -> Self {
        Self { mask: AttentionMask::causal(), positions: None }
    }
}

/// A decoder transformer of the GPT-2 or Llama family.
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
    #[module(skip)]
    rotary: Option<RotaryTable>,
    #[module(skip)]
    config: ModelConfig,
    /// True if a backward pass computes the blocks again.
    #[module(skip)]
    recomputes: bool,
}

/// Inputs of attention that are the same in every block.
pub(super) struct View {
    /// Batch and time.
    size: [usize; 2],
    mask: AttentionMask,
    rotation: Option<Rotation>,
}

impl View {
    /// The same outside autodiff.
    pub(super) fn inner(&self) -> Self {
        let rotation = self.rotation.as_ref().map(Rotation::inner);
        Self { size: self.size, mask: self.mask.clone(), rotation }
    }
}

/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

/// Multi-head attention with grouped key and value heads.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Norm of each head's query, `[head_dim]`; the next field is that of its key (Qwen3).
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    heads: usize,
    kv_heads: usize,
}

/// `down(gelu(up(x)))` (GPT-2), or with a gate `down(silu(gate(x)) * up(x))` (Llama).
#[derive(Module, Debug)]
pub struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    #[module(skip)]
    gelu: Gelu,
}

impl Transformer {
    /// A new model: weights N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)), biases 0
    /// (GPT-2's initialisation, used for both families); or blank, if a file's weights follow.
    pub fn new(config: &ModelConfig, init: &mut Init, device: &Device) -> Self {
        const STD: f64 = 0.02;
        let &ModelConfig { vocab_size, width, context, norm_eps, .. } = config;
        let is_gpt2 = config.family == Family::Gpt2;
        Self {
            embedding: normal([vocab_size, width], STD, init, device),
            positions: is_gpt2.then(|| normal([context, width], STD, init, device)),
            blocks: (0..config.layers).map(|_| Block::new(config, STD, init, device)).collect(),
            norm: Norm::new(width, norm_eps, is_gpt2, device),
            head: (!config.tie_embeddings).then(|| Linear::new([width, vocab_size], STD, false, init, device)),
            rotary: (!is_gpt2).then(|| RotaryTable::new(config, device)),
            config: config.clone(),
            recomputes: false,
        }
    }

    /// The same model with gradient checkpointing, or without: a backward pass then computes each block again, of which
    /// only the input is kept.
    #[must_use]
    pub fn with_gradient_checkpointing(self, recomputes: bool) -> Self {
        Self { recomputes, ..self }
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
    /// With a cache, `tokens` are those not yet read; they are added to the cache.
    pub fn forward(&self, tokens: Tensor<2, Int>, placement: &Placement, mut cache: Option<&mut KvCache>) -> Tensor<2> {
        let size = tokens.dims();
        let start = cache.as_ref().map_or(0, |cache| cache.length());
        let mut x = self.embed(tokens, placement, start);
        let view = self.view(size, placement, start);
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|cache| (layer, cache));
            x = match cache.is_none() && self.recomputes && x.is_autodiff() {
                true => recomputed(block, x, &view),
                false => block.forward(x, &view, cache),
            };
        }
        if let Some(cache) = cache {
            cache.advance(size[1]);
        }
        self.norm.forward(x)
    }

    /// Input of the first block: `[batch, time]` to `[batch * time, width]`. `start` is the position of the first
    /// token.
    pub(super) fn embed(&self, tokens: Tensor<2, Int>, placement: &Placement, start: usize) -> Tensor<2> {
        let [batch, time] = tokens.dims();
        let mut x = module::embedding(self.embedding.val(), tokens); // [batch, time, width]
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
        let rotation = self.rotary.as_ref().map(|table| {
            let rotation = match &placement.positions {
                Some(positions) => table.at(positions.clone()),
                None => table.range(start, time),
            };
            rotation.like(&self.embedding.val())
        });
        let mask = match self.config.sliding_window {
            window if window > 0 && start + time > window => {
                placement.mask.within(window, time, start + time, &self.device())
            }
            _ => placement.mask.clone(),
        };
        View { size, mask, rotation }
    }

    /// Every linear layer of the blocks by name, such as `blocks.0.attention.query`.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.blocks.iter_mut().enumerate().flat_map(|(i, block)| {
            let Block { attention, feed_forward, .. } = block;
            let layers = [
                ("attention.query", Some(&mut attention.query)),
                ("attention.key", Some(&mut attention.key)),
                ("attention.value", Some(&mut attention.value)),
                ("attention.output", Some(&mut attention.output)),
                ("feed_forward.gate", feed_forward.gate.as_mut()),
                ("feed_forward.up", Some(&mut feed_forward.up)),
                ("feed_forward.down", Some(&mut feed_forward.down)),
            ];
            layers.into_iter().filter_map(move |(name, layer)| Some((format!("blocks.{i}.{name}"), layer?)))
        })
    }

    /// Logits of the next token, `[rows, width]` to `[rows, vocab]`. Pass only the rows that are needed: this is the
    /// largest matrix product of a small model.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embedding.val().transpose()),
        }
    }

    /// Distribution of the next token, at temperature 1, over the first `vocabulary` tokens: what a loss is computed
    /// from, since it never makes the logits of all tokens.
    pub fn next_token(&self, vocabulary: usize) -> TokenDistribution {
        let (weight, bias) = match &self.head {
            Some(head) => (head.whole_weight(), head.bias.as_ref().map(|bias| bias.val())),
            None => (self.embedding.val().transpose(), None),
        };
        let distribution = TokenDistribution { weight, bias, soft_cap: None, temperature: 1.0, allowed: None };
        if vocabulary == self.config.vocab_size { distribution } else { distribution.narrow(vocabulary) }
    }
}

impl Block {
    fn new(config: &ModelConfig, std: f64, init: &mut Init, device: &Device) -> Self {
        let is_gpt2 = config.family == Family::Gpt2;
        let residual_std = std / (2.0 * config.layers as f64).sqrt();
        let (width, kv_width) = (config.width, config.kv_heads * config.head_dim());
        let head_width = config.heads * config.head_dim();
        let norm = || Norm::new(width, config.norm_eps, is_gpt2, device);
        let head_norm = || config.qk_norm.then(|| Norm::new(config.head_dim(), config.norm_eps, false, device));
        let mut linear = |shape, std, with_bias| Linear::new(shape, std, is_gpt2 || with_bias, init, device);
        let attention = Attention {
            query: linear([width, head_width], std, config.qkv_bias),
            key: linear([width, kv_width], std, config.qkv_bias),
            value: linear([width, kv_width], std, config.qkv_bias),
            output: linear([head_width, width], residual_std, config.output_bias),
            query_norm: head_norm(),
            key_norm: head_norm(),
            heads: config.heads,
            kv_heads: config.kv_heads,
        };
        let feed_forward = FeedForward {
            gate: (!is_gpt2).then(|| linear([width, config.feed_forward], std, config.mlp_bias)),
            up: linear([width, config.feed_forward], std, config.mlp_bias),
            down: linear([config.feed_forward, width], residual_std, config.mlp_bias),
            gelu: config.gelu,
        };
        Self { attention_norm: norm(), attention, feed_forward_norm: norm(), feed_forward }
    }

    /// Output of the block, `[batch * time, width]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<2>, view: &View, cache: Option<(usize, &mut KvCache)>) -> Tensor<2> {
        let x = x.clone() + self.attention.forward(self.attention_norm.forward(x), view, cache);
        x.clone() + self.feed_forward.forward(self.feed_forward_norm.forward(x))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<2>, view: &View, cache: Option<(usize, &mut KvCache)>) -> Tensor<2> {
        let [batch, time] = view.size;
        // [batch * time, heads * head_dim] to [batch, heads, time, head_dim]
        let split = |x: Tensor<2>, heads, norm: Option<&Norm>| {
            let [_, all] = x.dims();
            let head_dim = all / heads;
            let x = match norm {
                Some(norm) => norm.forward(x.reshape([batch * time * heads, head_dim])),
                None => x,
            };
            x.reshape([batch, time, heads, head_dim]).swap_dims(1, 2)
        };
        let mut query = split(self.query.forward(x.clone()), self.heads, self.query_norm.as_ref());
        let mut key = split(self.key.forward(x.clone()), self.kv_heads, self.key_norm.as_ref());
        let mut value = split(self.value.forward(x), self.kv_heads, None);
        if let Some(rotation) = &view.rotation {
            query = rotation.apply(query);
            key = rotation.apply(key);
        }
        if let Some((layer, cache)) = cache {
            (key, value) = cache.append(layer, key, value);
        }
        let mixed = attention(query, key, value, &view.mask); // [batch, heads, time, head_dim]
        let [_, _, _, head_dim] = mixed.dims();
        self.output.forward(mixed.swap_dims(1, 2).reshape([batch * time, self.heads * head_dim]))
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let inner = match &self.gate {
            Some(gate) => swiglu(gate.forward(x.clone()), self.up.forward(x)),
            None if self.gelu == Gelu::Tanh => gelu_approximate(self.up.forward(x)),
            None => gelu(self.up.forward(x)),
        };
        self.down.forward(inner)
    }
}
