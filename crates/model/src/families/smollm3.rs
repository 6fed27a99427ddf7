//! SmolLM3: a Llama with layers that have no positions.

use serde_json::Value;

use super::llama::{self, DECODER, DEFAULTS, Defaults, NAMES};
use super::{Family, FamilyRules};
use crate::ModelConfig;
use crate::config_json::{rope, size, switch};

pub const SMOLLM3: FamilyRules = FamilyRules {
    family: Family::SmolLm3,
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    decoder: DECODER,
    optional: &[
        "head_dim",
        "kv_heads",
        "rope_scaling",
        "qkv_bias",
        "output_bias",
        "mlp_bias",
        "no_rope_layers",
        "sliding_window",
        "full_attention_layers",
    ],
    fix: |_| {},
    names: NAMES,
    read,
    write,
};

fn read(json: &Value) -> Result<ModelConfig, String> {
    let rope = rope::Defaults { theta: 2e6, ..rope::DEFAULTS };
    let defaults = Defaults { context: 32768, kv_heads: Some(4), tie_embeddings: true, rope, ..DEFAULTS };
    let config = llama::with_attention_bias(llama::read_like(json, Family::SmolLm3, &defaults)?, json)?;
    let no_rope_layers = no_rope_layers(json, config.layers)?;
    let window = llama::read_used_window(json, None)?;
    // Where the file does not say, the layers without positions have the window.
    let config = llama::with_window(config, json, window, |layer| window > 0 && no_rope_layers.contains(&layer))?;
    Ok(ModelConfig { no_rope_layers, mlp_bias: switch(json, "mlp_bias", false)?, ..config })
}

/// The layers whose number in the field of the same name, which has one for each layer, is 0.
fn no_rope_layers(json: &Value, layers: usize) -> Result<Vec<usize>, String> {
    let value = &json["no_rope_layers"];
    if value.is_null() {
        let interval = size(json, "no_rope_layer_interval", Some(4))?;
        return Ok((0..layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect());
    }
    let flags = value.as_array().filter(|flags| {
        flags.len() >= layers && flags.iter().all(|flag| *flag == 0 || *flag == 1 || flag.is_boolean())
    });
    let Some(flags) = flags else {
        return Err(format!("no_rope_layers is {value}; it must be a list of {layers} numbers, 1 or 0"));
    };
    Ok((0..layers).filter(|&layer| flags[layer] == 0 || flags[layer] == false).collect())
}

fn write(config: &ModelConfig) -> Value {
    let mut json = llama::write_like(config);
    let flags: Vec<u8> = (0..config.layers).map(|layer| u8::from(!config.no_rope_layers.contains(&layer))).collect();
    json["no_rope_layers"] = flags.into();
    json["attention_bias"] = config.qkv_bias.into();
    json["mlp_bias"] = config.mlp_bias.into();
    llama::write_used_window(config, &mut json);
    json["layer_types"] = llama::layer_types(config).into();
    json
}
