//! The shape of a model as Hugging Face's `config.json`: `GPT2Config`, and `LlamaConfig` with its relatives.

mod rope;

use std::path::Path;

use serde_json::{Value, json};

use super::architecture::{Architecture, LLAMA_FAMILY};
use super::{Family, Gelu, ModelConfig};
use crate::{Error, Result};

/// Name of GPT-2's exact GELU; the next constant is the name of the tanh form, the default of older files.
const EXACT_GELU: &str = "gelu";
const TANH_GELU: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

/// The `config.json` of a resolved shape.
///
/// The special tokens are `null`; the code that holds the tokenizer sets `bos_token_id`, `eos_token_id` and
/// `pad_token_id`.
///
/// # Panics
/// If the shape is one that [`ModelConfig::check`] refuses.
pub fn write(config: &ModelConfig) -> Value {
    let own = match config.family {
        Family::Llama => write_llama(config, config.architecture().expect("a checked shape has an architecture")),
        Family::Gpt2 => json!({
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": config.width,
            "n_inner": config.feed_forward,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_positions": config.context,
            "n_ctx": config.context,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": match config.gelu {
                Gelu::Exact => EXACT_GELU,
                Gelu::Tanh => TANH_GELU[0],
            },
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }),
    };
    let mut json = json!({
        "model_type": config.model_type(),
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

fn write_llama(config: &ModelConfig, architecture: &Architecture) -> Value {
    let mut json = json!({
        "architectures": [architecture.class],
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
    });
    if architecture.has_attention_bias {
        json["attention_bias"] = config.qkv_bias.into();
    }
    if architecture.has_mlp_bias {
        json["mlp_bias"] = config.mlp_bias.into();
    }
    if architecture.sliding_window > 0 {
        json["sliding_window"] = (config.sliding_window > 0).then_some(config.sliding_window).into();
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
    if !json["quantization_config"].is_null() {
        let method = &json["quantization_config"]["quant_method"];
        return Err(format!(
            "quantization_config has quant_method {method}; only weights that are not quantized can be read"
        ));
    }
    let name = json["model_type"].as_str();
    let config = match (name, LLAMA_FAMILY.into_iter().find(|architecture| Some(architecture.model_type) == name)) {
        (_, Some(architecture)) => read_llama(json, architecture)?,
        (Some("gpt2"), _) => read_gpt2(json)?,
        _ => {
            let known = LLAMA_FAMILY.map(|architecture| format!("{:?}", architecture.model_type)).join(", ");
            return Err(format!("model_type is {}; \"gpt2\", {known} can be read", json["model_type"]));
        }
    };
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Reads a model of the Llama family; fields that a file leaves out have the defaults of transformers' configurations.
fn read_llama(json: &Value, architecture: &Architecture) -> Result<ModelConfig, String> {
    let heads = size(json, "num_attention_heads", None)?;
    let width = size(json, "hidden_size", None)?;
    let head_dim = size(json, "head_dim", Some(architecture.head_dim.unwrap_or(width / heads)))?;
    let attention_bias = architecture.has_attention_bias && switch(json, "attention_bias", false)?;
    only(json, "hidden_act", &[json!("silu"), json!("swish")])?;
    only(json, "use_sliding_window", &[json!(false)])?;
    if architecture.has_layer_types {
        let kinds = json["layer_types"].as_array().into_iter().flatten();
        if let Some(other) = kinds.into_iter().find(|kind| *kind != "full_attention") {
            return Err(format!("layer_types has {other}; only models with \"full_attention\" can be read"));
        }
    }
    let context = size(json, "max_position_embeddings", Some(architecture.context))?;
    let (rope_theta, rope_scaling) = rope::read(json, context)?;
    Ok(ModelConfig {
        family: Family::Llama,
        vocab_size: size(json, "vocab_size", None)?,
        context,
        layers: size(json, "num_hidden_layers", None)?,
        width,
        heads,
        kv_heads: size(json, "num_key_value_heads", Some(architecture.kv_heads.unwrap_or(heads)))?,
        head_dim: if head_dim * heads == width { 0 } else { head_dim },
        feed_forward: size(json, "intermediate_size", None)?,
        tie_embeddings: switch(json, "tie_word_embeddings", false)?,
        norm_eps: number(json, "rms_norm_eps", 1e-6)?,
        rope_theta,
        sliding_window: match json.get("sliding_window") {
            Some(Value::Null) => 0,
            _ if architecture.sliding_window == 0 => 0, // there, but used by none of its layers
            _ => size(json, "sliding_window", Some(architecture.sliding_window))?,
        },
        qkv_bias: architecture.qkv_bias || attention_bias,
        output_bias: attention_bias,
        mlp_bias: architecture.has_mlp_bias && switch(json, "mlp_bias", false)?,
        qk_norm: architecture.qk_norm,
        gelu: Gelu::Exact,
        rope_scaling,
    })
}

/// Reads a GPT-2; fields that a file leaves out have the defaults of transformers' `GPT2Config`.
fn read_gpt2(json: &Value) -> Result<ModelConfig, String> {
    let (width, heads) = (size(json, "n_embd", None)?, size(json, "n_head", None)?);
    let activation = &json["activation_function"];
    let is_tanh = activation.is_null() || TANH_GELU.iter().any(|name| activation == name);
    if !is_tanh {
        only(json, "activation_function", &[json!(EXACT_GELU)])?;
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
        tie_embeddings: switch(json, "tie_word_embeddings", true)?,
        norm_eps: number(json, "layer_norm_epsilon", 1e-5)?,
        gelu: if is_tanh { Gelu::Tanh } else { Gelu::Exact },
        ..ModelConfig::default()
    })
}

fn switch(json: &Value, field: &str, default: bool) -> Result<bool, String> {
    match &json[field] {
        Value::Null => Ok(default),
        value => value.as_bool().ok_or_else(|| format!("{field} is {value}; it must be true or false")),
    }
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

/// Refuses unsupported variants of the family. A field that is left out means the usual variant.
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
    use crate::RopeScaling;

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
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
        let yarn = |attention_factor| RopeScaling::Yarn {
            factor: 4.0,
            original_context: 32,
            attention_factor,
            beta_fast: 30.0,
            beta_slow: 2.0,
            truncate: false,
        };
        let long_rope = |attention_factor| RopeScaling::LongRope {
            short_factor: (0..8).map(|pair| 1.0 + f64::from(pair)).collect(),
            long_factor: (0..8).map(|pair| 2.0 + f64::from(pair)).collect(),
            original_context: 32,
            attention_factor,
        };
        let shapes = [
            ("gpt2", gpt2()),
            ("gpt2", ModelConfig { gelu: Gelu::Tanh, ..gpt2() }),
            ("llama", llama()),
            ("llama", ModelConfig { qkv_bias: true, output_bias: true, mlp_bias: true, ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }), ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(scaling), head_dim: 10, ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(RopeScaling::Dynamic { factor: 2.0 }), ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(yarn(None)), ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(yarn(Some(0.75))), ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(long_rope(None)), ..llama() }),
            ("llama", ModelConfig { rope_scaling: Some(long_rope(Some(1.25))), ..llama() }),
            ("mistral", ModelConfig { sliding_window: 9, ..llama() }),
            ("qwen2", ModelConfig { qkv_bias: true, ..llama() }),
            ("qwen3", ModelConfig { qk_norm: true, head_dim: 20, ..llama() }),
        ];
        for (name, config) in shapes {
            let json = write(&config);
            assert_eq!(
                (json["model_type"].as_str(), read(&json, Path::new("config.json")).unwrap()),
                (Some(name), config)
            );
        }
    }

    #[test]
    fn published_files_are_read() {
        // SmolLM2-135M-Instruct, and the first GPT-2, reduced to the fields that matter.
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
        assert_eq!(config.gelu, Gelu::Tanh);

        let mistral = json!({
            "hidden_size": 4096, "intermediate_size": 14336, "model_type": "mistral", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 32000
        });
        assert_eq!((read(&mistral).sliding_window, read(&mistral).context), (4096, 131_072));
        let mut without = mistral;
        without["sliding_window"] = Value::Null;
        assert_eq!(read(&without).sliding_window, 0);

        let qwen3 = json!({
            "attention_bias": false, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
            "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
            "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": null, "tie_word_embeddings": true,
            "use_sliding_window": false, "vocab_size": 151_936
        });
        let config = read(&qwen3);
        assert_eq!((config.head_dim(), config.qk_norm, config.qkv_bias), (128, true, false));
        let mut qwen2 = qwen3;
        qwen2["model_type"] = json!("qwen2");
        qwen2["head_dim"] = Value::Null;
        qwen2["sliding_window"] = json!(32768);
        let config = read(&qwen2);
        assert_eq!((config.head_dim(), config.qk_norm, config.qkv_bias, config.output_bias), (64, false, true, false));
        assert_eq!(config.sliding_window, 0);
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let message = refused(&llama(), "model_type", json!("gemma"));
        assert_eq!(
            message,
            r#"config.json: model_type is "gemma"; "gpt2", "llama", "mistral", "qwen2", "qwen3" can be read"#
        );
        let layers = json!(["full_attention", "sliding_attention"]);
        let message = refused(&ModelConfig { qkv_bias: true, ..llama() }, "layer_types", layers);
        assert!(message.contains("layer_types has \"sliding_attention\"; only models with"), "{message}");
        let message = refused(&llama(), "quantization_config", json!({"quant_method": "gptq"}));
        assert!(message.contains("quantization_config has quant_method \"gptq\"; only"), "{message}");
        assert!(refused(&llama(), "head_dim", json!(13)).contains("13 wide; rotary positions need an even number"));
        assert!(
            refused(&llama(), "attention_bias", json!("yes")).contains("attention_bias is \"yes\"; it must be true")
        );
        let qwen2 = ModelConfig { qkv_bias: true, ..llama() };
        assert!(refused(&qwen2, "use_sliding_window", json!(true)).contains("use_sliding_window is true; only models"));
        assert!(refused(&gpt2(), "activation_function", json!("relu")).contains("activation_function is \"relu\""));
        assert!(refused(&llama(), "hidden_size", Value::Null).contains("hidden_size is missing"));
        assert!(refused(&llama(), "hidden_size", json!("64")).contains("hidden_size is \"64\"; it must be a whole"));
        assert!(refused(&llama(), "num_attention_heads", json!(3)).contains("model.kv_heads: 2 does not divide"));
        assert!(refused(&gpt2(), "layer_norm_epsilon", json!(-1)).contains("must be a number above 0"));
    }
}
