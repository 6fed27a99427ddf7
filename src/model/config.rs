//! The shape of a model: what a person chooses, and what `config.json` records.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which published architecture the decoder follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Learned positions, LayerNorm, GELU, biases ([Radford et al. 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)).
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU, grouped-query attention, no biases ([Touvron et al. 2023](https://arxiv.org/abs/2302.13971)).
    Llama,
}

/// The shape of a decoder transformer.
///
/// ```
/// use palestra::model::ModelConfig;
///
/// let config = ModelConfig { heads: 3, width: 64, ..ModelConfig::default() };
/// assert_eq!(config.check().unwrap_err().to_string(), "model.heads: 3 does not divide model.width = 64");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The published architecture that the decoder follows.
    pub family: Family,
    /// Number of tokens; 0 takes it from the tokenizer.
    pub vocab_size: usize,
    /// The longest sequence in tokens.
    pub context: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of query heads; divides `width`.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`. 0 means as many as `heads`. GPT-2 has no fewer.
    pub kv_heads: usize,
    /// Width of the feed-forward layer; 0 means 4 times `width` (GPT-2) or 8/3 times, rounded up to a multiple of 8 (Llama).
    pub feed_forward: usize,
    /// Whether the output layer is the transpose of the token embedding.
    pub tie_embeddings: bool,
    /// What is added to the variance in a norm.
    pub norm_eps: f64,
    /// Base of the rotary frequencies (Llama).
    pub rope_theta: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            family: Family::Llama,
            vocab_size: 0,
            context: 128,
            layers: 2,
            width: 64,
            heads: 4,
            kv_heads: 0,
            feed_forward: 0,
            tie_embeddings: true,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
        }
    }
}

impl ModelConfig {
    /// Fills what was left to be derived: the vocabulary from the tokenizer, `kv_heads`, `feed_forward`.
    ///
    /// # Errors
    /// A shape that no model can have, or a vocabulary smaller than the tokenizer's.
    pub fn resolve(mut self, tokenizer_vocab: usize) -> Result<Self> {
        if self.vocab_size == 0 {
            self.vocab_size = tokenizer_vocab;
        }
        if self.vocab_size < tokenizer_vocab {
            return Err(Error::Config(format!(
                "model.vocab_size: {} is less than the tokenizer's {tokenizer_vocab} tokens",
                self.vocab_size
            )));
        }
        if self.kv_heads == 0 {
            self.kv_heads = self.heads;
        }
        if self.feed_forward == 0 {
            self.feed_forward = match self.family {
                Family::Gpt2 => 4 * self.width,
                Family::Llama => (8 * self.width).div_ceil(3).next_multiple_of(8),
            };
        }
        self.check()?;
        Ok(self)
    }

    /// Refuses a shape that no model can have.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let at_least_one =
            [("context", self.context), ("layers", self.layers), ("width", self.width), ("heads", self.heads)];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config(format!("model.{field}: 0 is no size; it must be at least 1")));
        }
        let kv_heads = if self.kv_heads == 0 { self.heads } else { self.kv_heads };
        let wrong = if !self.width.is_multiple_of(self.heads) {
            format!("model.heads: {} does not divide model.width = {}", self.heads, self.width)
        } else if !self.heads.is_multiple_of(kv_heads) {
            format!("model.kv_heads: {kv_heads} does not divide model.heads = {}", self.heads)
        } else if self.family == Family::Gpt2 && kv_heads != self.heads {
            format!("model.kv_heads: {kv_heads} is not model.heads = {}; GPT-2 has no grouped heads", self.heads)
        } else if self.family == Family::Llama && !self.head_dim().is_multiple_of(2) {
            format!(
                "model.heads: {} heads of model.width = {} are {} wide; rotary positions need an even number",
                self.heads,
                self.width,
                self.head_dim()
            )
        } else {
            return Ok(());
        };
        Err(Error::Config(wrong))
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_sizes_are_filled() {
        let llama = ModelConfig { width: 64, ..ModelConfig::default() }.resolve(20).unwrap();
        assert_eq!((llama.vocab_size, llama.kv_heads, llama.feed_forward), (20, 4, 176));
        let gpt2 = ModelConfig { family: Family::Gpt2, ..ModelConfig::default() }.resolve(20).unwrap();
        assert_eq!(gpt2.feed_forward, 256);
    }

    #[test]
    fn impossible_shapes_are_refused_by_name() {
        let refused = |config: ModelConfig| config.resolve(20).unwrap_err().to_string();
        let base = ModelConfig::default;
        assert!(refused(ModelConfig { kv_heads: 3, ..base() }).starts_with("model.kv_heads: 3 does not divide"));
        assert!(refused(ModelConfig { layers: 0, ..base() }).starts_with("model.layers: 0"));
        assert!(refused(ModelConfig { vocab_size: 7, ..base() }).starts_with("model.vocab_size: 7"));
        assert!(refused(ModelConfig { family: Family::Gpt2, kv_heads: 2, ..base() }).contains("no grouped heads"));
        assert!(refused(ModelConfig { width: 20, heads: 4, ..base() }).contains("even number"));
    }
}
