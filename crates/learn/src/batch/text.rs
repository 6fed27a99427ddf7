//! Rows of text as tensors.

use burn::tensor::{Device, Int, Tensor};
use serde::Serialize;

use super::{Rows, ints};

/// A row of text for training or scoring: one text, or several packed end to end.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TextRow {
    /// The tokens; the last is predicted and not read.
    pub tokens: Vec<u32>,
    /// Positions in `tokens`, ascending and above 0, that count: each token is predicted from those before it.
    pub counted: Vec<usize>,
    /// Positions in `tokens`, ascending and above 0, where a text begins; it cannot attend to the texts before it.
    pub borders: Vec<usize>,
    /// Number of bytes of the counted tokens' text.
    pub bytes: usize,
}

/// Rows of text as tensors.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// The tokens that are read.
    pub read: Rows,
    /// Position in `rows * time` whose output predicts each counted token: the one before it.
    pub predicted_at: Tensor<1, Int>,
    /// The counted tokens.
    pub targets: Tensor<1, Int>,
    /// Number of counted tokens in the whole batch of the optimiser step, of which this may be one part. Means divide
    /// by it, so that parts add up to the whole.
    pub token_count: usize,
    /// Number of bytes of the counted tokens' text, likewise in the whole batch.
    pub byte_count: usize,
}

impl TextRow {
    /// A row of one text in which every token counts but the first, which is never predicted.
    pub fn whole(tokens: Vec<u32>, bytes: usize) -> Self {
        Self { counted: (1..tokens.len()).collect(), tokens, borders: Vec::new(), bytes }
    }
}

impl TextBatch {
    /// Batches rows as one part.
    pub fn whole(rows: &[TextRow], device: &Device) -> Self {
        Self::new(rows, device)
    }

    /// Batches rows into parts of at most the given size, which together form one optimiser step; 0: one part.
    pub fn parts(rows: &[TextRow], most: usize, device: &Device) -> Vec<Self> {
        let most = if most == 0 { rows.len().max(1) } else { most };
        rows.chunks(most).map(|part| Self::new(part, device)).collect()
    }

    fn new(rows: &[TextRow], device: &Device) -> Self {
        let read = Rows::packed(rows.iter().map(|row| (row.read(), row.borders.as_slice())), device);
        let [_, time] = read.dims();
        let (mut predicted_at, mut targets) = (Vec::new(), Vec::new());
        for (row, text) in rows.iter().enumerate() {
            predicted_at.extend(text.counted.iter().map(|at| (row * time + at - 1) as i64));
            targets.extend(text.counted.iter().map(|&at| i64::from(text.tokens[at])));
        }
        Self {
            read,
            predicted_at: ints(predicted_at, device),
            targets: ints(targets, device),
            token_count: counted(rows),
            byte_count: bytes(rows),
        }
    }
}

impl TextRow {
    /// Tokens before the first one that counts.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.counted.first().copied().unwrap_or(0)]
    }

    fn read(&self) -> &[u32] {
        &self.tokens[..self.tokens.len().saturating_sub(1)]
    }
}

fn counted(rows: &[TextRow]) -> usize {
    rows.iter().map(|row| row.counted.len()).sum()
}

fn bytes(rows: &[TextRow]) -> usize {
    rows.iter().map(|row| row.bytes).sum()
}
