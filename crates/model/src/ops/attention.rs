use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use std::sync::OnceLock;

use super::flex::{AttentionPass, attention_fits};
use super::with_gradient_rule;

/// Mask value: added to the score of a key that a query may not see.
///
/// It is finite, so that a query that sees no key returns the average of all values instead of NaN. It is so large that
/// adding any score leaves it unchanged in 32-bit floats, and that its exponential is 0 next to that of a visible key.
const HIDDEN: f32 = -1e30;

/// Attention mask of a forward pass; built once and shared by all layers.
///
/// Causality is aligned bottom-right: query `i` sees the keys `<= i + key_len - query_len`, so that the last query
/// always sits on the last key, with and without a cache of earlier keys.
///
/// Rows of a batch that are padded on the *right* need no mask of their own when `query_len == key_len`: causality
/// already hides the padding from real queries, and the loss leaves out the outputs of padded queries.
/// [`AttentionMask::causal`] is correct for them, and fastest. Padding on the left, and padding in a cache, need
/// [`AttentionMask::padded`].
#[derive(Clone, Debug)]
pub struct AttentionMask {
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Causal alone. Implementations that need a tensor for it store it here, for the layers that follow.
    Causal { additive: OnceLock<Tensor<4>> },
    /// 0 where visible, [`HIDDEN`] elsewhere: `[batch or 1, 1, query_len, key_len]`, without autodiff.
    Additive(Tensor<4>),
}

impl AttentionMask {
    /// Causal, with every key real. Works for any lengths; a one-token query needs no mask at all.
    pub fn causal() -> Self {
        Self { rule: Rule::Causal { additive: OnceLock::new() } }
    }

    /// Causal, without the keys that are padding: `key_is_real` is `[batch, key_len]`, and covers cached keys too.
    ///
    /// A query that sees no key, such as padding on the left, returns the average of all values. That has no meaning,
    /// but it is finite, and so are the gradients; a loss that leaves out such queries gets nothing from them.
    ///
    /// # Panics
    /// If `query_len > key_len`.
    pub fn padded(key_is_real: Tensor<2, Bool>, query_len: usize) -> Self {
        let [batch, key_len] = key_is_real.dims();
        let hidden = hidden_by_causality(query_len, key_len, &key_is_real.device().inner())
            .reshape([1, 1, query_len, key_len])
            .expand([batch, 1, query_len, key_len]);
        let padding = key_is_real.inner().bool_not().reshape([batch, 1, 1, key_len]);
        Self::from_hidden(hidden.bool_or(padding.expand([batch, 1, query_len, key_len])))
    }

    /// Any rule: `visible` is `[batch or 1, 1, query_len, key_len]`, true where the query sees the key.
    ///
    /// Causality is not added: several texts packed into one row, say, are `causal & same_text`.
    pub fn from_visible(visible: Tensor<4, Bool>) -> Self {
        Self::from_hidden(visible.inner().bool_not())
    }

    /// Rows of a cache, whose keys stand at their positions: query `i` of row `r` is at position `starts[r] + i`, and sees
    /// the keys up to its own; with a `window` above 0 the last `window` of them.
    pub fn in_cache(starts: &[usize], query_len: usize, key_len: usize, window: usize, device: &Device) -> Self {
        let sees_all = window == 0 || key_len <= window;
        if sees_all && starts.iter().all(|start| start + query_len == key_len) {
            return Self::causal();
        }
        let mut cells = vec![HIDDEN; starts.len() * query_len * key_len];
        let queries = starts.iter().flat_map(|start| (0..query_len).map(move |i| start + i));
        for (keys, position) in cells.chunks_exact_mut(key_len).zip(queries) {
            let first = if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
            keys[first.min(key_len - 1)..key_len.min(position + 1)].fill(0.0);
        }
        let shape = [starts.len(), 1, query_len, key_len];
        Self { rule: Rule::Additive(Tensor::from_data(TensorData::new(cells, shape), &device.clone().inner())) }
    }

    /// As this mask, and without the keys that lie `window` or more before the query
    /// ([Beltagy et al. 2020](https://arxiv.org/abs/2004.05150), section 3.1). Padding moves queries and keys alike, so
    /// that columns stand for positions, unless these are given, `[batch, key_len]`, of queries that are all keys.
    pub fn within(
        &self,
        window: usize,
        [query_len, key_len]: [usize; 2],
        positions: Option<&Tensor<2, Int>>,
        device: &Device,
    ) -> Self {
        let device = device.clone().inner();
        let too_far = match positions.filter(|_| query_len == key_len) {
            Some(positions) => {
                let positions = positions.clone().inner();
                let distances: Tensor<3, Int> =
                    positions.clone().unsqueeze_dim::<3>(2) - positions.unsqueeze_dim::<3>(1);
                distances.greater_equal_scalar(window as i64).unsqueeze_dim(1)
            }
            None => {
                let last_hidden = (key_len - query_len) as i64 - window as i64; // of the first query
                let seen = Tensor::<2, Bool>::tril_mask([query_len, key_len], last_hidden, &device);
                seen.bool_not().reshape([1, 1, query_len, key_len])
            }
        };
        let [hidden, ..] = too_far.dims();
        let mine = match self.additive(query_len, key_len, &device) {
            Some(mine) => mine,
            None => Tensor::zeros([1, 1, query_len, key_len], &device),
        };
        let [batch, ..] = mine.dims();
        let shape = [batch.max(hidden), 1, query_len, key_len];
        Self { rule: Rule::Additive(mine.expand(shape).mask_fill(too_far.expand(shape), HIDDEN)) }
    }

    fn from_hidden(hidden: Tensor<4, Bool>) -> Self {
        Self { rule: Rule::Additive(additive(hidden)) }
    }

    /// True if the mask is causal and nothing else.
    pub(super) fn is_causal(&self) -> bool {
        matches!(self.rule, Rule::Causal { .. })
    }

    /// The tensor to add to scores, `[batch or 1, 1, query_len, key_len]`; `None` where every key is visible.
    pub(super) fn additive(&self, query_len: usize, key_len: usize, device: &Device) -> Option<Tensor<4>> {
        match &self.rule {
            Rule::Causal { .. } if query_len == 1 => None,
            Rule::Causal { additive: shared } => {
                let build = || {
                    let hidden = hidden_by_causality(query_len, key_len, &device.clone().inner());
                    additive(hidden.reshape([1, 1, query_len, key_len]))
                };
                let tensor = shared.get_or_init(build).clone();
                // Sharing a mask between passes of different lengths costs speed, not correctness.
                Some(if tensor.dims() == [1, 1, query_len, key_len] { tensor } else { build() })
            }
            Rule::Additive(tensor) => {
                let [_, _, mask_query_len, mask_key_len] = tensor.dims();
                assert_eq!(
                    [mask_query_len, mask_key_len],
                    [query_len, key_len],
                    "the attention mask was built for other query and key lengths"
                );
                Some(tensor.clone())
            }
        }
    }
}

/// Scaled dot-product attention with grouped key-value heads.
///
/// `softmax(query @ key^T / sqrt(head_dim) + mask) @ value` (Vaswani et al. 2017, equation 1), where query head `h`
/// uses key-value head `h / (heads / kv_heads)` (Ainslie et al. 2023).
///
/// `query` is `[batch, heads, query_len, head_dim]`; `key` and `value` are `[batch, kv_heads, key_len, head_dim]`.
/// Returns `[batch, heads, query_len, head_dim]`. Works on every device, with and without autodiff; on a libtorch CPU
/// it runs libtorch's fused kernel, which gains nothing for a single query; for short texts on flex it goes over them head
/// by head; elsewhere it is [`attention_composed`].
///
/// # Panics
/// If the shapes do not fit each other or the mask.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    #[cfg(feature = "libtorch")]
    if query.dims()[2] > 1 && super::libtorch::is_libtorch_cpu(&query.device()) {
        check_shapes(&query, &key, &value);
        return super::libtorch::attention(query, key, value, mask);
    }
    if attention_fits(&query, &key) {
        check_shapes(&query, &key, &value);
        return attention_by_heads([query, key, value], mask);
    }
    attention_composed(query, key, value, mask)
}

/// [`attention`] on flex, of which nothing but the inputs and a number for each query is kept for the backward pass.
fn attention_by_heads(inputs: [Tensor<4>; 3], mask: &AttentionMask) -> Tensor<4> {
    let [batch, ..] = inputs[0].dims();
    if !inputs[0].is_autodiff() {
        let [query, key, value] = inputs;
        return AttentionPass::new(query, key, value, mask).forward(batch).0;
    }
    let [query, key, value] = inputs.each_ref().map(|input| input.clone().inner());
    let pass = AttentionPass::new(query, key, value, mask);
    let (output, log_sum_exp) = pass.forward(batch);
    let rule = move |gradient: Tensor<4>, _| pass.backward(&log_sum_exp, gradient).map(Some).into();
    with_gradient_rule(inputs, output, Box::new(rule))
}

/// [`attention`] in its portable form: matrix products and a softmax.
pub fn attention_composed(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    check_shapes(&query, &key, &value);
    let [batch, heads, query_len, head_dim] = query.dims();
    let [_, kv_heads, key_len, _] = key.dims();
    let additive = mask.additive(query_len, key_len, &query.device());

    // The queries of the heads that share a key-value head are rows of one matrix: nothing is repeated.
    let rows = heads / kv_heads * query_len;
    let query = query.mul_scalar(1.0 / (head_dim as f64).sqrt());
    let scores = query.reshape([batch, kv_heads, rows, head_dim]).matmul(key.transpose());
    let scores = scores.reshape([batch, heads, query_len, key_len]);
    let scores = match additive {
        Some(additive) => scores + additive,
        None => scores,
    };
    let weights = softmax(scores, 3).reshape([batch, kv_heads, rows, key_len]);
    weights.matmul(value).reshape([batch, heads, query_len, head_dim])
}

fn check_shapes(query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>) {
    let [batch, heads, query_len, head_dim] = query.dims();
    let [key_batch, kv_heads, key_len, key_dim] = key.dims();
    assert_eq!(key.dims(), value.dims(), "key and value differ in shape");
    assert_eq!([batch, head_dim], [key_batch, key_dim], "query and key differ in batch or head_dim");
    assert_eq!(heads % kv_heads, 0, "{heads} heads cannot share {kv_heads} key-value heads evenly");
    assert!(query_len <= key_len, "{query_len} queries, but only {key_len} keys");
}

/// `[query_len, key_len]`, true where the key lies after the query.
fn hidden_by_causality(query_len: usize, key_len: usize, device: &Device) -> Tensor<2, Bool> {
    assert!(query_len <= key_len, "{query_len} queries, but only {key_len} keys");
    Tensor::tril_mask([query_len, key_len], (key_len - query_len) as i64, device)
}

fn additive(hidden: Tensor<4, Bool>) -> Tensor<4> {
    Tensor::zeros(hidden.shape(), &hidden.device()).mask_fill(hidden, HIDDEN)
}

#[cfg(test)]
mod tests;
