use std::path::Path;

use serde_json::{Value, json};

use crate::config_json::read;
use crate::{Family, ModelConfig, RopeScaling};

fn config(json: &Value) -> ModelConfig {
    read(json, Path::new("config.json")).unwrap()
}

/// The `config.json` of gemma-3-1b-it, reduced to the fields that matter.
#[test]
fn gemma_3_has_local_and_global_layers() {
    let mut json = json!({
        "attn_logit_softcapping": null, "cache_implementation": "hybrid", "final_logit_softcapping": null,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "rope_local_base_freq": 10000, "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262_144
    });
    let old = config(&json);
    assert_eq!(old.full_attention_layers, [5, 11, 17, 23]);
    assert_eq!((old.window_of(0), old.window_of(5), old.tie_embeddings), (512, 0, true));
    assert_eq!((old.rope_theta, old.local_rope_theta, old.query_pre_attn_scalar), (1e6, 1e4, 0));
    // As transformers 5 writes it.
    let kinds = (0..26).map(|layer| if layer % 6 == 5 { "full_attention" } else { "sliding_attention" });
    json["layer_types"] = kinds.collect();
    json["rope_parameters"] = json!({
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}
    });
    for field in ["sliding_window_pattern", "rope_theta", "rope_local_base_freq", "rope_scaling"] {
        json.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(config(&json), old);
}

/// Those of Phi-3-mini-4k-instruct, and of Phi-4-mini-instruct with a head of fewer numbers.
#[test]
fn phi_3_rotates_a_part_of_each_head_by_one_of_two_lists() {
    let mut json = json!({
        "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 4096,
        "model_type": "phi3", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0,
        "sliding_window": 2047, "tie_word_embeddings": false, "vocab_size": 32064
    });
    let first = config(&json);
    assert_eq!((first.sliding_window, first.partial_rotary_factor, first.rope_scaling), (2047, 1.0, None));
    json["hidden_size"] = json!(512);
    json["max_position_embeddings"] = json!(131_072);
    json["partial_rotary_factor"] = json!(0.75);
    for name in ["longrope", "su"] {
        json["rope_scaling"] = json!({"long_factor": [1, 2, 3, 4, 5, 6], "short_factor": [1, 1, 1, 1, 1, 1.5]});
        json["rope_scaling"]["type"] = json!(name);
        let found = config(&json);
        assert_eq!(found.partial_rotary_factor, 0.75);
        let Some(RopeScaling::LongRope { short_factor, original_context, .. }) = found.rope_scaling else {
            panic!("LongRoPE")
        };
        assert_eq!((short_factor[5], original_context), (1.5, 4096));
    }
}

/// That of Qwen3-30B-A3B with fewer layers, and the same with dense layers.
#[test]
fn experts_are_in_the_layers_that_the_file_says() {
    let mut json = json!({
        "attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
        "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
        "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 6, "num_key_value_heads": 4,
        "rope_theta": 1_000_000.0, "router_aux_loss_coef": 0.001, "sliding_window": null, "use_sliding_window": false,
        "vocab_size": 151_936
    });
    let experts = config(&json).experts.unwrap();
    assert_eq!((experts.count, experts.per_token, experts.feed_forward), (128, 8, 768));
    assert!(experts.norm_topk_prob && experts.dense_layers.is_empty() && experts.router_aux_loss_coef == 0.001);
    json["decoder_sparse_step"] = json!(2);
    json["mlp_only_layers"] = json!([1, 4]);
    assert_eq!(config(&json).experts.unwrap().dense_layers, [0, 1, 2, 4]);
    json["mlp_only_layers"] = json!(["1"]);
    let message = read(&json, Path::new("config.json")).unwrap_err().to_string();
    assert!(message.ends_with("mlp_only_layers is [\"1\"]; it must be a list of layers, counted from 0"), "{message}");
}

/// Those of SmolLM3-3B and OLMo-2-1124-7B, reduced.
#[test]
fn layers_without_positions_and_norms_behind_are_read() {
    let json = json!({
        "hidden_size": 2048, "intermediate_size": 11008, "max_position_embeddings": 65536, "model_type": "smollm3",
        "no_rope_layer_interval": 4, "num_attention_heads": 16, "num_hidden_layers": 8, "num_key_value_heads": 4,
        "rope_theta": 5_000_000.0, "use_sliding_window": false, "vocab_size": 128_256
    });
    let smollm3 = config(&json);
    assert_eq!((smollm3.no_rope_layers.as_slice(), smollm3.tie_embeddings), ([3, 7].as_slice(), true));
    let json = json!({
        "attention_bias": false, "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 4096,
        "model_type": "olmo2", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "rope_theta": 500_000, "vocab_size": 100_352
    });
    let olmo2 = config(&json);
    assert_eq!((olmo2.family, olmo2.qk_norm, olmo2.norm_eps), (Family::Olmo2, true, 1e-5));
}
