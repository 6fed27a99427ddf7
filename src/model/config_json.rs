//! The shape of a model as Hugging Face's `config.json`: `LlamaConfig` and `GPT2Config`.

use std::path::Path;

use serde_json::{Value, json};

use super::{Family, ModelConfig};
use crate::{Error, Result};

/// The activation of our GPT-2: the exact GELU.
const GELU: &str = "gelu";

/// Published GPT-2 models use the tanh form of GELU, which is never more than 0.0005 away from the exact one.
const NEARLY_GELU: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

/// What Hugging Face calls the family.
pub fn model_type(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "gpt2",
        Family::Llama => "llama",
    }
}

/// The `config.json` of a resolved shape.
///
/// The special tokens are `null`: the tokenizer's owner sets `bos_token_id`, `eos_token_id` and `pad_token_id`.
pub fn write(config: &ModelConfig) -> Value {
    let own = match config.family {
        Family::Llama => json!({
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": config.width,
            "intermediate_size": config.feed_forward,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "max_position_embeddings": config.context,
            "rms_norm_eps": config.norm_eps,
            "rope_theta": config.rope_theta,
            "rope_scaling": null,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
        }),
        Family::Gpt2 => json!({
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": config.width,
            "n_inner": config.feed_forward,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_positions": config.context,
            "n_ctx": config.context,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": GELU,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }),
    };
    let mut json = json!({
        "model_type": model_type(config.family),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": "float32",
        "bos_token_id": null,
        "eos_token_id": null,
        "pad_token_id": null,
    });
    if let (Value::Object(all), Value::Object(own)) = (&mut json, own) {
        all.extend(own);
    }
    json
}

/// The resolved shape that a `config.json` describes; `path` is for messages.
///
/// # Errors
/// A family or a variant of one that is not supported, or a field that is missing or of another type, by name.
pub fn read(json: &Value, path: &Path) -> Result<ModelConfig> {
    read_fields(json).map_err(|reason| Error::Checkpoint { path: path.display().to_string(), reason })
}

fn read_fields(json: &Value) -> Result<ModelConfig, String> {
    let config = match json["model_type"].as_str() {
        Some("llama") => read_llama(json)?,
        Some("gpt2") => read_gpt2(json)?,
        _ => return Err(format!("model_type is {}; \"llama\" and \"gpt2\" can be read", json["model_type"])),
    };
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Fields that a file may leave out have the values of transformers' `LlamaConfig`.
fn read_llama(json: &Value) -> Result<ModelConfig, String> {
    let heads = size(json, "num_attention_heads", None)?;
    let config = ModelConfig {
        family: Family::Llama,
        vocab_size: size(json, "vocab_size", None)?,
        context: size(json, "max_position_embeddings", Some(2048))?,
        layers: size(json, "num_hidden_layers", None)?,
        width: size(json, "hidden_size", None)?,
        heads,
        kv_heads: size(json, "num_key_value_heads", Some(heads))?,
        feed_forward: size(json, "intermediate_size", None)?,
        tie_embeddings: json["tie_word_embeddings"].as_bool().unwrap_or(false),
        norm_eps: number(json, "rms_norm_eps", 1e-6)?,
        // transformers 5 keeps everything rotary together.
        rope_theta: match &json["rope_parameters"] {
            Value::Null => number(json, "rope_theta", 10_000.0)?,
            parameters => number(parameters, "rope_theta", 10_000.0)?,
        },
    };
    only(json, "hidden_act", &[json!("silu")])?;
    only(json, "attention_bias", &[json!(false)])?;
    only(json, "mlp_bias", &[json!(false)])?;
    only(json, "rope_scaling", &[])?;
    only(&json["rope_parameters"], "rope_type", &[json!("default")])?;
    only(json, "head_dim", &[json!(config.width / config.heads)])?;
    Ok(config)
}

/// Fields that a file may leave out have the values of transformers' `GPT2Config`.
fn read_gpt2(json: &Value) -> Result<ModelConfig, String> {
    let (width, heads) = (size(json, "n_embd", None)?, size(json, "n_head", None)?);
    let activation = &json["activation_function"];
    if activation.is_null() || NEARLY_GELU.iter().any(|name| activation == name) {
        tracing::warn!("this GPT-2 was made with the tanh form of GELU and is computed with the exact one");
    } else {
        only(json, "activation_function", &[json!(GELU)])?;
    }
    only(json, "scale_attn_weights", &[json!(true)])?;
    only(json, "scale_attn_by_inverse_layer_idx", &[json!(false)])?;
    only(json, "add_cross_attention", &[json!(false)])?;
    Ok(ModelConfig {
        family: Family::Gpt2,
        vocab_size: size(json, "vocab_size", None)?,
        context: size(json, "n_positions", None)?,
        layers: size(json, "n_layer", None)?,
        width,
        heads,
        kv_heads: heads,
        feed_forward: size(json, "n_inner", Some(4 * width))?,
        tie_embeddings: json["tie_word_embeddings"].as_bool().unwrap_or(true),
        norm_eps: number(json, "layer_norm_epsilon", 1e-5)?,
        ..ModelConfig::default()
    })
}

/// A whole number of at least 1.
fn size(json: &Value, field: &str, default: Option<usize>) -> Result<usize, String> {
    match (&json[field], default) {
        (Value::Null, Some(default)) => Ok(default),
        (Value::Null, None) => Err(format!("{field} is missing; it must be a whole number of at least 1")),
        (value, _) => value
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size > 0)
            .ok_or_else(|| format!("{field} is {value}; it must be a whole number of at least 1")),
    }
}

fn number(json: &Value, field: &str, default: f64) -> Result<f64, String> {
    match &json[field] {
        Value::Null => Ok(default),
        value => value
            .as_f64()
            .filter(|number| *number > 0.0)
            .ok_or_else(|| format!("{field} is {value}; it must be a number above 0")),
    }
}

/// Refuses a variant of the family that is not computed here. A field left out is the usual variant.
fn only(json: &Value, field: &str, supported: &[Value]) -> Result<(), String> {
    let value = &json[field];
    if value.is_null() || supported.contains(value) {
        return Ok(());
    }
    let supported = supported.first().unwrap_or(&Value::Null);
    Err(format!("{field} is {value}; only models with {supported} can be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama() -> ModelConfig {
        let config = ModelConfig { kv_heads: 2, norm_eps: 1e-6, rope_theta: 1e5, ..ModelConfig::default() };
        config.resolve(300).unwrap()
    }

    fn gpt2() -> ModelConfig {
        let config =
            ModelConfig { family: Family::Gpt2, feed_forward: 100, tie_embeddings: false, ..Default::default() };
        config.resolve(300).unwrap()
    }

    fn refused(config: &ModelConfig, field: &str, value: Value) -> String {
        let mut json = write(config);
        json[field] = value;
        read(&json, Path::new("config.json")).unwrap_err().to_string()
    }

    #[test]
    fn there_and_back_is_the_same() {
        for config in [llama(), gpt2()] {
            assert_eq!(read(&write(&config), Path::new("config.json")).unwrap(), config);
        }
    }

    #[test]
    fn published_files_are_read() {
        // SmolLM2-135M-Instruct, and the first GPT-2, in the fields that matter.
        let smol = json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "hidden_act": "silu",
            "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192, "mlp_bias": false,
            "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
            "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true,
            "vocab_size": 49152
        });
        let read = |json: &Value| read(json, Path::new("config.json")).unwrap();
        let config = read(&smol);
        assert_eq!((config.head_dim(), config.rope_theta, config.tie_embeddings), (64, 1e5, true));
        let mut newer = smol;
        newer["rope_theta"] = Value::Null;
        newer["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 100000.0});
        assert_eq!(read(&newer), config);

        let first = json!({
            "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "layer_norm_epsilon": 1e-5,
            "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
            "vocab_size": 50257
        });
        let config = read(&first);
        assert_eq!((config.feed_forward, config.kv_heads, config.tie_embeddings), (3072, 12, true));
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let message = refused(&llama(), "model_type", json!("qwen2"));
        assert_eq!(message, r#"config.json: model_type is "qwen2"; "llama" and "gpt2" can be read"#);
        let message = refused(&llama(), "rope_scaling", json!({"factor": 8.0}));
        assert_eq!(message, r#"config.json: rope_scaling is {"factor":8.0}; only models with null can be read"#);
        assert!(refused(&llama(), "head_dim", json!(128)).contains("head_dim is 128; only models with 16"));
        assert!(refused(&llama(), "attention_bias", json!(true)).contains("attention_bias is true"));
        assert!(refused(&gpt2(), "activation_function", json!("relu")).contains("activation_function is \"relu\""));
        assert!(refused(&llama(), "hidden_size", Value::Null).contains("hidden_size is missing"));
        assert!(refused(&llama(), "hidden_size", json!("64")).contains("hidden_size is \"64\"; it must be a whole"));
        assert!(refused(&llama(), "num_attention_heads", json!(3)).contains("3 does not divide"));
        assert!(refused(&gpt2(), "layer_norm_epsilon", json!(-1)).contains("must be a number above 0"));
    }
}
