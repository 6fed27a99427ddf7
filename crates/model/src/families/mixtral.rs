//! Mixtral: a Mistral with a mixture of experts in every layer.

use serde_json::{Value, json};

use super::llama::{self, ATTENTION, DECODER, DEFAULTS, Defaults, NAMES, NORMS};
use super::qwen3_moe::aux_loss_coefficient;
use super::{Family, FamilyRules, Names, Part};
use crate::config_json::{only, rope, size};
use crate::{ExpertsConfig, ModelConfig};

pub const MIXTRAL: FamilyRules = FamilyRules {
    family: Family::Mixtral,
    model_type: "mixtral",
    class: "MixtralForCausalLM",
    decoder: DECODER,
    optional: &["head_dim", "kv_heads", "rope_scaling", "sliding_window", "experts"],
    fix: |config| {
        let experts = config.experts.get_or_insert_default();
        // No layer is dense, so that the one width is that of the experts.
        if experts.feed_forward > 0 {
            config.feed_forward = experts.feed_forward;
        }
    },
    names: Names { parts: &[NORMS, ATTENTION, EXPERTS], ..NAMES },
    read,
    write,
};

const EXPERTS: &[Part] = &[
    ("block_sparse_moe.gate", &["feed_forward.router"]),
    ("block_sparse_moe.experts.*.w1", &["feed_forward.experts.*.gate"]),
    ("block_sparse_moe.experts.*.w3", &["feed_forward.experts.*.up"]),
    ("block_sparse_moe.experts.*.w2", &["feed_forward.experts.*.down"]),
];

fn read(json: &Value) -> Result<ModelConfig, String> {
    let rope = rope::Defaults { theta: 1e6, ..rope::DEFAULTS };
    let defaults = Defaults { context: 4096 * 32, kv_heads: Some(8), norm_eps: 1e-5, rope, ..DEFAULTS };
    let config = llama::read_like(json, Family::Mixtral, &defaults)?;
    only(json, "router_jitter_noise", &[json!(0.0), json!(0)])?;
    let experts = ExpertsConfig {
        count: size(json, "num_local_experts", Some(8))?,
        per_token: size(json, "num_experts_per_tok", Some(2))?,
        feed_forward: config.feed_forward,
        norm_topk_prob: true,
        dense_layers: Vec::new(),
        router_aux_loss_coef: aux_loss_coefficient(json)?,
    };
    Ok(ModelConfig { sliding_window: llama::read_window(json, None)?, experts: Some(experts), ..config })
}

fn write(config: &ModelConfig) -> Value {
    let mut json = llama::write_like(config);
    let experts = config.experts.as_ref().expect("a checked shape of this family has experts");
    json["intermediate_size"] = experts.feed_forward.into();
    json["sliding_window"] = llama::window(config).into();
    json["num_local_experts"] = experts.count.into();
    json["num_experts_per_tok"] = experts.per_token.into();
    json["router_aux_loss_coef"] = experts.router_aux_loss_coef.into();
    json
}
