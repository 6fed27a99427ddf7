//! Tokens that a model writes, of those that it has logits for.

use std::sync::Arc;

use burn::tensor::{IndexingUpdateOp, Tensor};

use super::allowed::FORBIDDEN;

/// Tokens that a model writes: those of its tokenizer. Many models have more logits than their tokenizer has ids, and
/// some tokenizers have no token for an id between others, a hole. Neither has a probability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputVocabulary {
    size: usize,
    holes: Arc<[u32]>,
}

impl OutputVocabulary {
    /// The ids below `size` but for the holes.
    ///
    /// # Panics
    /// If a hole is not below `size`, or no id is left.
    pub fn new(size: usize, holes: &[u32]) -> Self {
        assert!(holes.iter().all(|&hole| (hole as usize) < size), "a hole is beyond the vocabulary");
        assert!(holes.len() < size, "a vocabulary without tokens");
        Self { size, holes: holes.into() }
    }

    /// The ids below `size`, without a hole.
    pub fn whole(size: usize) -> Self {
        Self::new(size, &[])
    }

    /// Largest id plus one.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Scores of ids below the size, of those of all logits: `[rows, logits]` to `[rows, size]`. A hole gets a score so
    /// low that its probability is 0.
    pub fn scores(&self, all: Tensor<2>) -> Tensor<2> {
        self.without_holes(if all.dims()[1] == self.size { all } else { all.narrow(1, 0, self.size) })
    }

    /// Scores `[rows, size]` with those of holes so low that their probability is 0.
    pub(super) fn without_holes(&self, scores: Tensor<2>) -> Tensor<2> {
        if self.holes.is_empty() {
            return scores;
        }
        let ([rows, _], device) = (scores.dims(), scores.device());
        let holes: Vec<i32> = self.holes.iter().map(|&hole| hole as i32).collect();
        let low = Tensor::full([rows, holes.len()], FORBIDDEN, &device);
        scores.select_assign(1, Tensor::from_ints(holes.as_slice(), &device), low, IndexingUpdateOp::Add)
    }
}
