//! The only place that pads and masks: samples of different lengths become tensors.

use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// A sequence and what a learner wants of its action tokens; all vectors but `tokens` have one entry for each of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Everything read and written.
    pub tokens: Vec<u32>,
    /// Where the action tokens stand in `tokens`.
    pub at: Vec<usize>,
    /// The tokens that each was chosen among; `None` for any.
    pub allowed: Vec<Option<Arc<[u32]>>>,
    /// Log-probabilities under the policy that sampled them.
    pub log_probs: Vec<f32>,
    /// Values of the states that they were written in, when they were sampled.
    pub values: Vec<f32>,
    /// Advantages.
    pub advantages: Vec<f32>,
    /// Returns that a value head learns.
    pub returns: Vec<f32>,
}

/// Samples as tensors. Rows are padded on the right, where a causal model cannot see, so that no mask is needed; the
/// quantities of action tokens are gathered into flat vectors `[tokens]`, so that padding is not among them.
#[derive(Debug, Clone)]
pub struct ActionBatch {
    /// `[rows, time]`
    pub tokens: Tensor<2, Int>,
    /// The place in `rows * time` whose output predicts each action token: the one before it.
    pub predicted_at: Tensor<1, Int>,
    /// The action tokens.
    pub targets: Tensor<1, Int>,
    /// Which tokens each could not be, `[tokens, vocab]`; `None` where all could be any.
    pub forbidden: Option<Tensor<2, Bool>>,
    /// Log-probabilities under the policy that sampled them.
    pub log_probs: Tensor<1>,
    /// Values when they were sampled.
    pub values: Tensor<1>,
    /// Advantages.
    pub advantages: Tensor<1>,
    /// Returns.
    pub returns: Tensor<1>,
    /// The number of action tokens in the whole batch of the optimiser step, of which this may be one part: what
    /// means are taken over, so that parts add up to the whole.
    pub token_count: usize,
}

impl ActionBatch {
    /// Samples as one part of a batch that holds `token_count` action tokens.
    pub fn new(samples: &[&Sample], token_count: usize, vocab_size: usize, device: &Device) -> Self {
        let time = samples.iter().map(|sample| sample.tokens.len()).max().unwrap_or(0);
        let mut tokens = vec![0i64; samples.len() * time];
        let (mut predicted_at, mut targets) = (Vec::new(), Vec::new());
        for (row, sample) in samples.iter().enumerate() {
            let cells = tokens[row * time..].iter_mut().zip(&sample.tokens);
            cells.for_each(|(cell, &token)| *cell = i64::from(token));
            predicted_at.extend(sample.at.iter().map(|at| (row * time + at - 1) as i64));
            targets.extend(sample.at.iter().map(|&at| i64::from(sample.tokens[at])));
        }
        let count = targets.len();
        let flat = |field: fn(&Sample) -> &[f32]| {
            let values: Vec<f32> = samples.iter().flat_map(|sample| field(sample)).copied().collect();
            Tensor::<1>::from_data(TensorData::new(values, [count]), device)
        };
        let ints = |values: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device);
        Self {
            tokens: Tensor::from_data(TensorData::new(tokens, [samples.len(), time]), device),
            predicted_at: ints(predicted_at),
            targets: ints(targets),
            forbidden: forbidden(samples, count, vocab_size, device),
            log_probs: flat(|sample| &sample.log_probs),
            values: flat(|sample| &sample.values),
            advantages: flat(|sample| &sample.advantages),
            returns: flat(|sample| &sample.returns),
            token_count,
        }
    }
}

fn forbidden(samples: &[&Sample], count: usize, vocab_size: usize, device: &Device) -> Option<Tensor<2, Bool>> {
    let allowed = || samples.iter().flat_map(|sample| &sample.allowed);
    if allowed().all(Option::is_none) {
        return None;
    }
    let mut cells = vec![false; count * vocab_size];
    for (row, allowed) in cells.chunks_exact_mut(vocab_size).zip(allowed()) {
        if let Some(allowed) = allowed {
            row.fill(true);
            allowed.iter().for_each(|&token| row[token as usize] = false);
        }
    }
    Some(Tensor::from_data(TensorData::new(cells, [count, vocab_size]), device))
}
