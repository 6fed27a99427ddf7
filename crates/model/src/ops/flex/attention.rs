use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use macerator::Simd;
use rayon::prelude::*;

use super::{dense, holds, numbers, primitive, tensor};
use crate::ops::AttentionMask;
use crate::ops::loops::{PART, add_scaled, dot, exp, sum};

/// Number of keys up to which a head's work is small enough for loops; matrix products are faster beyond.
const MAX_KEYS: usize = 128;

/// True if [`AttentionPass`] computes these queries and keys.
pub(in crate::ops) fn attention_fits(query: &Tensor<4>, key: &Tensor<4>) -> bool {
    key.dims()[2] <= MAX_KEYS && holds(query) && holds(key)
}

/// Attention of short texts, head by head, whose scores stay in the processor's cache.
pub(in crate::ops) struct AttentionPass {
    query: Heads,
    key: Heads,
    value: Heads,
    additive: Option<FlexTensor>,
    size: Size,
}

#[derive(Clone, Copy)]
struct Size {
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    head_dim: usize,
    /// True if a query sees the keys up to its own alone.
    is_causal: bool,
    /// Numbers of an additive mask from one text to the next.
    mask: usize,
}

/// `[batch, heads, time, head_dim]`, in any order but that of the last dimension.
struct Heads {
    numbers: FlexTensor,
    start: usize,
    strides: [usize; 3],
}

impl Heads {
    fn new(tensor: Tensor<4>) -> Self {
        let found = primitive(tensor);
        let is_usable =
            matches!(found.layout().strides(), [batch, head, time, 1] if *batch >= 0 && *head >= 0 && *time >= 0);
        let numbers = if is_usable { found } else { found.to_contiguous() };
        let strides = [0, 1, 2].map(|dim| numbers.layout().strides()[dim].unsigned_abs());
        Self { start: numbers.layout().start_offset(), strides, numbers }
    }

    fn of_text(&self, text: usize) -> Rows<'_> {
        let [batch, head, time] = self.strides;
        Rows { numbers: &self.numbers.storage()[self.start + text * batch..], head, time }
    }
}

/// Rows of one text, of each head and time.
#[derive(Clone, Copy)]
struct Rows<'a> {
    numbers: &'a [f32],
    head: usize,
    time: usize,
}

impl Rows<'_> {
    #[inline(always)]
    fn at(&self, head: usize, time: usize, head_dim: usize) -> &[f32] {
        &self.numbers[head * self.head + time * self.time..][..head_dim]
    }
}

impl AttentionPass {
    /// A pass of these inputs, outside autodiff, whose shapes the caller has checked.
    pub fn new(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Self {
        let [batch, heads, queries, head_dim] = query.dims();
        let [_, kv_heads, keys, _] = key.dims();
        let is_causal = mask.is_causal();
        let additive = (!is_causal).then(|| mask.additive(queries, keys, &query.device())).flatten();
        let per_text =
            additive.as_ref().map_or(0, |additive| if additive.dims()[0] == batch { queries * keys } else { 0 });
        let size = Size { heads, kv_heads, queries, keys, head_dim, is_causal, mask: per_text };
        let [query, key, value] = [query, key, value].map(Heads::new);
        Self { query, key, value, additive: additive.map(dense), size }
    }

    /// Returns the output, `[batch, heads, queries, head_dim]`, and the log-sum-exp of each query's scores.
    pub fn forward(&self, batch: usize) -> (Tensor<4>, Vec<f32>) {
        let Size { heads, queries, head_dim, .. } = self.size;
        let mut output = vec![0.0; batch * queries * heads * head_dim];
        let mut log_sum_exp = vec![0.0; batch * heads * queries];
        let texts = output.par_chunks_mut(queries * heads * head_dim).zip(log_sum_exp.par_chunks_mut(heads * queries));
        texts.enumerate().with_min_len(self.texts_at_once()).for_each(|(text, (output, log_sum_exp))| {
            forward_text(self.text(text), self.size, output, log_sum_exp);
        });
        (tensor(output, [batch, queries, heads, head_dim]).swap_dims(1, 2), log_sum_exp)
    }

    /// Returns the gradients of query, key and value, given the log-sum-exp of [`Self::forward`] and the gradient of the
    /// output.
    pub fn backward(&self, log_sum_exp: &[f32], gradient: Tensor<4>) -> [Tensor<4>; 3] {
        let [batch, ..] = gradient.dims();
        let Size { heads, kv_heads, queries, keys, head_dim, .. } = self.size;
        let gradient = Heads::new(gradient);
        let (of_query, of_keys) = (queries * heads * head_dim, keys * kv_heads * head_dim);
        let mut query_gradient = vec![0.0; batch * of_query];
        let mut key_gradient = vec![0.0; batch * of_keys];
        let mut value_gradient = vec![0.0; batch * of_keys];
        let gradients = query_gradient.par_chunks_mut(of_query);
        let gradients = gradients.zip(key_gradient.par_chunks_mut(of_keys)).zip(value_gradient.par_chunks_mut(of_keys));
        let texts = gradients.zip(log_sum_exp.par_chunks(heads * queries)).enumerate();
        texts.with_min_len(self.texts_at_once()).for_each(|(text, (((query, key), value), log_sum_exp))| {
            backward_text(self.text(text), self.size, gradient.of_text(text), log_sum_exp, query, key, value);
        });
        let by_time = |numbers, time, heads| tensor(numbers, [batch, time, heads, head_dim]).swap_dims(1, 2);
        [
            by_time(query_gradient, queries, heads),
            by_time(key_gradient, keys, kv_heads),
            by_time(value_gradient, keys, kv_heads),
        ]
    }

    /// Texts that are worth a thread.
    fn texts_at_once(&self) -> usize {
        let Size { heads, queries, keys, head_dim, .. } = self.size;
        (4 * PART / (heads * queries * keys * head_dim)).max(1)
    }

    fn text(&self, text: usize) -> TextInputs<'_> {
        let mask = self.additive.as_ref().map(|additive| &numbers(additive)[text * self.size.mask..]);
        TextInputs {
            query: self.query.of_text(text),
            key: self.key.of_text(text),
            value: self.value.of_text(text),
            mask,
        }
    }
}

#[derive(Clone, Copy)]
struct TextInputs<'a> {
    query: Rows<'a>,
    key: Rows<'a>,
    value: Rows<'a>,
    mask: Option<&'a [f32]>,
}

impl TextInputs<'_> {
    /// Computes the scores of the keys that a query sees.
    #[inline(always)]
    fn score<'s>(&self, size: Size, head: usize, query: usize, scores: &'s mut [f32]) -> &'s mut [f32] {
        let Size { heads, kv_heads, queries, keys, head_dim, is_causal, .. } = size;
        let seen = if is_causal { query + 1 + keys - queries } else { keys };
        let row = self.query.at(head, query, head_dim);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let scores = &mut scores[..seen];
        for at in 0..seen {
            scores[at] = scale * dot(row, self.key.at(head / (heads / kv_heads), at, head_dim));
        }
        if let Some(mask) = self.mask {
            add_scaled(scores, 1.0, &mask[query * keys..]);
        }
        scores
    }
}

/// Replaces scores by the exponentials of their distances from `origin`.
#[inline(always)]
fn exponentials(scores: &mut [f32], origin: f32) {
    for at in 0..scores.len() {
        scores[at] = exp(scores[at] - origin);
    }
}

#[macerator::with_simd]
fn forward_text<'a, S: Simd>(text: TextInputs<'a>, size: Size, output: &mut [f32], log_sum_exp: &mut [f32]) {
    let Size { heads, kv_heads, queries, keys, head_dim, .. } = size;
    let mut scores = vec![0.0; keys];
    for head in 0..heads {
        for query in 0..queries {
            let scores = text.score(size, head, query, &mut scores);
            let mut max = f32::NEG_INFINITY;
            for at in 0..scores.len() {
                max = max.max(scores[at]);
            }
            exponentials(scores, max);
            let total = sum(scores);
            log_sum_exp[head * queries + query] = max + total.ln();
            let output = &mut output[(query * heads + head) * head_dim..][..head_dim];
            for at in 0..scores.len() {
                add_scaled(output, scores[at] / total, text.value.at(head / (heads / kv_heads), at, head_dim));
            }
        }
    }
}

/// With `p` a query's weights and `g` the gradient of its output: that of the weights is `g value`, and that of the scores
/// `p (g value - sum(p g value))`.
#[macerator::with_simd]
fn backward_text<'a, S: Simd>(
    text: TextInputs<'a>,
    size: Size,
    gradients: Rows<'a>,
    log_sum_exp: &[f32],
    query_gradient: &mut [f32],
    key_gradient: &mut [f32],
    value_gradient: &mut [f32],
) {
    let Size { heads, kv_heads, queries, keys, head_dim, .. } = size;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut scores, mut pulls) = (vec![0.0; keys], vec![0.0; keys]);
    for head in 0..heads {
        let kv_head = head / (heads / kv_heads);
        for query in 0..queries {
            let scores = text.score(size, head, query, &mut scores);
            exponentials(scores, log_sum_exp[head * queries + query]);
            let gradient = gradients.at(head, query, head_dim);
            for at in 0..scores.len() {
                pulls[at] = dot(gradient, text.value.at(kv_head, at, head_dim));
            }
            let along = dot(scores, &pulls[..scores.len()]);
            let of_query = &mut query_gradient[(query * heads + head) * head_dim..][..head_dim];
            for at in 0..scores.len() {
                let (weight, place) = (scores[at], (at * kv_heads + kv_head) * head_dim);
                let of_score = scale * weight * (pulls[at] - along);
                add_scaled(of_query, of_score, text.key.at(kv_head, at, head_dim));
                add_scaled(&mut key_gradient[place..][..head_dim], of_score, text.query.at(head, query, head_dim));
                add_scaled(&mut value_gradient[place..][..head_dim], weight, gradient);
            }
        }
    }
}
