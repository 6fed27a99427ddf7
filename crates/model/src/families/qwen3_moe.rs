//! Qwen3 with a mixture of experts in all layers, or in all but some.

use serde_json::Value;

use super::llama::{self, ATTENTION, DECODER, DEFAULTS, Defaults, FEED_FORWARD, NAMES, NORMS};
use super::{Family, FamilyRules, Names, Part};
use crate::config_json::{number, size, switch};
use crate::{ExpertsConfig, ModelConfig};

pub const QWEN3_MOE: FamilyRules = FamilyRules {
    family: Family::Qwen3Moe,
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    decoder: DECODER,
    optional: &[
        "head_dim",
        "kv_heads",
        "rope_scaling",
        "qkv_bias",
        "output_bias",
        "qk_norm",
        "sliding_window",
        "experts",
        "experts.dense_layers",
        "experts.norm_topk_prob = false",
    ],
    fix: |config| {
        config.qk_norm = true;
        config.experts.get_or_insert_default();
    },
    names: Names { parts: &[NORMS, ATTENTION, FEED_FORWARD, EXPERTS], ..NAMES },
    read,
    write,
};

const EXPERTS: &[Part] = &[
    ("mlp.gate", &["feed_forward.router"]),
    ("mlp.experts.*.gate_proj", &["feed_forward.experts.*.gate"]),
    ("mlp.experts.*.up_proj", &["feed_forward.experts.*.up"]),
    ("mlp.experts.*.down_proj", &["feed_forward.experts.*.down"]),
];

fn read(json: &Value) -> Result<ModelConfig, String> {
    let defaults = Defaults { context: 32768, kv_heads: Some(4), ..DEFAULTS };
    let config = llama::with_attention_bias(llama::read_like(json, Family::Qwen3Moe, &defaults)?, json)?;
    let step = size(json, "decoder_sparse_step", Some(1))?;
    let mut dense_layers: Vec<usize> = (0..config.layers).filter(|layer| !(layer + 1).is_multiple_of(step)).collect();
    dense_layers.extend(dense_alone(json)?.into_iter().filter(|&layer| layer < config.layers));
    dense_layers.sort_unstable();
    dense_layers.dedup();
    // transformers 5 writes the second name.
    let count = ["num_experts", "num_local_experts"].into_iter().find(|field| !json[*field].is_null());
    let experts = ExpertsConfig {
        count: size(json, count.unwrap_or("num_experts"), Some(128))?,
        per_token: size(json, "num_experts_per_tok", Some(8))?,
        feed_forward: size(json, "moe_intermediate_size", Some(768))?,
        norm_topk_prob: switch(json, "norm_topk_prob", false)?,
        dense_layers,
        router_aux_loss_coef: aux_loss_coefficient(json)?,
    };
    let sliding_window = llama::read_used_window(json, Some(4096))?;
    Ok(ModelConfig { sliding_window, experts: Some(experts), ..config })
}

/// The layers of `mlp_only_layers`.
fn dense_alone(json: &Value) -> Result<Vec<usize>, String> {
    let value = &json["mlp_only_layers"];
    let layer = |layer: &Value| usize::try_from(layer.as_u64()?).ok();
    match value {
        Value::Null => Some(Vec::new()),
        value => value.as_array().and_then(|layers| layers.iter().map(layer).collect()),
    }
    .ok_or_else(|| format!("mlp_only_layers is {value}; it must be a list of layers, counted from 0"))
}

/// The weight of the loss that balances the use of experts; 0 for none.
pub fn aux_loss_coefficient(json: &Value) -> Result<f64, String> {
    match json["router_aux_loss_coef"].as_f64() {
        Some(0.0) => Ok(0.0),
        _ => number(json, "router_aux_loss_coef", 0.001),
    }
}

fn write(config: &ModelConfig) -> Value {
    let mut json = llama::write_like(config);
    let experts = config.experts.as_ref().expect("a checked shape of this family has experts");
    json["attention_bias"] = config.qkv_bias.into();
    llama::write_used_window(config, &mut json);
    json["num_experts"] = experts.count.into();
    json["num_experts_per_tok"] = experts.per_token.into();
    json["moe_intermediate_size"] = experts.feed_forward.into();
    json["norm_topk_prob"] = experts.norm_topk_prob.into();
    json["decoder_sparse_step"] = 1.into();
    json["mlp_only_layers"] = experts.dense_layers.clone().into();
    json["router_aux_loss_coef"] = experts.router_aux_loss_coef.into();
    json
}
