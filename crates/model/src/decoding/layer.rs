use super::Angles;
use super::weights::{LinearNumbers, NormNumbers, ProductBuffers, add, linear};
use crate::block::Block;
use crate::families::Activation;
use crate::feed_forward::{FeedForward, Mlp};
use crate::ops::GeluForm;
use crate::ops::loops::{self, Rotated, Threads};

/// A block of the decoder.
pub(super) struct DecodingLayer {
    attention_norm: Option<NormNumbers>,
    query: LinearNumbers,
    key: LinearNumbers,
    value: LinearNumbers,
    output: LinearNumbers,
    query_norm: Option<NormNumbers>,
    key_norm: Option<NormNumbers>,
    attention_post_norm: Option<NormNumbers>,
    feed_forward_norm: Option<NormNumbers>,
    gate: Option<LinearNumbers>,
    up: LinearNumbers,
    down: LinearNumbers,
    feed_forward_post_norm: Option<NormNumbers>,
    /// Number of the rotary table.
    rotation: Option<usize>,
    head_dim: usize,
    /// Factor of queries.
    scale: f32,
    activation: Activation,
    gelu: GeluForm,
}

/// Memory that all layers of all passes share.
#[derive(Default)]
pub(super) struct Buffers {
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
    output: Vec<f32>,
    /// Of steps that write what replaces their input.
    spare: Vec<f32>,
    products: ProductBuffers,
}

impl DecodingLayer {
    /// That of a block; `None` if it has experts, or if its weights are not in memory.
    pub fn of(block: &Block) -> Option<Self> {
        let attention = &block.attention;
        let FeedForward::Dense(mlp) = &block.feed_forward else { return None };
        let Mlp { gate, up, down, activation, .. } = mlp;
        let norm = |norm: &Option<crate::Norm>| norm.as_ref().map(NormNumbers::of);
        let [_, query_width] = attention.query.weight.dims();
        let head_dim = query_width / attention.heads;
        let gate = match gate {
            Some(gate) => Some(LinearNumbers::of(gate)?),
            None => None,
        };
        Some(Self {
            attention_norm: norm(&block.attention_norm),
            query: LinearNumbers::of(&attention.query)?,
            key: LinearNumbers::of(&attention.key)?,
            value: LinearNumbers::of(&attention.value)?,
            output: LinearNumbers::of(&attention.output)?,
            query_norm: norm(&attention.query_norm),
            key_norm: norm(&attention.key_norm),
            attention_post_norm: norm(&block.attention_post_norm),
            feed_forward_norm: norm(&block.feed_forward_norm),
            gate,
            up: LinearNumbers::of(up)?,
            down: LinearNumbers::of(down)?,
            feed_forward_post_norm: norm(&block.feed_forward_post_norm),
            rotation: attention.index.rotation,
            head_dim,
            scale: (attention.query_scale.unwrap_or(1.0) / (head_dim as f64).sqrt()) as f32,
            activation: *activation,
            gelu: mlp.gelu_form(),
        })
    }

    /// Replaces the residual stream `x`, `[tokens, width]`, by the output of the layer. `attend` is given queries, keys and
    /// values, `[tokens, heads * head_dim]` each, and writes what attention makes of them.
    pub fn forward(
        &self,
        x: &mut [f32],
        angles: &[Angles],
        attend: impl FnOnce([&[f32]; 3], &mut [f32]),
        buffers: &mut Buffers,
        threads: Threads,
    ) {
        let Buffers { normed, query, key, value, mixed, output, spare, products, .. } = buffers;
        let input = normed_or(self.attention_norm.as_ref(), x, normed, threads);
        linear(input, [&self.query, &self.key, &self.value], [query, key, value], products, threads);
        replace_normed(self.query_norm.as_ref(), query, spare, threads);
        replace_normed(self.key_norm.as_ref(), key, spare, threads);
        if let Some(table) = self.rotation {
            self.rotate(query, &angles[table], spare, threads);
            self.rotate(key, &angles[table], spare, threads);
        }
        query.iter_mut().for_each(|query| *query *= self.scale);
        mixed.resize(query.len(), 0.0);
        attend([query, key, value], mixed);
        linear(mixed, [&self.output], [output], products, threads);
        replace_normed(self.attention_post_norm.as_ref(), output, spare, threads);
        add(x, output);
        self.feed_forward(x, buffers, threads);
    }

    fn feed_forward(&self, x: &mut [f32], buffers: &mut Buffers, threads: Threads) {
        let Buffers { normed, gate, up, inner, output, spare, products, .. } = buffers;
        let input = normed_or(self.feed_forward_norm.as_ref(), x, normed, threads);
        match &self.gate {
            Some(layer) => linear(input, [layer, &self.up], [gate, up], products, threads),
            None => linear(input, [&self.up], [up], products, threads),
        }
        inner.resize(up.len(), 0.0);
        match self.activation {
            Activation::SwiGlu => loops::swiglu(gate, up, inner, threads),
            Activation::Gelu => loops::gelu(up, inner, self.gelu, threads),
            Activation::GeGlu => {
                loops::gelu(gate, inner, self.gelu, threads);
                inner.iter_mut().zip(up).for_each(|(inner, up)| *inner *= *up);
            }
        }
        linear(inner, [&self.down], [output], products, threads);
        replace_normed(self.feed_forward_post_norm.as_ref(), output, spare, threads);
        add(x, output);
    }

    fn rotate(&self, x: &mut Vec<f32>, angles: &Angles, spare: &mut Vec<f32>, threads: Threads) {
        let [cos, sin] = &angles.tables;
        let width = x.len() / (cos.len() / angles.dim);
        let size = Rotated { width, head_dim: self.head_dim, dim: angles.dim, is_back: false };
        spare.resize(x.len(), 0.0);
        loops::rotate(x, [cos, sin], spare, size, threads);
        std::mem::swap(x, spare);
    }
}

/// The norm of rows in a buffer, or the rows where there is none.
fn normed_or<'a>(norm: Option<&NormNumbers>, x: &'a [f32], buffer: &'a mut Vec<f32>, threads: Threads) -> &'a [f32] {
    let Some(norm) = norm else { return x };
    buffer.resize(x.len(), 0.0);
    norm.apply(x, buffer, threads);
    buffer
}

/// Replaces rows by their norm, if there is one.
fn replace_normed(norm: Option<&NormNumbers>, x: &mut Vec<f32>, spare: &mut Vec<f32>, threads: Threads) {
    let Some(norm) = norm else { return };
    spare.resize(x.len(), 0.0);
    norm.apply(x, spare, threads);
    std::mem::swap(x, spare);
}
