//! GPT-2: learned positions, LayerNorm, GELU, biases everywhere, one layer of query, key and value.

use serde_json::{Value, json};

use super::{Activation, Decoder, Family, FamilyRules, Names, NormKind, NormPlacement};
use crate::config_json::{number, only, size, switch};
use crate::{Gelu, ModelConfig};

pub const GPT2: FamilyRules = FamilyRules {
    family: Family::Gpt2,
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    decoder: Decoder {
        learned_positions: true,
        norm: NormKind::Layer,
        norm_placement: NormPlacement::Before,
        whole_qk_norm: false,
        all_biases: true,
        activation: Activation::Gelu,
        scaled_embedding: false,
    },
    optional: &["gelu"],
    fix: |_| {},
    names: Names {
        prefix: "transformer.",
        embedding: "wte",
        positions: "wpe",
        norm: "ln_f",
        blocks: "h",
        parts: &[&[
            ("ln_1", &["attention_norm"]),
            ("ln_2", &["feed_forward_norm"]),
            ("attn.c_attn", &["attention.query", "attention.key", "attention.value"]),
            ("attn.c_proj", &["attention.output"]),
            ("mlp.c_fc", &["feed_forward.up"]),
            ("mlp.c_proj", &["feed_forward.down"]),
        ]],
        transposed: false,
    },
    read,
    write,
};

/// Name of the exact GELU; the next constant is the name of the tanh form, the default of older files.
const EXACT_GELU: &str = "gelu";
const TANH_GELU: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

/// Fields that a file leaves out have the defaults of transformers' `GPT2Config`.
fn read(json: &Value) -> Result<ModelConfig, String> {
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

fn write(config: &ModelConfig) -> Value {
    json!({
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
    })
}
