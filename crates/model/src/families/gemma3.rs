//! Gemma 3 of texts: norms around each sublayer, and layers with a window whose positions turn faster than those of the
//! layers without.

use serde_json::{Value, json};

use super::llama::{self, ATTENTION, DECODER, DEFAULTS, Defaults, FEED_FORWARD, NAMES};
use super::{Activation, Decoder, Family, FamilyRules, Names, NormKind, NormPlacement, Part};
use crate::config_json::{number, only, rope, size};
use crate::{Gelu, ModelConfig};

pub const GEMMA3: FamilyRules = FamilyRules {
    family: Family::Gemma3,
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    decoder: Decoder {
        norm: NormKind::RmsPlusOne,
        norm_placement: NormPlacement::Around,
        activation: Activation::GeGlu,
        scaled_embedding: true,
        ..DECODER
    },
    optional: &[
        "head_dim",
        "kv_heads",
        "rope_scaling",
        "qkv_bias",
        "output_bias",
        "qk_norm",
        "gelu",
        "sliding_window",
        "full_attention_layers",
        "local_rope_theta",
        "query_pre_attn_scalar",
        "final_logit_softcapping",
    ],
    fix: |config| {
        config.qk_norm = true;
        // Layers with the window never have the scaling of the others.
        if config.sliding_window > 0 && config.local_rope_theta == 0.0 {
            config.local_rope_theta = config.rope_theta;
        }
    },
    names: Names { parts: &[NORMS, ATTENTION, FEED_FORWARD], ..NAMES },
    read,
    write,
};

const NORMS: &[Part] = &[
    ("input_layernorm", &["attention_norm"]),
    ("post_attention_layernorm", &["attention_post_norm"]),
    ("pre_feedforward_layernorm", &["feed_forward_norm"]),
    ("post_feedforward_layernorm", &["feed_forward_post_norm"]),
];

const TANH_GELU: [&str; 2] = ["gelu_pytorch_tanh", "gelu_new"];
const EXACT_GELU: &str = "gelu";

/// Bases of the frequencies of a file that names none.
const GLOBAL_THETA: f64 = 1e6;
const LOCAL_THETA: f64 = 1e4;

fn read(json: &Value) -> Result<ModelConfig, String> {
    let (flat, local_rope_theta) = rope_of_layers(json)?;
    let defaults = Defaults {
        context: 131_072,
        kv_heads: Some(4),
        head_dim: Some(256),
        tie_embeddings: true,
        activation: "hidden_activation",
        activations: &[TANH_GELU[0], TANH_GELU[1], EXACT_GELU],
        rope: rope::Defaults { theta: GLOBAL_THETA, ..rope::DEFAULTS },
        ..DEFAULTS
    };
    let config = llama::with_attention_bias(llama::read_like(&flat, Family::Gemma3, &defaults)?, json)?;
    only(json, "use_bidirectional_attention", &[json!(false)])?;
    if !json["attn_logit_softcapping"].is_null() {
        // transformers 5 has the field in Gemma 3's configuration, and no code that reads it.
        tracing::warn!(
            "config.json: attn_logit_softcapping = {} is not used, as in transformers: no Gemma 3 caps its scores",
            json["attn_logit_softcapping"]
        );
    }
    let pattern = size(json, "sliding_window_pattern", Some(6))?;
    let window = llama::read_window(json, Some(4096))?;
    let config = llama::with_window(config, json, window, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let head_dim = config.head_dim();
    let scalar = size(json, "query_pre_attn_scalar", Some(256))?;
    Ok(ModelConfig {
        gelu: if json["hidden_activation"] == EXACT_GELU { Gelu::Exact } else { Gelu::Tanh },
        local_rope_theta: if config.sliding_window > 0 { local_rope_theta } else { 0.0 },
        query_pre_attn_scalar: if scalar == head_dim { 0 } else { scalar },
        final_logit_softcapping: match &json["final_logit_softcapping"] {
            Value::Null => 0.0,
            _ => number(json, "final_logit_softcapping", 0.0)?,
        },
        ..config
    })
}

/// The fields with the rotary positions of the global layers as other families have them, and the base of the local ones.
/// transformers 5 writes both into `rope_parameters`, by layer type.
fn rope_of_layers(json: &Value) -> Result<(Value, f64), String> {
    let mut flat = json.clone();
    let by_type = json["rope_parameters"].as_object().filter(|all| !all.is_empty());
    let local = number(json, "rope_local_base_freq", LOCAL_THETA)?;
    let Some(by_type) = by_type else { return Ok((flat, local)) };
    if let Some(other) = by_type.keys().find(|key| !["full_attention", "sliding_attention"].contains(&key.as_str())) {
        return Err(format!(
            "rope_parameters has {other:?}; gemma3_text has them by layer: \"full_attention\", \"sliding_attention\""
        ));
    }
    let mut global = by_type.get("full_attention").cloned().unwrap_or(Value::Null);
    if let (Some(global), Some(scaling)) = (global.as_object_mut(), json["rope_scaling"].as_object()) {
        global.extend(scaling.clone());
    }
    if !global.is_null() {
        flat["rope_scaling"] = Value::Null;
        flat["rope_parameters"] = global;
    }
    let sliding = &json["rope_parameters"]["sliding_attention"];
    let within = |fault: String| format!("rope_parameters.sliding_attention.{fault}");
    only(sliding, "rope_type", &[json!("default")]).map_err(within)?;
    Ok((flat, number(sliding, "rope_theta", local).map_err(within)?))
}

fn write(config: &ModelConfig) -> Value {
    let mut json = llama::write_like(config);
    let fields = json.as_object_mut().expect("an object");
    fields.remove("hidden_act");
    json["hidden_activation"] = match config.gelu {
        Gelu::Exact => EXACT_GELU.into(),
        Gelu::Tanh => TANH_GELU[0].into(),
    };
    json["attention_bias"] = config.qkv_bias.into();
    json["sliding_window"] = llama::window(config).into();
    json["layer_types"] = llama::layer_types(config).into();
    let local_theta = if config.local_rope_theta > 0.0 { config.local_rope_theta } else { config.rope_theta };
    json["rope_local_base_freq"] = local_theta.into();
    json["query_pre_attn_scalar"] = config.score_divisor().into();
    json["final_logit_softcapping"] =
        (config.final_logit_softcapping > 0.0).then_some(config.final_logit_softcapping).into();
    json["attn_logit_softcapping"] = Value::Null;
    json
}
