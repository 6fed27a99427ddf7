//! The decoder: embedding, blocks, norm, output layer.
//!
//! Activations are `[batch * time, width]` everywhere but inside attention, so that every linear layer is one
//! matrix product.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, module};

use super::block::{Block, View, ViewIndex};
use super::checkpointing::recomputed;
use super::feed_forward::Stds;
use super::layer_plan::{LayerPlan, Rope};
use super::layers::{Init, Weight, normal};
use super::rotary::RotaryTable;
use super::{FrozenMatrices, KvCache, Linear, ModelConfig, Norm, Precision};
use crate::ops::{AttentionMask, OutputVocabulary, TokenDistribution, linear};
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
    /// The output layer that is tied to the embedding, in fewer bits; `None`: the embedding's own numbers.
    #[module(skip)]
    quantized_output: Option<FrozenMatrix>,
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
            quantized_output: None,
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

    /// Hidden states after the last norm of the tokens of the pass that a cache has begun, `[tokens, width]`, which are added
    /// to the cache. `is_far` says if their texts are longer than LongRoPE's first context. The model is outside autodiff.
    pub(super) fn read(&self, tokens: &[u32], is_far: bool, cache: &mut KvCache) -> Tensor<2> {
        if let Some(hidden) = cache.decode(tokens, is_far) {
            return hidden;
        }
        let positions = Some(cache.positions());
        let placement = Placement { positions, is_far: Some(is_far), ..Placement::causal() };
        let tokens: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let size = [tokens.len(), 1];
        let tokens = Tensor::from_data(TensorData::new(tokens, size), &self.device());
        self.forward(tokens, &placement, Some(cache))
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
                placement.mask.within(window, [time, start + time], placement.positions.as_ref(), &self.device())
            }
            _ => placement.mask.clone(),
        });
        let dtype = self.precision.dtype();
        View { size, dtype, masks: masks.collect(), rotations: rotations.collect() }
    }

    /// The rotary tables that its blocks have between them.
    pub(super) fn rotary(&self) -> &[RotaryTable] {
        &self.rotary
    }

    /// Maximum length of the texts that rotate by the angles of short ones (LongRoPE): what a cache holds of one that grows
    /// beyond it has to be computed again. `None` if all lengths have the same angles.
    pub(super) fn near_length(&self) -> Option<usize> {
        self.rotary.iter().filter_map(RotaryTable::near_length).min()
    }

    /// Every linear layer of the blocks by name, such as `blocks.0.attention.query`.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.blocks
            .iter_mut()
            .enumerate()
            .flat_map(|(i, block)| block.linears_mut().map(move |(name, layer)| (format!("blocks.{i}.{name}"), layer)))
    }

    /// The model with these matrices in place of those of the layers of their names.
    #[must_use]
    pub fn with_frozen(mut self, mut matrices: FrozenMatrices) -> Self {
        for (name, layer) in self.linears_mut() {
            if let Some(matrix) = matrices.remove(&name) {
                layer.weight = Weight::Frozen(matrix);
            }
        }
        self
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

    /// The model with its output layer frozen in this form, and in 8 bits instead of 4. An embedding that it is tied to stays as
    /// it is, beside it.
    #[must_use]
    pub fn with_quantized_output(mut self, quantization: Quantization) -> Self {
        let quantization = if quantization == Quantization::Nf4 { Quantization::Int8 } else { quantization };
        match &mut self.head {
            Some(head) => head.weight = head.weight.clone().quantized(quantization),
            None => self.quantized_output = FrozenMatrix::new(&self.embedding.val().transpose(), quantization),
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
        let logits = match (&self.head, &self.quantized_output) {
            (Some(head), _) => head.forward(hidden),
            (None, Some(matrix)) => matrix.forward(hidden),
            (None, None) => linear(hidden, self.embedding.val().transpose(), None),
        };
        match self.config.final_logit_softcapping {
            0.0 => logits,
            cap => logits.div_scalar(cap).tanh().mul_scalar(cap),
        }
    }

    /// Distribution of the next token, at temperature 1, over all ids that the model has: what a loss is computed from,
    /// since it never makes the logits of all tokens.
    pub fn next_token(&self) -> TokenDistribution {
        let (weight, bias) = match (&self.head, &self.quantized_output) {
            (Some(head), _) => (head.whole_weight(), head.bias.as_ref().map(|bias| bias.val())),
            (None, Some(matrix)) => (matrix.numbers(DType::F32), None),
            (None, None) => (self.embedding.val().transpose(), None),
        };
        let soft_cap = Some(self.config.final_logit_softcapping).filter(|&cap| cap > 0.0);
        let vocabulary = OutputVocabulary::whole(self.config.vocab_size);
        TokenDistribution { weight, bias, soft_cap, temperature: 1.0, allowed: None, vocabulary }
    }
}

/// True if a linear layer of this name chooses experts.
pub fn is_router(name: &str) -> bool {
    name.ends_with(".router")
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
