//! Phi-3 and Phi-4-mini: one layer of query, key and value, one of gate and up, a part of each head rotated, LongRoPE.

use serde_json::{Value, json};

use super::llama::{self, DECODER, DEFAULTS, Defaults, NAMES, NORMS};
use super::{Family, FamilyRules, Names, Part};
use crate::config_json::rope;
use crate::{ModelConfig, RopeScaling};

pub const PHI3: FamilyRules = FamilyRules {
    family: Family::Phi3,
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    decoder: DECODER,
    optional: &["head_dim", "kv_heads", "rope_scaling", "sliding_window", "partial_rotary_factor"],
    fix: |_| {},
    names: Names { parts: &[NORMS, JOINED], ..NAMES },
    read,
    write,
};

const JOINED: &[Part] = &[
    ("self_attn.qkv_proj", &["attention.query", "attention.key", "attention.value"]),
    ("self_attn.o_proj", &["attention.output"]),
    ("mlp.gate_up_proj", &["feed_forward.gate", "feed_forward.up"]),
    ("mlp.down_proj", &["feed_forward.down"]),
];

/// `original_max_position_embeddings` of a file that leaves it out.
const ORIGINAL_CONTEXT: usize = 4096;

fn read(json: &Value) -> Result<ModelConfig, String> {
    let mut json = json.clone();
    for field in ["rope_scaling", "rope_parameters"] {
        for kind in ["rope_type", "type"] {
            // Older files name LongRoPE by these.
            if json[field].is_object() && ["su", "yarn"].iter().any(|old| json[field][kind] == *old) {
                json[field][kind] = json!("longrope");
            }
        }
    }
    let rope = rope::Defaults { partial: true, original_context: Some(ORIGINAL_CONTEXT), ..rope::DEFAULTS };
    let defaults = Defaults { context: 4096, norm_eps: 1e-5, rope, ..DEFAULTS };
    let config = llama::read_like(&json, Family::Phi3, &defaults)?;
    if let Some(other) = config.rope_scaling.as_ref().filter(|it| !matches!(it, RopeScaling::LongRope { .. })) {
        return Err(format!("rope_scaling has rope_type {}; phi3 has \"longrope\"", rope::write(other)["rope_type"]));
    }
    Ok(ModelConfig { sliding_window: llama::read_window(&json, None)?, ..config })
}

fn write(config: &ModelConfig) -> Value {
    let mut json = llama::write_like(config);
    json["sliding_window"] = llama::window(config).into();
    json["partial_rotary_factor"] = config.partial_rotary_factor.into();
    json["original_max_position_embeddings"] = match &config.rope_scaling {
        Some(RopeScaling::LongRope { original_context, .. }) => *original_context,
        _ => config.context,
    }
    .into();
    json
}
