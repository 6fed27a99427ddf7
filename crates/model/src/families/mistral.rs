//! Mistral: a Llama in which each token sees a window of tokens.

use super::llama::{self, DECODER, DEFAULTS, Defaults, NAMES};
use super::{Family, FamilyRules};
use crate::ModelConfig;

pub const MISTRAL: FamilyRules = FamilyRules {
    family: Family::Mistral,
    model_type: "mistral",
    class: "MistralForCausalLM",
    decoder: DECODER,
    optional: &["head_dim", "kv_heads", "rope_scaling", "sliding_window"],
    fix: |_| {},
    names: NAMES,
    read: |json| {
        let defaults = Defaults { context: 4096 * 32, kv_heads: Some(8), ..DEFAULTS };
        let config = llama::read_like(json, Family::Mistral, &defaults)?;
        Ok(ModelConfig { sliding_window: llama::read_window(json, Some(4096))?, ..config })
    },
    write: |config| {
        let mut json = llama::write_like(config);
        json["sliding_window"] = llama::window(config).into();
        json
    },
};
