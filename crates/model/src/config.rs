//! The shape of a model: the settings that a user chooses and that `config.json` records.

use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use super::families::{self, Activation, Family};
use super::rope_scaling::RopeScaling;
use crate::{Error, Result};

/// GELU variant of a GPT-2 or Gemma ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)).
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
    /// Width of the feed-forward layer; 0 means 4 times `width` (GPT-2) or 8/3 times, rounded up to a multiple of 8 (the
    /// others).
    pub feed_forward: usize,
    /// True if the output layer is the transpose of the token embedding.
    pub tie_embeddings: bool,
    /// Epsilon added to the variance in a norm, above 0.
    pub norm_eps: f64,
    /// Base of the rotary frequencies, above 0. GPT-2 has none.
    pub rope_theta: f64,
    /// Maximum number of tokens that each token attends to, itself included (Mistral); 0 means all. GPT-2 attends to
    /// all.
    pub sliding_window: usize,
    /// Layers, counted from 0 and ascending, that attend to all tokens where the others have the window (Gemma 3, Qwen2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub full_attention_layers: Vec<usize>,
    /// Base of the rotary frequencies of the layers that have the window, above 0 (Gemma 3); 0 means `rope_theta`. These
    /// layers have no `rope_scaling` then.
    #[serde(skip_serializing_if = "is_zero")]
    pub local_rope_theta: f64,
    /// Layers, counted from 0 and ascending, without positions (SmolLM3).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_rope_layers: Vec<usize>,
    /// Part of each head that is rotated, above 0 and at most 1 (Phi-3).
    #[serde(skip_serializing_if = "is_one")]
    pub partial_rotary_factor: f64,
    /// Attention's scores are divided by the root of this number (Gemma 3); 0 means the width of a head.
    #[serde(skip_serializing_if = "is_none")]
    pub query_pre_attn_scalar: usize,
    /// Cap c of the logits, which become `c tanh(logits / c)` (Gemma 3); 0 means none.
    #[serde(skip_serializing_if = "is_zero")]
    pub final_logit_softcapping: f64,
    /// True if query, key and value have biases (Qwen2); GPT-2 always has all biases.
    pub qkv_bias: bool,
    /// True if attention's output layer has a bias.
    pub output_bias: bool,
    /// True if the layers of the feed-forward have biases.
    pub mlp_bias: bool,
    /// True if each head's query and key pass an RMSNorm before the rotation (Qwen3).
    pub qk_norm: bool,
    /// Activation of GPT-2 and of Gemma's gate.
    pub gelu: Gelu,
    /// Scaling of rotary positions. GPT-2 has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Mixture of experts in place of the feed-forward layers (Qwen3 MoE, Mixtral).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsConfig>,
}

/// A mixture of experts: each token passes the few feed-forward layers that a router selects for it
/// ([Shazeer et al. 2017](https://arxiv.org/abs/1701.06538)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpertsConfig {
    /// Number of experts in a layer, at least 1.
    pub count: usize,
    /// Number of experts that a token passes, at least 1 and at most `count`.
    pub per_token: usize,
    /// Width of an expert; 0 means `model.feed_forward`.
    pub feed_forward: usize,
    /// True if the weights of a token's experts sum to 1, as in Mixtral; otherwise they are their probabilities among all.
    pub norm_topk_prob: bool,
    /// Layers, counted from 0 and ascending, with a feed-forward layer in place of experts.
    pub dense_layers: Vec<usize>,
    /// Weight of the loss that balances the use of experts. It is kept for `config.json`; training here does not compute
    /// this loss, nor does transformers unless `output_router_logits` is set.
    pub router_aux_loss_coef: f64,
}

impl Default for ExpertsConfig {
    fn default() -> Self {
        Self {
            count: 8,
            per_token: 2,
            feed_forward: 0,
            norm_topk_prob: true,
            dense_layers: Vec::new(),
            router_aux_loss_coef: 0.0,
        }
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            family: Family::Llama,
            vocab_size: 0,
            context: 256,
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
            full_attention_layers: Vec::new(),
            local_rope_theta: 0.0,
            no_rope_layers: Vec::new(),
            partial_rotary_factor: 1.0,
            query_pre_attn_scalar: 0,
            final_logit_softcapping: 0.0,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            gelu: Gelu::Exact,
            rope_scaling: None,
            experts: None,
        }
    }
}

impl ModelConfig {
    /// Fills in the fields that are left to be derived: the vocabulary from the tokenizer, the family of a Llama's relative,
    /// `kv_heads`, `feed_forward`.
    ///
    /// # Errors
    /// A shape that no model can have, or a vocabulary smaller than the tokenizer's.
    pub fn resolve(mut self, tokenizer_vocab: usize) -> Result<Self> {
        self = families::of(&self).map_err(Error::Config)?.fixed(&self);
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
            self.feed_forward = match self.decoder().activation {
                Activation::Gelu => 4 * self.width,
                Activation::SwiGlu | Activation::GeGlu => (8 * self.width).div_ceil(3).next_multiple_of(8),
            };
        }
        if let Some(experts) = self.experts.as_mut().filter(|experts| experts.feed_forward == 0) {
            experts.feed_forward = self.feed_forward;
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
                ("context", &self.context, Range::between(1.0, 1e9)),
                ("layers", &self.layers, Range::between(1.0, 1e5)),
                ("width", &self.width, Range::between(1.0, 1e7)),
                ("heads", &self.heads, Range::between(1.0, 1e7)),
                ("kv_heads", &self.kv_heads, Range::at_most(1e7)),
                ("head_dim", &self.head_dim, Range::at_most(1e7)),
                ("feed_forward", &self.feed_forward, Range::at_most(1e9)),
                ("vocab_size", &self.vocab_size, Range::at_most(1e9)),
                ("norm_eps", &self.norm_eps, Range::POSITIVE),
                ("rope_theta", &self.rope_theta, Range::POSITIVE),
                ("local_rope_theta", &self.local_rope_theta, Range::AT_LEAST_ZERO),
                ("final_logit_softcapping", &self.final_logit_softcapping, Range::AT_LEAST_ZERO),
            ],
        )?;
        check_ranges("model", &[("partial_rotary_factor", &self.partial_rotary_factor, Range::above_to(0.0, 1.0))])?;
        let kv_heads = if self.kv_heads == 0 { self.heads } else { self.kv_heads };
        if self.head_dim == 0 && !self.width.is_multiple_of(self.heads) {
            let reason = format!("model.heads: {} does not divide model.width = {}", self.heads, self.width);
            return Err(Error::Config(reason));
        }
        if !self.heads.is_multiple_of(kv_heads) {
            let reason = format!("model.kv_heads: {kv_heads} does not divide model.heads = {}", self.heads);
            return Err(Error::Config(reason));
        }
        families::of(self).map_err(Error::Config)?;
        if self.sliding_window == 0 && (!self.full_attention_layers.is_empty() || self.local_rope_theta > 0.0) {
            let reason = "model.sliding_window: 0, and full_attention_layers or local_rope_theta need a window";
            return Err(Error::Config(reason.into()));
        }
        for (field, layers) in [
            ("full_attention_layers", &self.full_attention_layers),
            ("no_rope_layers", &self.no_rope_layers),
            ("experts.dense_layers", self.experts.as_ref().map_or(&Vec::new(), |experts| &experts.dense_layers)),
        ] {
            let is_ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
            if !is_ascending || layers.last().is_some_and(|&last| last >= self.layers) {
                return Err(Error::Config(format!(
                    "model.{field}: {layers:?} is no ascending list of layers from 0 to {}",
                    self.layers - 1
                )));
            }
        }
        if let Some(ExpertsConfig { count, per_token, .. }) = &self.experts {
            check_ranges(
                "model.experts",
                &[("count", count, Range::AT_LEAST_ONE), ("per_token", per_token, Range::between(1.0, *count as f64))],
            )?;
        }
        if self.decoder().learned_positions {
            return Ok(());
        }
        let rotary = self.rotary_dim();
        if rotary == 0 || !rotary.is_multiple_of(2) {
            return Err(Error::Config(format!(
                "model.heads: {} heads of model.width = {} are {rotary} wide{}; rotary positions need an even number",
                self.heads,
                self.width,
                if rotary == self.head_dim() { "" } else { " where they are rotated" }
            )));
        }
        self.rope_scaling.as_ref().map_or(Ok(()), |scaling| scaling.check(rotary))
    }

    /// Hugging Face's `model_type` for this shape; `None` for a mixture of features that none of its architectures has.
    pub fn model_type(&self) -> Option<&'static str> {
        families::of(self).ok().map(|rules| rules.model_type)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        if self.head_dim == 0 { self.width / self.heads } else { self.head_dim }
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
    fn a_llama_with_the_features_of_a_relative_is_that_relative() {
        let family = |config: ModelConfig| config.resolve(20).unwrap().family;
        let base = ModelConfig::default;
        assert_eq!(family(base()), Family::Llama);
        assert_eq!(family(ModelConfig { qkv_bias: true, output_bias: true, ..base() }), Family::Llama);
        assert_eq!(family(ModelConfig { sliding_window: 9, ..base() }), Family::Mistral);
        assert_eq!(family(ModelConfig { qkv_bias: true, ..base() }), Family::Qwen2);
        assert_eq!(family(ModelConfig { qk_norm: true, ..base() }), Family::Qwen3);
        assert_eq!(family(ModelConfig { qk_norm: true, sliding_window: 9, ..base() }), Family::Qwen3);
        let named = ModelConfig { family: Family::Qwen3, ..base() }.resolve(20).unwrap();
        assert!(named.qk_norm, "what all models of a family have need not be said");
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
            experts: Some(ExpertsConfig::default()),
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
        let message = refused(ModelConfig { family: Family::Gpt2, qk_norm: true, ..base() });
        assert_eq!(message, "model.qk_norm: gpt2 has none; leave it out");
        assert!(refused(ModelConfig { gelu: Gelu::Tanh, ..base() }).contains("model.gelu: llama has none"));
        let mixed = refused(ModelConfig { mlp_bias: true, sliding_window: 9, ..base() });
        assert!(mixed.contains("qk_norm = false and sliding_window = 9 together"), "{mixed}");
        let message = refused(ModelConfig { no_rope_layers: vec![1], ..base() });
        assert_eq!(message, "model.no_rope_layers: llama has none; leave it out, or name another model.family");
        let message = refused(ModelConfig { family: Family::SmolLm3, no_rope_layers: vec![1, 2], ..base() });
        assert_eq!(message, "model.no_rope_layers: [1, 2] is no ascending list of layers from 0 to 1");
        let message = refused(ModelConfig { family: Family::Gemma3, local_rope_theta: 10.0, ..base() });
        assert!(message.starts_with("model.sliding_window: 0, and full_attention_layers or"), "{message}");
        let message = refused(ModelConfig { family: Family::Olmo2, qkv_bias: true, ..base() });
        assert_eq!(message, "model.output_bias: false and model.qkv_bias = true; olmo2 has both or none");
        let message = refused(ModelConfig { family: Family::Phi3, partial_rotary_factor: 0.2, ..base() });
        assert!(message.contains("are 3 wide where they are rotated; rotary positions need an even"), "{message}");
        let experts = |experts| ModelConfig { family: Family::Mixtral, experts: Some(experts), ..base() };
        let message = refused(experts(ExpertsConfig { count: 4, per_token: 5, ..ExpertsConfig::default() }));
        assert!(message.starts_with("model.experts.per_token: 5"), "{message}");
        let message = refused(experts(ExpertsConfig { dense_layers: vec![0], ..ExpertsConfig::default() }));
        assert_eq!(message, "model.experts.dense_layers: mixtral has none; leave it out");
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
