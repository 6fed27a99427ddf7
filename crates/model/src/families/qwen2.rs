//! Qwen2: a Llama with biases of query, key and value, and for some models a window in the upper layers.

use serde_json::Value;

use super::llama::{self, DECODER, DEFAULTS, Defaults, NAMES};
use super::{Family, FamilyRules};
use crate::ModelConfig;
use crate::config_json::size;

pub const QWEN2: FamilyRules = FamilyRules {
    family: Family::Qwen2,
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    decoder: DECODER,
    optional: &["head_dim", "kv_heads", "rope_scaling", "qkv_bias", "sliding_window", "full_attention_layers"],
    fix: |config| config.qkv_bias = true,
    names: NAMES,
    read: |json| {
        let defaults = Defaults { context: 32768, kv_heads: Some(32), ..DEFAULTS };
        read_upper_window(json, llama::read_like(json, Family::Qwen2, &defaults)?)
    },
    write: |config| {
        let mut json = llama::write_like(config);
        write_upper_window(config, &mut json);
        json
    },
};

/// Reads the window, which with `use_sliding_window` all layers have from `max_window_layers` on.
pub fn read_upper_window(json: &Value, config: ModelConfig) -> Result<ModelConfig, String> {
    let window = llama::read_used_window(json, Some(4096))?;
    let first = size(json, "max_window_layers", Some(28))?;
    llama::with_window(config, json, window, |layer| window > 0 && layer >= first)
}

/// Writes the window that [`read_upper_window`] reads.
pub fn write_upper_window(config: &ModelConfig, json: &mut Value) {
    llama::write_used_window(config, json);
    if config.sliding_window > 0 {
        json["layer_types"] = llama::layer_types(config).into();
    }
}
