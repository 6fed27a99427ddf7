//! Llama, and what its relatives share with it: rotary positions, RMSNorm, SwiGLU, grouped heads, no biases or all.

use serde_json::{Value, json};

use super::{Activation, Decoder, Family, FamilyRules, Names, NormKind, NormPlacement, Part};
use crate::ModelConfig;
use crate::config_json::{number, only, rope, size, switch};

pub const LLAMA: FamilyRules = FamilyRules {
    family: Family::Llama,
    model_type: "llama",
    class: "LlamaForCausalLM",
    decoder: DECODER,
    optional: &["head_dim", "kv_heads", "rope_scaling", "qkv_bias", "output_bias", "mlp_bias"],
    fix: |_| {},
    names: NAMES,
    read: |json| {
        let config = read_like(json, Family::Llama, &DEFAULTS)?;
        Ok(ModelConfig { mlp_bias: switch(json, "mlp_bias", false)?, ..with_attention_bias(config, json)? })
    },
    write: |config| {
        let mut json = write_like(config);
        json["attention_bias"] = config.qkv_bias.into();
        json["mlp_bias"] = config.mlp_bias.into();
        json
    },
};

pub const DECODER: Decoder = Decoder {
    learned_positions: false,
    norm: NormKind::Rms,
    norm_placement: NormPlacement::Before,
    whole_qk_norm: false,
    all_biases: false,
    activation: Activation::SwiGlu,
    scaled_embedding: false,
};

pub const NAMES: Names = Names {
    prefix: "model.",
    embedding: "embed_tokens",
    positions: "",
    norm: "norm",
    blocks: "layers",
    parts: &[NORMS, ATTENTION, FEED_FORWARD],
    transposed: true,
};

pub const NORMS: &[Part] =
    &[("input_layernorm", &["attention_norm"]), ("post_attention_layernorm", &["feed_forward_norm"])];

pub const ATTENTION: &[Part] = &[
    ("self_attn.q_norm", &["attention.query_norm"]),
    ("self_attn.k_norm", &["attention.key_norm"]),
    ("self_attn.q_proj", &["attention.query"]),
    ("self_attn.k_proj", &["attention.key"]),
    ("self_attn.v_proj", &["attention.value"]),
    ("self_attn.o_proj", &["attention.output"]),
];

pub const FEED_FORWARD: &[Part] = &[
    ("mlp.gate_proj", &["feed_forward.gate"]),
    ("mlp.up_proj", &["feed_forward.up"]),
    ("mlp.down_proj", &["feed_forward.down"]),
];

/// Values of transformers' configurations for fields that a file leaves out.
pub struct Defaults {
    pub context: usize,
    /// `None`: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `None`: the model's width divided by the number of heads.
    pub head_dim: Option<usize>,
    pub norm_eps: f64,
    pub tie_embeddings: bool,
    /// Field of the activation.
    pub activation: &'static str,
    /// Names of the supported activation, the usual one first.
    pub activations: &'static [&'static str],
    pub rope: rope::Defaults,
}

/// Those of `LlamaConfig`.
pub const DEFAULTS: Defaults = Defaults {
    context: 2048,
    kv_heads: None,
    head_dim: None,
    norm_eps: 1e-6,
    tie_embeddings: false,
    activation: "hidden_act",
    activations: &["silu", "swish"],
    rope: rope::DEFAULTS,
};

/// Reads the fields that Llama and its relatives share.
pub fn read_like(json: &Value, family: Family, defaults: &Defaults) -> Result<ModelConfig, String> {
    let heads = size(json, "num_attention_heads", None)?;
    let width = size(json, "hidden_size", None)?;
    let head_dim = size(json, "head_dim", Some(defaults.head_dim.unwrap_or(width / heads)))?;
    let activations: Vec<Value> = defaults.activations.iter().map(|name| json!(name)).collect();
    only(json, defaults.activation, &activations)?;
    let context = size(json, "max_position_embeddings", Some(defaults.context))?;
    let rope::Rope { theta, scaling, partial_rotary_factor } = rope::read(json, context, &defaults.rope)?;
    Ok(ModelConfig {
        family,
        vocab_size: size(json, "vocab_size", None)?,
        context,
        layers: size(json, "num_hidden_layers", None)?,
        width,
        heads,
        kv_heads: size(json, "num_key_value_heads", Some(defaults.kv_heads.unwrap_or(heads)))?,
        head_dim: if head_dim * heads == width { 0 } else { head_dim },
        feed_forward: size(json, "intermediate_size", None)?,
        tie_embeddings: switch(json, "tie_word_embeddings", defaults.tie_embeddings)?,
        norm_eps: number(json, "rms_norm_eps", defaults.norm_eps)?,
        rope_theta: theta,
        rope_scaling: scaling,
        partial_rotary_factor,
        ..ModelConfig::default()
    })
}

/// Reads the field `attention_bias`, which stands for all four layers of attention.
pub fn with_attention_bias(config: ModelConfig, json: &Value) -> Result<ModelConfig, String> {
    let bias = switch(json, "attention_bias", false)?;
    Ok(ModelConfig { qkv_bias: bias, output_bias: bias, ..config })
}

/// The fields that Llama and its relatives share.
pub fn write_like(config: &ModelConfig) -> Value {
    json!({
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim(),
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling.as_ref().map(rope::write),
        "hidden_act": "silu",
    })
}

/// The window of a shape as the field `sliding_window` has it.
pub fn window(config: &ModelConfig) -> Option<usize> {
    (config.sliding_window > 0).then_some(config.sliding_window)
}

/// Reads the field `sliding_window` of a family in which `null` is no window; `default` if the file leaves it out.
pub fn read_window(json: &Value, default: Option<usize>) -> Result<usize, String> {
    match (json.get("sliding_window"), default) {
        (Some(Value::Null), _) | (None, None) => Ok(0),
        _ => size(json, "sliding_window", default),
    }
}

/// Reads the window as [`read_window`] does, of a family that uses it only with `use_sliding_window`; 0 for none.
pub fn read_used_window(json: &Value, default: Option<usize>) -> Result<usize, String> {
    if switch(json, "use_sliding_window", false)? { read_window(json, default) } else { Ok(0) }
}

/// Writes the window that [`read_used_window`] reads.
pub fn write_used_window(config: &ModelConfig, json: &mut Value) {
    json["use_sliding_window"] = (config.sliding_window > 0).into();
    json["sliding_window"] = window(config).into();
}

/// Names of layers in the field `layer_types`.
const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// Sets the window of a shape, 0 for none, in the layers that the field `layer_types` says; if the file leaves it out, in
/// those for which `is_local` is true.
pub fn with_window(
    config: ModelConfig,
    json: &Value,
    window: usize,
    is_local: impl Fn(usize) -> bool,
) -> Result<ModelConfig, String> {
    let layers = config.layers;
    let full: Vec<usize> = match &json["layer_types"] {
        Value::Null => (0..layers).filter(|&layer| !is_local(layer)).collect(),
        Value::Array(types) => {
            if let Some(other) = types.iter().find(|kind| *kind != FULL && *kind != SLIDING) {
                return Err(format!("layer_types has {other}; only {FULL:?} and {SLIDING:?} can be read"));
            }
            if types.len() != layers {
                return Err(format!("layer_types has {} names, and num_hidden_layers is {layers}", types.len()));
            }
            (0..layers).filter(|&layer| types[layer] == FULL).collect()
        }
        other => return Err(format!("layer_types is {other}; it must be a list of names")),
    };
    if full.len() == layers {
        return Ok(config); // no layer uses the window
    }
    if window == 0 {
        return Err(format!("layer {} attends to a window (layer_types), and the file has none", first_missing(&full)));
    }
    Ok(ModelConfig { sliding_window: window, full_attention_layers: full, ..config })
}

/// The first number that is not among ascending ones.
fn first_missing(numbers: &[usize]) -> usize {
    (0..).zip(numbers).find(|(at, number)| at != *number).map_or(numbers.len(), |(at, _)| at)
}

/// The field `layer_types` of a shape.
pub fn layer_types(config: &ModelConfig) -> Vec<&'static str> {
    (0..config.layers).map(|layer| if config.window_of(layer) > 0 { SLIDING } else { FULL }).collect()
}
