//! OLMo 2: a Llama with its norms behind the sublayers, and norms of whole queries and keys.

use super::llama::{self, ATTENTION, DECODER, DEFAULTS, Defaults, FEED_FORWARD, NAMES};
use super::{Decoder, Family, FamilyRules, Names, NormPlacement, Part};

pub const OLMO2: FamilyRules = FamilyRules {
    family: Family::Olmo2,
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    decoder: Decoder { norm_placement: NormPlacement::Behind, whole_qk_norm: true, ..DECODER },
    optional: &["head_dim", "kv_heads", "rope_scaling", "qkv_bias", "output_bias", "qk_norm"],
    fix: |config| config.qk_norm = true,
    names: Names { parts: &[NORMS, ATTENTION, FEED_FORWARD], ..NAMES },
    read: |json| {
        let defaults = Defaults { norm_eps: 1e-5, ..DEFAULTS };
        llama::with_attention_bias(llama::read_like(json, Family::Olmo2, &defaults)?, json)
    },
    write: |config| {
        let mut json = llama::write_like(config);
        json["attention_bias"] = config.qkv_bias.into();
        json
    },
};

const NORMS: &[Part] = &[
    ("post_attention_layernorm", &["attention_post_norm"]),
    ("post_feedforward_layernorm", &["feed_forward_post_norm"]),
];
