//! LoRA: low-rank adapters beside frozen linear layers ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)).
//!
//! Knows the layers of a transformer by name; knows nothing of learners. Code that trains a model trains an adapted one
//! unchanged.

mod peft;
mod peft_config;

use std::collections::BTreeSet;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use palestra_settings::{Range, Setting, check_ranges};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::layers::{Adapter, normal};
use super::{Init, Linear, Precision, Transformer, Weight, parameters};
use crate::quantize::Quantization;
use crate::{Error, Result};
pub use peft::{
    adapter_files, base_of_adapters, read_adapters, read_score_head, read_score_settings, to_classifier_adapters,
    write_adapters,
};

/// Settings of LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of an adapter, at least 1: the width between its two matrices. A higher rank can learn more.
    pub rank: usize,
    /// Numerator of the scale, above 0: the adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Linear layers to adapt: patterns on names such as `blocks.0.attention.query`.
    pub targets: Vec<String>,
    /// Form of the frozen weights of the blocks' linear layers: `none`, as 32-bit numbers; `bf16`, as 16-bit ones; `int8`,
    /// 8-bit integers with a scale for each output; `nf4`, 4-bit NormalFloat in blocks of 64 with doubly quantised scales
    /// (QLoRA). Less memory, for a little precision and the time of dequantising a layer at each use. Embedding, norms,
    /// biases, routers and output layer stay in 32 bits.
    pub quantize: Quantization,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = vec!["*.attention.query".into(), "*.attention.value".into()];
        Self { rank: 8, alpha: 16.0, targets, quantize: Quantization::None }
    }
}

/// Layers as PEFT's `target_modules` name them, and as `targets` does.
const PEFT_NAMES: [(&str, &str); 8] = [
    ("q_proj", "*.attention.query"),
    ("k_proj", "*.attention.key"),
    ("v_proj", "*.attention.value"),
    ("o_proj", "*.attention.output"),
    ("gate_proj", "*.feed_forward.gate"),
    ("up_proj", "*.feed_forward.up"),
    ("down_proj", "*.feed_forward.down"),
    ("all-linear", "blocks.*"),
];

impl LoraConfig {
    /// Checks that the values are possible. [`adapted`](Self::adapted) compares the patterns with the layers of a model.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let ranges: [Setting; 2] = [("rank", &self.rank, Range::AT_LEAST_ONE), ("alpha", &self.alpha, Range::POSITIVE)];
        Ok(check_ranges("lora", &ranges)?)
    }

    /// Form of the frozen matrices of a model of this precision.
    pub fn form(&self, precision: Precision) -> Quantization {
        match self.quantize {
            Quantization::None => precision.of_frozen(),
            chosen => chosen,
        }
    }

    /// The subset of `layers` that is adapted.
    ///
    /// # Errors
    /// A rank of 0 or an alpha that is not above 0, or a pattern that is invalid or that no layer matches.
    pub fn adapted(&self, layers: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        self.check()?;
        let wrong = |pattern: &str, why: &str| Error::Config(format!("lora.targets: {pattern:?} {why}"));
        if self.targets.is_empty() {
            return Err(Error::Config("lora.targets: none; name layers, such as \"*.attention.query\"".into()));
        }
        let mut adapted = BTreeSet::new();
        for target in &self.targets {
            let pattern = glob::Pattern::new(target).map_err(|error| wrong(target, &error.to_string()))?;
            let mut matched = layers.iter().filter(|name| pattern.matches(name)).peekable();
            if matched.peek().is_none() {
                let here = PEFT_NAMES.iter().find(|(name, _)| target.ends_with(name)).map(|(_, here)| here);
                let named = here.map_or_else(String::new, |here| format!("; that is \"{here}\" here"));
                return Err(wrong(
                    target,
                    &format!("matches no layer; they are named like \"blocks.0.attention.query\"{named}"),
                ));
            }
            adapted.extend(matched.cloned());
        }
        Ok(adapted)
    }
}

/// Adds new adapters to the layers that `config` selects and freezes all other parameters, in the form that it names. The
/// model's outputs stay the same, but for what quantisation rounds.
///
/// # Errors
/// As [`LoraConfig::adapted`].
pub fn attach(mut model: Transformer, config: &LoraConfig, rng: &mut ChaCha8Rng) -> Result<Transformer> {
    let adapted = config.adapted(&model.linears_mut().map(|(name, _)| name).collect())?;
    let form = config.form(model.precision());
    let (device, mut model) = (model.device(), model.quantized(form));
    for (_, layer) in model.linears_mut().filter(|(name, _)| adapted.contains(name)) {
        layer.adapter = Some(fresh(layer, config, rng, &device));
    }
    Ok(freeze_base(model))
}

/// A new adapter: A is normal, scaled so that its output has the scale of its input; B is zero.
fn fresh(layer: &Linear, config: &LoraConfig, rng: &mut ChaCha8Rng, device: &Device) -> Adapter {
    let [input, output] = layer.weight.dims();
    let down = normal([input, config.rank], (1.0 / input as f64).sqrt(), &mut Init::Random(rng), device);
    let up = Param::from_tensor(Tensor::zeros([config.rank, output], device));
    Adapter::new(down, up, config.alpha / config.rank as f64)
}

/// Freezes all parameters but those of adapters.
fn freeze_base(model: Transformer) -> Transformer {
    parameters::set_trained(model, &|name, _| is_adapter(name))
}

/// True if a parameter of this name belongs to an adapter.
pub fn is_adapter(name: &str) -> bool {
    name.contains(".adapter.")
}

/// The model without its adapters: the base, bit for bit. It shares the base's memory.
#[must_use]
pub fn without_adapters(mut model: Transformer) -> Transformer {
    model.linears_mut().for_each(|(_, layer)| layer.adapter = None);
    model
}

/// The model with its adapters merged into its weights, which are 32-bit numbers; all parameters can be trained again.
/// Quantised weights become the numbers that they stand for, so that the merged model computes what the adapted one did.
#[must_use]
pub fn merged(mut model: Transformer) -> Transformer {
    let is_autodiff = model.device().is_autodiff();
    for (_, layer) in model.linears_mut() {
        let adapter = layer.adapter.take();
        if adapter.is_none() && matches!(layer.weight, Weight::Dense(_)) {
            continue;
        }
        layer.weight = layer.weight.clone().map(|weight| {
            let weight = if is_autodiff { weight.autodiff().detach() } else { weight };
            match &adapter {
                Some(adapter) => weight + adapter.difference().detach(),
                None => weight,
            }
        });
    }
    parameters::set_trained(model, &|_, _| true)
}

#[cfg(test)]
mod tests;
