//! The shape of a model: the settings that a user chooses and that `config.json` records.

use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::architecture::{self, Architecture, Features};
use super::rope_scaling::RopeScaling;
use crate::{Error, Result};

/// Published architecture that the decoder follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Learned positions, LayerNorm, GELU, biases ([Radford et al. 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)).
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU, grouped-query attention ([Touvron et al. 2023](https://arxiv.org/abs/2302.13971)).
    /// Mistral, Qwen2, Qwen3 and SmolLM are Llamas with a window, biases or norms, which have fields of their own.
    Llama,
}

/// GELU variant of a GPT-2 ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    /// `x Phi(x)`.
    #[default]
    Exact,
    /// Approximation by tanh, as in the published GPT-2 models; at most 0.0005 away from the exact form.
    Tanh,
}

/// The shape of a decoder transformer.
///
/// ```
/// use palestra_model::ModelConfig;
///
/// let config = ModelConfig { heads: 3, width: 64, ..ModelConfig::default() };
/// assert_eq!(config.check().unwrap_err().to_string(), "model.heads: 3 does not divide model.width = 64");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Published architecture that the decoder follows.
    pub family: Family,
    /// Number of tokens; 0 takes it from the tokenizer.
    pub vocab_size: usize,
    /// Maximum sequence length in tokens, at least 1.
    pub context: usize,
    /// Number of blocks, at least 1.
    pub layers: usize,
    /// Width of the residual stream, at least 1.
    pub width: usize,
    /// Number of query heads, at least 1; divides `width`, unless `head_dim` is given.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`. 0 means as many as `heads`. GPT-2 always has as many as `heads`.
    pub kv_heads: usize,
    /// Width of one head; 0 means `width / heads`, the only choice for GPT-2.
    pub head_dim: usize,
    /// Width of the feed-forward layer; 0 means 4 times `width` (GPT-2) or 8/3 times, rounded up to a multiple of 8 (Llama).
    pub feed_forward: usize,
    /// True if the output layer is the transpose of the token embedding.
    pub tie_embeddings: bool,
    /// Epsilon added to the variance in a norm, above 0.
    pub norm_eps: f64,
    /// Base of the rotary frequencies (Llama), above 0.
    pub rope_theta: f64,
    /// Maximum number of tokens that each token attends to, itself included (Mistral); 0 means all. GPT-2 attends to
    /// all.
    pub sliding_window: usize,
    /// True if query, key and value have biases (Qwen2); GPT-2 always has all biases.
    pub qkv_bias: bool,
    /// True if attention's output layer has a bias.
    pub output_bias: bool,
    /// True if the layers of the feed-forward have biases.
    pub mlp_bias: bool,
    /// True if each head's query and key pass an RMSNorm before the rotation (Qwen3).
    pub qk_norm: bool,
    /// Activation of GPT-2.
    pub gelu: Gelu,
    /// Scaling of rotary positions (Llama).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
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
            head_dim: 0,
            feed_forward: 0,
            tie_embeddings: true,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            sliding_window: 0,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            gelu: Gelu::Exact,
            rope_scaling: None,
        }
    }
}

impl ModelConfig {
    /// Fills in the fields that are left to be derived: the vocabulary from the tokenizer, `kv_heads`, `feed_forward`.
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

    /// Checks that the shape is a possible one.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        check_ranges(
            "model",
            &[
                ("context", &self.context, Range::AT_LEAST_ONE),
                ("layers", &self.layers, Range::AT_LEAST_ONE),
                ("width", &self.width, Range::AT_LEAST_ONE),
                ("heads", &self.heads, Range::AT_LEAST_ONE),
                ("norm_eps", &self.norm_eps, Range::POSITIVE),
                ("rope_theta", &self.rope_theta, Range::POSITIVE),
            ],
        )?;
        let kv_heads = if self.kv_heads == 0 { self.heads } else { self.kv_heads };
        let is_gpt2 = self.family == Family::Gpt2;
        let wrong = if self.head_dim == 0 && !self.width.is_multiple_of(self.heads) {
            format!("model.heads: {} does not divide model.width = {}", self.heads, self.width)
        } else if !self.heads.is_multiple_of(kv_heads) {
            format!("model.kv_heads: {kv_heads} does not divide model.heads = {}", self.heads)
        } else if is_gpt2 && kv_heads != self.heads {
            format!("model.kv_heads: {kv_heads} is not model.heads = {}; GPT-2 has no grouped heads", self.heads)
        } else if let Some(field) = self.beyond_gpt2().filter(|_| is_gpt2) {
            format!("model.{field}: GPT-2 has none; leave it out, or set model.family = \"llama\"")
        } else if !is_gpt2 && self.gelu != Gelu::Exact {
            "model.gelu: only GPT-2 has one; leave it out, or set model.family = \"gpt2\"".to_string()
        } else if !is_gpt2 && !self.head_dim().is_multiple_of(2) {
            format!(
                "model.heads: {} heads of model.width = {} are {} wide; rotary positions need an even number",
                self.heads,
                self.width,
                self.head_dim()
            )
        } else if self.model_type().is_none() {
            let &Self { qkv_bias, output_bias, mlp_bias, qk_norm, sliding_window, .. } = self;
            format!(
                "model: no published architecture has qkv_bias = {qkv_bias}, output_bias = {output_bias}, mlp_bias = \
                 {mlp_bias}, qk_norm = {qk_norm} and sliding_window = {sliding_window} together; Llama has all biases \
                 or none, Mistral the window, Qwen2 qkv_bias, Qwen3 qk_norm"
            )
        } else {
            return self.rope_scaling.as_ref().map_or(Ok(()), |scaling| scaling.check(self.head_dim()));
        };
        Err(Error::Config(wrong))
    }

    /// Hugging Face's `model_type` for this shape; `None` for a mixture of features that none of its architectures has.
    pub fn model_type(&self) -> Option<&'static str> {
        match self.family {
            Family::Gpt2 => Some("gpt2"),
            Family::Llama => self.architecture().map(|architecture| architecture.model_type),
        }
    }

    /// The simplest architecture of the Llama family that supports every feature of this shape.
    pub(super) fn architecture(&self) -> Option<&'static Architecture> {
        let &Self { qkv_bias, output_bias, mlp_bias, qk_norm, sliding_window, .. } = self;
        let sliding_window = sliding_window > 0;
        architecture::with_features(Features { qkv_bias, output_bias, mlp_bias, qk_norm, sliding_window })
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        if self.head_dim == 0 { self.width / self.heads } else { self.head_dim }
    }

    /// First field that is set and that GPT-2 does not support.
    fn beyond_gpt2(&self) -> Option<&'static str> {
        let set = [
            ("head_dim", self.head_dim != 0 && self.head_dim * self.heads != self.width),
            ("sliding_window", self.sliding_window > 0),
            ("qkv_bias", self.qkv_bias),
            ("output_bias", self.output_bias),
            ("mlp_bias", self.mlp_bias),
            ("qk_norm", self.qk_norm),
            ("rope_scaling", self.rope_scaling.is_some()),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(field, _)| field)
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
    fn a_head_may_have_a_width_of_its_own() {
        let config = ModelConfig { width: 30, heads: 4, head_dim: 16, ..ModelConfig::default() }.resolve(20).unwrap();
        assert_eq!(config.head_dim(), 16);
    }

    #[test]
    fn the_shape_is_written_as_it_is_read() {
        let config = ModelConfig {
            rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }),
            sliding_window: 7,
            ..ModelConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("[rope_scaling]\ntype = \"linear\"\nfactor = 2.0"), "{text}");
        assert_eq!(toml::from_str::<ModelConfig>(&text).unwrap(), config);
        let yarn = "rope_scaling = { type = 'yarn', factor = 4.0, original_context = 32 }";
        let RopeScaling::Yarn { beta_fast, beta_slow, truncate, .. } =
            toml::from_str::<ModelConfig>(yarn).unwrap().rope_scaling.unwrap()
        else {
            panic!("YaRN")
        };
        assert_eq!((beta_fast, beta_slow, truncate), (32.0, 1.0, true));
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
        assert!(
            refused(ModelConfig { family: Family::Gpt2, qk_norm: true, ..base() }).contains("model.qk_norm: GPT-2")
        );
        assert!(refused(ModelConfig { gelu: Gelu::Tanh, ..base() }).contains("model.gelu: only GPT-2"));
        let mixed = refused(ModelConfig { qk_norm: true, sliding_window: 9, ..base() });
        assert!(mixed.contains("qk_norm = true and sliding_window = 9 together"), "{mixed}");
        let scaling = |rope_scaling| ModelConfig { rope_scaling: Some(rope_scaling), ..base() };
        let message = refused(scaling(RopeScaling::Linear { factor: 0.5 }));
        assert_eq!(message, "model.rope_scaling.factor: 0.5 is not at least 1");
        let pairs = RopeScaling::LongRope {
            short_factor: vec![1.0; 8],
            long_factor: vec![1.0; 7],
            original_context: 64,
            attention_factor: None,
        };
        let message = refused(scaling(pairs));
        assert_eq!(message, "model.rope_scaling.long_factor: has 7 numbers, and a head has 8 pairs");
        let llama3 =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 4.0, high_freq_factor: 1.0, original_context: 64 };
        assert!(refused(scaling(llama3)).ends_with("rope_scaling.high_freq_factor: 1 is not above 4"));
    }
}
