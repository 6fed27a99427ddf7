//! The families of models that the decoder can be, one file each: what differs from the others.
//!
//! A family says which parts its decoder has, how its `config.json` is read and written, and how its weights are named.
//! A new one is a file, its line in [`FAMILIES`], and its name in [`Family`].

mod gemma3;
mod gpt2;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Gelu, ModelConfig};

/// Every family. The first of those that a shape with `family = "llama"` fits is the one that it is written as.
pub(crate) static FAMILIES: [&FamilyRules; 11] = [
    &gpt2::GPT2,
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen3_moe::QWEN3_MOE,
    &mixtral::MIXTRAL,
    &gemma3::GEMMA3,
    &phi3::PHI3,
    &smollm3::SMOLLM3,
    &olmo2::OLMO2,
];

/// Families that a shape with `family = "llama"` can be: Llamas with a window, biases or norms, which are fields of their
/// own.
const LLAMAS: [Family; 4] = [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3];

/// Published architecture that the decoder follows, by Hugging Face's `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Learned positions, LayerNorm, GELU, biases ([Radford et al. 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)).
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU, grouped-query attention ([Touvron et al. 2023](https://arxiv.org/abs/2302.13971)).
    /// With `sliding_window`, `qkv_bias` or `qk_norm` it is a Mistral, Qwen2 or Qwen3.
    Llama,
    /// A Llama with a sliding window ([Jiang et al. 2023](https://arxiv.org/abs/2310.06825)).
    Mistral,
    /// A Llama with biases of query, key and value ([Yang et al. 2024](https://arxiv.org/abs/2407.10671)).
    Qwen2,
    /// A Llama with norms of queries and keys ([Yang et al. 2025](https://arxiv.org/abs/2505.09388)).
    Qwen3,
    /// A Qwen3 with a mixture of experts.
    Qwen3Moe,
    /// A Mistral with a mixture of experts ([Jiang et al. 2024](https://arxiv.org/abs/2401.04088)).
    Mixtral,
    /// Gemma 3 of texts: norms around each sublayer, local and global layers
    /// ([Gemma Team 2025](https://arxiv.org/abs/2503.19786)).
    #[serde(rename = "gemma3_text")]
    Gemma3,
    /// Phi-3 and Phi-4-mini: LongRoPE, a window ([Abdin et al. 2024](https://arxiv.org/abs/2404.14219)).
    Phi3,
    /// A Llama with layers without positions ([Bakouch et al. 2025](https://huggingface.co/blog/smollm3)).
    #[serde(rename = "smollm3")]
    SmolLm3,
    /// OLMo 2: norms behind each sublayer, and of whole queries and keys
    /// ([OLMo Team 2025](https://arxiv.org/abs/2501.00656)).
    Olmo2,
}

/// All that differs between families.
pub(crate) struct FamilyRules {
    pub family: Family,
    /// Hugging Face's `model_type`.
    pub model_type: &'static str,
    /// Hugging Face's class, for the field `architectures`.
    pub class: &'static str,
    pub decoder: Decoder,
    /// Fields of a shape that its models may set, beside those that every family has; see [`ModelConfig::features`].
    pub optional: &'static [&'static str],
    /// Sets the fields that all of its models share.
    pub fix: fn(&mut ModelConfig),
    pub names: Names,
    /// Reads its fields of a `config.json`.
    pub read: fn(&Value) -> Result<ModelConfig, String>,
    /// Its fields of a `config.json`, beside those that every family has.
    pub write: fn(&ModelConfig) -> Value,
}

/// Parts of a decoder that are the same in all models of a family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    /// Learned positions instead of rotary ones.
    pub learned_positions: bool,
    pub norm: NormKind,
    pub norm_placement: NormPlacement,
    /// Norms of whole queries and keys; otherwise of each head's.
    pub whole_qk_norm: bool,
    /// Biases in all linear layers of the blocks, whatever the shape says.
    pub all_biases: bool,
    pub activation: Activation,
    /// Embeddings are multiplied by the root of the width.
    pub scaled_embedding: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// With mean and bias.
    Layer,
    /// By the root mean square.
    Rms,
    /// As `Rms`, times one plus the weight.
    RmsPlusOne,
}

/// Place of the norms of a sublayer `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlacement {
    /// `x + f(norm(x))`
    Before,
    /// `x + norm(f(x))`
    Behind,
    /// `x + norm(f(norm(x)))`
    Around,
}

/// Inner step of the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `gelu(up(x))`
    Gelu,
    /// `silu(gate(x)) * up(x)`
    SwiGlu,
    /// `gelu(gate(x)) * up(x)`
    GeGlu,
}

/// Part of a block in files, and the parts of ours that it holds side by side; `*` is the number of an expert.
pub(crate) type Part = (&'static str, &'static [&'static str]);

/// Names of the weights in files.
pub(crate) struct Names {
    /// Prefix of all but the output layer.
    pub prefix: &'static str,
    pub embedding: &'static str,
    pub positions: &'static str,
    pub norm: &'static str,
    /// The list of blocks.
    pub blocks: &'static str,
    /// Parts of a block, in groups. Those that a shape does not have are passed over.
    pub parts: &'static [&'static [Part]],
    /// True if linear layers are `[output, input]`.
    pub transposed: bool,
}

impl Family {
    /// Rules of this family.
    pub(crate) fn rules(self) -> &'static FamilyRules {
        let mut all = FAMILIES.iter();
        all.find(|rules| rules.family == self).expect("every family is in the table")
    }
}

impl FamilyRules {
    /// The reason why a shape is none of this family's; `None` if it is one.
    pub fn misfit(&self, config: &ModelConfig) -> Option<String> {
        let name = self.model_type;
        let has_bias_choice = self.optional.contains(&"output_bias");
        let features = config.features();
        let foreign = features.iter().find(|(field, is_set)| *is_set && !self.optional.contains(field));
        match foreign {
            Some(("kv_heads", _)) => {
                let ModelConfig { kv_heads, heads, .. } = config;
                return Some(format!(
                    "model.kv_heads: {kv_heads} is not model.heads = {heads}; {name} has no grouped heads"
                ));
            }
            Some((field, _)) => return Some(format!("model.{field}: {name} has none; leave it out")),
            None => {}
        }
        (has_bias_choice && config.qkv_bias != config.output_bias).then(|| {
            format!(
                "model.output_bias: {} and model.qkv_bias = {}; {name} has both or none",
                config.output_bias, config.qkv_bias
            )
        })
    }

    /// The shape with the fields that all models of this family share.
    pub fn fixed(&self, config: &ModelConfig) -> ModelConfig {
        let mut config = ModelConfig { family: self.family, ..config.clone() };
        (self.fix)(&mut config);
        config
    }
}

/// The family that a shape belongs to: its own, or that of a Llama's relatives which has its features.
///
/// # Errors
/// The reason why there is none.
pub(crate) fn of(config: &ModelConfig) -> Result<&'static FamilyRules, String> {
    let own = config.family.rules();
    if config.family != Family::Llama {
        return own.misfit(&own.fixed(config)).map_or(Ok(own), Err);
    }
    let has_all = |rules: &&FamilyRules| {
        let fixed = rules.fixed(config);
        fixed == ModelConfig { family: rules.family, ..config.clone() } && rules.misfit(&fixed).is_none()
    };
    LLAMAS.into_iter().map(Family::rules).find(has_all).ok_or_else(|| {
        let &ModelConfig { qkv_bias, output_bias, mlp_bias, qk_norm, sliding_window, .. } = config;
        let foreign = config
            .features()
            .into_iter()
            .find(|(field, is_set)| *is_set && !LLAMAS.iter().any(|family| family.rules().optional.contains(field)));
        match foreign {
            Some((field, _)) => format!("model.{field}: llama has none; leave it out, or name another model.family"),
            None => format!(
                "model: no published architecture has qkv_bias = {qkv_bias}, output_bias = {output_bias}, mlp_bias = \
                 {mlp_bias}, qk_norm = {qk_norm} and sliding_window = {sliding_window} together; Llama has all biases \
                 or none, Mistral the window, Qwen2 qkv_bias, Qwen3 qk_norm"
            ),
        }
    })
}

/// The family with this `model_type`.
///
/// # Errors
/// Lists those that there are.
pub(crate) fn named(model_type: &Value) -> Result<&'static FamilyRules, String> {
    let mut all = FAMILIES.iter();
    all.find(|rules| model_type == rules.model_type).copied().ok_or_else(|| {
        let known: Vec<String> = FAMILIES.iter().map(|rules| format!("{:?}", rules.model_type)).collect();
        format!("model_type is {model_type}; {} can be read", known.join(", "))
    })
}

impl ModelConfig {
    /// Parts of the decoder that are the same in all models of the family.
    pub(crate) fn decoder(&self) -> &'static Decoder {
        &self.family.rules().decoder
    }

    /// Fields that not every family has, and whether each is set.
    pub(crate) fn features(&self) -> [(&'static str, bool); 18] {
        let is_grouped = self.kv_heads != 0 && self.kv_heads != self.heads;
        [
            ("head_dim", self.head_dim != 0 && self.head_dim * self.heads != self.width),
            ("kv_heads", is_grouped),
            ("sliding_window", self.sliding_window > 0),
            ("full_attention_layers", !self.full_attention_layers.is_empty()),
            ("qkv_bias", self.qkv_bias),
            ("output_bias", self.output_bias),
            ("mlp_bias", self.mlp_bias),
            ("qk_norm", self.qk_norm),
            ("gelu", self.gelu != Gelu::Exact),
            ("rope_scaling", self.rope_scaling.is_some()),
            ("local_rope_theta", self.local_rope_theta != 0.0),
            ("no_rope_layers", !self.no_rope_layers.is_empty()),
            ("partial_rotary_factor", self.partial_rotary_factor != 1.0),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar != 0),
            ("final_logit_softcapping", self.final_logit_softcapping != 0.0),
            ("experts", self.experts.is_some()),
            ("experts.dense_layers", self.experts.as_ref().is_some_and(|experts| !experts.dense_layers.is_empty())),
            ("experts.norm_topk_prob = false", self.experts.as_ref().is_some_and(|experts| !experts.norm_topk_prob)),
        ]
    }
}

#[cfg(test)]
mod tests;
