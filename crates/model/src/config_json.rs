//! The shape of a model as Hugging Face's `config.json`. Each family reads and writes its own fields.

pub(crate) mod rope;

use std::path::Path;

use serde_json::{Value, json};

use super::{ModelConfig, families};
use crate::{Error, Result};

/// The `config.json` of a resolved shape.
///
/// The special tokens are `null`; the code that holds the tokenizer sets `bos_token_id`, `eos_token_id` and
/// `pad_token_id`.
///
/// # Panics
/// If the shape is one that [`ModelConfig::check`] refuses.
pub fn write(config: &ModelConfig) -> Value {
    let family = families::of(config).expect("a checked shape has a family");
    let mut json = json!({
        "model_type": family.model_type,
        "architectures": [family.class],
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": "float32",
        "bos_token_id": null,
        "eos_token_id": null,
        "pad_token_id": null,
    });
    if let (Value::Object(all), Value::Object(own)) = (&mut json, (family.write)(config)) {
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
    if !json["quantization_config"].is_null() {
        let method = &json["quantization_config"]["quant_method"];
        return Err(format!(
            "quantization_config has quant_method {method}; only weights that are not quantized can be read"
        ));
    }
    let family = families::named(&json["model_type"])?;
    let config = family.fixed(&(family.read)(json)?);
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// True or false.
pub(crate) fn switch(json: &Value, field: &str, default: bool) -> Result<bool, String> {
    match &json[field] {
        Value::Null => Ok(default),
        value => value.as_bool().ok_or_else(|| format!("{field} is {value}; it must be true or false")),
    }
}

/// Maximum of a size, and of the number of layers: computing with them overflows nowhere, and lists of layers stay short.
const MAX_SIZE: u64 = 1_000_000_000;
const MAX_LAYERS: u64 = 100_000;

/// A whole number of at least 1, and at most [`MAX_SIZE`].
pub(crate) fn size(json: &Value, field: &str, default: Option<usize>) -> Result<usize, String> {
    let most = if matches!(field, "num_hidden_layers" | "n_layer") { MAX_LAYERS } else { MAX_SIZE };
    match (&json[field], default) {
        (Value::Null, Some(default)) => Ok(default),
        (Value::Null, None) => Err(format!("{field} is missing; it must be a whole number of at least 1")),
        (value, _) => match value.as_u64() {
            Some(size) if size > most => Err(format!("{field} is {value}; at most {most} is read")),
            Some(size) if size > 0 => Ok(size as usize),
            _ => Err(format!("{field} is {value}; it must be a whole number of at least 1")),
        },
    }
}

/// A number above 0.
pub(crate) fn number(json: &Value, field: &str, default: f64) -> Result<f64, String> {
    match &json[field] {
        Value::Null => Ok(default),
        value => value
            .as_f64()
            .filter(|number| *number > 0.0)
            .ok_or_else(|| format!("{field} is {value}; it must be a number above 0")),
    }
}

/// Refuses unsupported variants of the family. A field that is left out means the usual variant.
pub(crate) fn only(json: &Value, field: &str, supported: &[Value]) -> Result<(), String> {
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
    use crate::{ExpertsConfig, Family, Gelu, RopeScaling};

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
    fn sizes_that_no_model_has_are_refused() {
        let most = u64::MAX;
        for (field, expected) in [("max_position_embeddings", 1_000_000_000), ("num_hidden_layers", 100_000)] {
            let message = refused(&llama(), field, json!(most));
            assert!(message.contains(&format!("{field} is {most}; at most {expected} is read")), "{message}");
        }
        let message = refused(&llama(), "hidden_size", json!(900_000_000));
        assert!(message.contains("model.width: 900000000 is not between 1 and 10000000"), "{message}");
        let message = refused(&gpt2(), "n_layer", json!(100_001));
        assert!(message.contains("n_layer is 100001; at most 100000 is read"), "{message}");
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
        let of = |family| ModelConfig { family, ..llama() };
        let experts = ExpertsConfig {
            count: 4,
            feed_forward: 24,
            norm_topk_prob: false,
            dense_layers: vec![1],
            router_aux_loss_coef: 0.01,
            ..ExpertsConfig::default()
        };
        let mixtral = ExpertsConfig { norm_topk_prob: true, dense_layers: Vec::new(), ..experts.clone() };
        let gemma = ModelConfig {
            gelu: Gelu::Tanh,
            sliding_window: 9,
            full_attention_layers: vec![1],
            local_rope_theta: 500.0,
            query_pre_attn_scalar: 100,
            final_logit_softcapping: 30.0,
            rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }),
            ..of(Family::Gemma3)
        };
        let half = RopeScaling::LongRope {
            short_factor: vec![1.0; 4],
            long_factor: vec![2.0; 4],
            original_context: 32,
            attention_factor: None,
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
            ("mistral", ModelConfig { family: Family::Mistral, ..llama() }),
            ("qwen2", ModelConfig { qkv_bias: true, ..llama() }),
            ("qwen2", ModelConfig { qkv_bias: true, sliding_window: 9, full_attention_layers: vec![0], ..llama() }),
            ("qwen3", ModelConfig { qk_norm: true, head_dim: 20, ..llama() }),
            ("qwen3_moe", ModelConfig { experts: Some(experts.clone()), head_dim: 20, ..of(Family::Qwen3Moe) }),
            ("mixtral", ModelConfig { experts: Some(mixtral), sliding_window: 9, ..of(Family::Mixtral) }),
            ("gemma3_text", of(Family::Gemma3)),
            ("gemma3_text", ModelConfig { local_rope_theta: 0.0, ..gemma.clone() }),
            ("gemma3_text", gemma),
            ("phi3", ModelConfig { sliding_window: 9, ..of(Family::Phi3) }),
            ("phi3", ModelConfig { partial_rotary_factor: 0.5, rope_scaling: Some(half), ..of(Family::Phi3) }),
            ("smollm3", ModelConfig { mlp_bias: true, no_rope_layers: vec![0], ..of(Family::SmolLm3) }),
            ("smollm3", ModelConfig { sliding_window: 9, full_attention_layers: vec![1], ..of(Family::SmolLm3) }),
            ("olmo2", ModelConfig { qkv_bias: true, output_bias: true, ..of(Family::Olmo2) }),
        ];
        for (name, config) in shapes {
            let config = config.resolve(300).unwrap();
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
            r#"config.json: model_type is "gemma"; "gpt2", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral", "gemma3_text", "phi3", "smollm3", "olmo2" can be read"#
        );
        let layers = json!(["full_attention", "sliding_attention"]);
        let message = refused(&ModelConfig { qkv_bias: true, ..llama() }, "layer_types", layers);
        assert!(message.contains("layer 1 attends to a window (layer_types), and the file has none"), "{message}");
        let message = refused(&llama(), "quantization_config", json!({"quant_method": "gptq"}));
        assert!(message.contains("quantization_config has quant_method \"gptq\"; only"), "{message}");
        assert!(refused(&llama(), "head_dim", json!(13)).contains("13 wide; rotary positions need an even number"));
        assert!(
            refused(&llama(), "attention_bias", json!("yes")).contains("attention_bias is \"yes\"; it must be true")
        );
        let gemma = ModelConfig { family: Family::Gemma3, ..llama() }.resolve(300).unwrap();
        let message = refused(&gemma, "layer_types", json!(["full_attention", "chunked_attention"]));
        assert!(message.contains("layer_types has \"chunked_attention\"; only \"full_attention\" and"), "{message}");
        let message = refused(&gemma, "layer_types", json!(["full_attention"]));
        assert!(message.contains("layer_types has 1 names, and num_hidden_layers is 2"), "{message}");
        let message = refused(&gemma, "use_bidirectional_attention", json!(true));
        assert!(message.contains("use_bidirectional_attention is true; only models with false"), "{message}");
        let positions = json!({"sliding_attention": {"rope_type": "linear", "factor": 2.0}});
        let message = refused(&gemma, "rope_parameters", positions);
        assert!(message.contains("rope_parameters.sliding_attention.rope_type is \"linear\"; only"), "{message}");
        let message = refused(&gemma, "rope_parameters", json!({"rope_theta": 1e6}));
        assert!(message.contains("rope_parameters has \"rope_theta\"; gemma3_text has them by layer"), "{message}");
        let smollm3 = ModelConfig { family: Family::SmolLm3, ..llama() };
        let message = refused(&smollm3, "no_rope_layers", json!([1]));
        assert!(message.contains("no_rope_layers is [1]; it must be a list of 2 numbers, 1 or 0"), "{message}");
        let mixtral = ModelConfig { family: Family::Mixtral, ..llama() }.resolve(300).unwrap();
        let message = refused(&mixtral, "num_experts_per_tok", json!(9));
        assert!(message.contains("model.experts.per_token: 9"), "{message}");
        let phi3 = ModelConfig { family: Family::Phi3, ..llama() };
        let message = refused(&phi3, "rope_scaling", json!({"type": "linear", "factor": 2.0}));
        assert!(message.contains("rope_scaling has rope_type \"linear\"; phi3 has \"longrope\""), "{message}");
        assert!(refused(&gpt2(), "activation_function", json!("relu")).contains("activation_function is \"relu\""));
        assert!(refused(&llama(), "hidden_size", Value::Null).contains("hidden_size is missing"));
        assert!(refused(&llama(), "hidden_size", json!("64")).contains("hidden_size is \"64\"; it must be a whole"));
        assert!(refused(&llama(), "num_attention_heads", json!(3)).contains("model.kv_heads: 2 does not divide"));
        assert!(refused(&gpt2(), "layer_norm_epsilon", json!(-1)).contains("must be a number above 0"));
    }
}
