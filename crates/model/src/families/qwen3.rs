//! Qwen3: a Llama with a norm of each head's query and key, and heads of a width of their own.

use super::llama::{self, DECODER, DEFAULTS, Defaults, NAMES};
use super::{Family, FamilyRules, qwen2};

pub const QWEN3: FamilyRules = FamilyRules {
    family: Family::Qwen3,
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    decoder: DECODER,
    optional: &[
        "head_dim",
        "kv_heads",
        "rope_scaling",
        "qkv_bias",
        "output_bias",
        "qk_norm",
        "sliding_window",
        "full_attention_layers",
    ],
    fix: |config| config.qk_norm = true,
    names: NAMES,
    read: |json| {
        let defaults = Defaults { context: 32768, kv_heads: Some(32), head_dim: Some(128), ..DEFAULTS };
        let config = llama::read_like(json, Family::Qwen3, &defaults)?;
        qwen2::read_upper_window(json, llama::with_attention_bias(config, json)?)
    },
    write: |config| {
        let mut json = llama::write_like(config);
        json["attention_bias"] = config.qkv_bias.into();
        qwen2::write_upper_window(config, &mut json);
        json
    },
};
