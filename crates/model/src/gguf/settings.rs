//! The shape of a model as settings of a GGUF file, and back as `config.json`.

use palestra_gguf::{Gguf, NumberFormat, Value};
use serde_json::{Value as Json, json};

use super::{EMBEDDING, FREQUENCY_DIVISORS};
use crate::rotary::frequency_divisors as divisors_of;
use crate::{Error, Family, ModelConfig, Result, RopeScaling};

/// An architecture of llama.cpp that computes what ours does.
pub struct Architecture {
    /// Value of `general.architecture`, and Hugging Face's `model_type`.
    name: &'static str,
    /// Class of the model in transformers.
    class: &'static str,
    /// True if the two numbers of a rotated pair stand side by side.
    pub interleaves: bool,
}

const LLAMA: Architecture = Architecture { name: "llama", class: "LlamaForCausalLM", interleaves: true };
const QWEN2: Architecture = Architecture { name: "qwen2", class: "Qwen2ForCausalLM", interleaves: false };
const QWEN3: Architecture = Architecture { name: "qwen3", class: "Qwen3ForCausalLM", interleaves: false };

/// Names of settings after that of the architecture.
const CONTEXT: &str = "context_length";
const WIDTH: &str = "embedding_length";
const LAYERS: &str = "block_count";
const FEED_FORWARD: &str = "feed_forward_length";
const HEADS: &str = "attention.head_count";
const KV_HEADS: &str = "attention.head_count_kv";
const KEY_WIDTH: &str = "attention.key_length";
const VALUE_WIDTH: &str = "attention.value_length";
const NORM_EPS: &str = "attention.layer_norm_rms_epsilon";
const WINDOW: &str = "attention.sliding_window";
const ROPE_WIDTH: &str = "rope.dimension_count";
const ROPE_BASE: &str = "rope.freq_base";
const ROPE_TYPE: &str = "rope.scaling.type";
const ROPE_FACTOR: &str = "rope.scaling.factor";
const VOCABULARY: &str = "vocab_size";

/// The architecture of llama.cpp for a shape.
///
/// # Errors
/// A shape that llama.cpp computes in another way, or not at all.
pub fn architecture_of(config: &ModelConfig) -> Result<&'static Architecture> {
    let refused = |reason: String| Err(Error::Config(format!("GGUF: {reason}")));
    if config.sliding_window > 0 {
        return refused(format!(
            "the model has a sliding window of {} tokens; only models that attend to all tokens can be written",
            config.sliding_window
        ));
    }
    match config.family {
        Family::Llama | Family::Mistral => Ok(&LLAMA),
        Family::Qwen2 => Ok(&QWEN2),
        Family::Qwen3 if config.qkv_bias || config.output_bias => {
            refused("the qwen3 model has biases of attention (attention_bias), and llama.cpp's has none".into())
        }
        Family::Qwen3 => Ok(&QWEN3),
        _ => refused(format!(
            "the model is of the family {:?}; llama, mistral, qwen2 and qwen3 can be written",
            config.model_type().unwrap_or("unknown")
        )),
    }
}

/// Divisors of the rotary frequencies that no setting of a file can say.
///
/// # Errors
/// A scaling of positions that llama.cpp computes in another way.
pub fn frequency_divisors(config: &ModelConfig) -> Result<Option<Vec<f32>>> {
    let kind = match &config.rope_scaling {
        None | Some(RopeScaling::Linear { .. }) => return Ok(None),
        Some(RopeScaling::Llama3 { .. }) => {
            let plan = config.layer_plans().into_iter().next();
            return Ok(plan.and_then(|plan| plan.rope).map(|rope| divisors_of(&rope)));
        }
        Some(RopeScaling::LongRope { short_factor, long_factor, attention_factor: Some(1.0), .. })
            if short_factor == long_factor =>
        {
            return Ok(Some(short_factor.iter().map(|&divisor| divisor as f32).collect()));
        }
        Some(RopeScaling::LongRope { .. }) => "longrope",
        Some(RopeScaling::Dynamic { .. }) => "dynamic",
        Some(RopeScaling::Yarn { .. }) => "yarn",
    };
    Err(Error::Config(format!(
        "GGUF: the model has rope_scaling of the type {kind:?}; models without, and \"linear\" and \"llama3\" can be written"
    )))
}

/// Settings of a GGUF file for a model of this shape whose matrices have this number format.
///
/// # Errors
/// As `architecture_of`.
pub fn settings(config: &ModelConfig, format: NumberFormat) -> Result<Vec<(String, Value)>> {
    let architecture = architecture_of(config)?.name;
    let file_type = match format {
        NumberFormat::F32 => 0,
        NumberFormat::F16 => 1,
        NumberFormat::Q8_0 => 7,
        NumberFormat::BF16 => 32,
    };
    let mut settings = vec![
        ("general.architecture".into(), Value::Text(architecture.into())),
        ("general.file_type".into(), Value::Integer(file_type)),
        ("general.quantization_version".into(), Value::Integer(2)),
    ];
    let mut put = |name: &str, value| settings.push((format!("{architecture}.{name}"), value));
    let count = |number: usize| Value::Integer(number as i128);
    put(CONTEXT, count(config.context));
    put(WIDTH, count(config.width));
    put(LAYERS, count(config.layers));
    put(FEED_FORWARD, count(config.feed_forward));
    put(HEADS, count(config.heads));
    put(KV_HEADS, count(config.kv_heads));
    put(KEY_WIDTH, count(config.head_dim()));
    put(VALUE_WIDTH, count(config.head_dim()));
    put(NORM_EPS, Value::Float(config.norm_eps));
    put(ROPE_WIDTH, count(config.head_dim()));
    put(ROPE_BASE, Value::Float(config.rope_theta));
    put(VOCABULARY, count(config.vocab_size));
    if let Some(RopeScaling::Linear { factor }) = config.rope_scaling {
        put(ROPE_TYPE, Value::Text("linear".into()));
        put(ROPE_FACTOR, Value::Float(factor));
    }
    Ok(settings)
}

/// The `config.json` of the model in a GGUF file.
///
/// # Errors
/// An architecture or a variant of it that is not supported, or a setting that is missing or of another type, by name.
pub fn config_json(file: &Gguf) -> Result<Json> {
    let found = file.text("general.architecture")?.unwrap_or_default();
    let Some(architecture) = [&LLAMA, &QWEN2, &QWEN3].into_iter().find(|known| known.name == found) else {
        let reason = format!("general.architecture is {found:?}; \"llama\", \"qwen2\" and \"qwen3\" can be read");
        return Err(file.fault(reason).into());
    };
    let name = |setting: &str| format!("{}.{setting}", architecture.name);
    let missing = |setting: &str| Error::from(file.fault(format!("the setting {} is missing", name(setting))));
    let count = |setting: &str| file.count(&name(setting));
    let need = |setting: &str| count(setting)?.ok_or_else(|| missing(setting));
    let norm_eps = file.number(&name(NORM_EPS))?.ok_or_else(|| missing(NORM_EPS))?;
    refuse_variants(file, architecture.name)?;
    let (width, heads, layers) = (need(WIDTH)?, need(HEADS)?, need(LAYERS)?);
    let tensors = file.tensors().len();
    if layers > tensors {
        return Err(file.fault(format!("{} is {layers}, and the file has {tensors} tensors", name(LAYERS))).into());
    }
    let head_dim = count(KEY_WIDTH)?.unwrap_or(width / heads.max(1));
    for setting in [VALUE_WIDTH, ROPE_WIDTH] {
        if let Some(other) = count(setting)?.filter(|&other| other != head_dim) {
            let reason =
                format!("{} is {other}; only heads that are {head_dim} wide in all can be read", name(setting));
            return Err(file.fault(reason).into());
        }
    }
    let context = need(CONTEXT)?;
    let shape_of = |tensor: &str| file.tensors().get(tensor).map(|tensor| tensor.shape.as_slice());
    let Some(&[vocabulary, _]) = shape_of(&format!("{EMBEDDING}.weight")) else {
        return Err(file.fault(format!("the matrix {EMBEDDING}.weight is missing")).into());
    };
    let has = |tensor: &str| shape_of(tensor).is_some();
    let token = |role: &str| file.count(&format!("tokenizer.ggml.{role}_token_id"));
    let mut ends = Vec::new();
    for role in ["eos", "eot", "eom"] {
        ends.extend(token(role)?.filter(|id| !ends.contains(id)));
    }
    Ok(json!({
        "model_type": architecture.name,
        "architectures": [architecture.class],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": need(FEED_FORWARD)?,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": count(KV_HEADS)?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": norm_eps,
        "rope_theta": file.number(&name(ROPE_BASE))?.unwrap_or(10_000.0),
        "rope_scaling": rope_scaling(file, architecture.name, context)?,
        "hidden_act": "silu",
        "attention_bias": has("blk.0.attn_output.bias"),
        "mlp_bias": has("blk.0.ffn_gate.bias"),
        "tie_word_embeddings": !has("output.weight"),
        "bos_token_id": token("bos")?,
        "eos_token_id": ends,
        "pad_token_id": token("padding")?,
    }))
}

/// Refuses what changes the computation and has no counterpart in `config.json`.
fn refuse_variants(file: &Gguf, architecture: &str) -> Result<()> {
    for setting in [WINDOW, "expert_count", "logit_scale", "attention.scale"] {
        let name = format!("{architecture}.{setting}");
        if let Some(value) = file.number(&name)?.filter(|&value| value != 0.0) {
            return Err(file.fault(format!("{name} is {value}; only models without it can be read")).into());
        }
    }
    Ok(())
}

/// The `rope_scaling` of `config.json`; null for none.
fn rope_scaling(file: &Gguf, architecture: &str, context: usize) -> Result<Json> {
    let (kind, factor) = (format!("{architecture}.{ROPE_TYPE}"), format!("{architecture}.{ROPE_FACTOR}"));
    let found = file.text(&kind)?.unwrap_or("none");
    match (found, file.tensors().contains_key(FREQUENCY_DIVISORS)) {
        ("none", false) => Ok(Json::Null),
        // LongRoPE with the same divisors at all lengths divides each frequency by a number of its own.
        ("none", true) => {
            let divisors = file.read(FREQUENCY_DIVISORS)?;
            Ok(json!({
                "rope_type": "longrope",
                "short_factor": divisors,
                "long_factor": divisors,
                "original_max_position_embeddings": context,
                "attention_factor": 1.0,
            }))
        }
        ("linear", false) => Ok(json!({ "rope_type": "linear", "factor": file.number(&factor)?.unwrap_or(1.0) })),
        (other, divides) => {
            let beside = if divides { format!(" beside {FREQUENCY_DIVISORS}") } else { String::new() };
            Err(file.fault(format!("{kind} is {other:?}{beside}; \"none\" and \"linear\" can be read")).into())
        }
    }
}
