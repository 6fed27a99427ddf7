use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Score of a forbidden token. Its probability is 0 beside that of any other, and finite in every sum.
pub(super) const FORBIDDEN: f32 = -1e9;

/// Tokens that each row may choose among, as lists: a mask of all rows would be as large as their logits.
#[derive(Clone, Debug)]
pub struct AllowedTokens {
    rows: Arc<[Option<Arc<[u32]>>]>,
}

impl AllowedTokens {
    /// Takes the tokens of each row, `None` for any. Returns `None` if every row may choose any token.
    pub fn new(rows: impl IntoIterator<Item = Option<Arc<[u32]>>>) -> Option<Self> {
        let rows: Arc<[_]> = rows.into_iter().collect();
        rows.iter().any(Option::is_some).then_some(Self { rows })
    }

    /// Number of rows.
    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    /// Those of the first rows; `None` if they all may choose any token.
    pub fn first(&self, count: usize) -> Option<Self> {
        Self::new(self.rows[..count].iter().cloned())
    }

    /// Gives forbidden tokens a score so low that their probability is 0. `scores`, `[rows, vocab]`, are of the given rows.
    pub fn mask(&self, scores: Tensor<2>, rows: Range<usize>) -> Tensor<2> {
        match self.forbidden(rows, scores.dims()[1], &scores.device()) {
            Some(forbidden) => scores.mask_fill(forbidden, FORBIDDEN),
            None => scores,
        }
    }

    /// Mask of the given rows, `[rows, vocab]`, true for a token that is not allowed; `None` if they all allow any.
    pub fn forbidden(&self, rows: Range<usize>, vocab: usize, device: &Device) -> Option<Tensor<2, Bool>> {
        let rows = &self.rows[rows];
        if rows.iter().all(Option::is_none) {
            return None;
        }
        let mut cells = vec![false; rows.len() * vocab];
        for (cells, allowed) in cells.chunks_exact_mut(vocab).zip(rows) {
            if let Some(allowed) = allowed {
                cells.fill(true);
                // A token that the model has and its tokenizer has not is beyond the row, and never chosen.
                let cells_of_tokens = allowed.iter().map(|&token| token as usize).filter(|&token| token < vocab);
                cells_of_tokens.for_each(|token| cells[token] = false);
            }
        }
        Some(Tensor::from_data(TensorData::new(cells, [rows.len(), vocab]), device))
    }
}
