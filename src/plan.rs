//! Cost of training a language model: parameters, tokens, FLOPs, time and memory, by formula.
//!
//! Knows the shape of a model; reads no files and computes with no tensors, so that models of any size can be planned.

mod memory;
mod network;
mod outline;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::Result;
use crate::config::Sharding;
pub use memory::Memory;
use memory::{bytes, memory};
pub use network::Network;
pub use outline::Outline;
use palestra_display::duration;
use palestra_model::lora::{LoraConfig, is_adapter};
use palestra_model::parameter_shapes;
use palestra_model::quantize::Quantization;
use palestra_model::{ExpertsConfig, ModelConfig, Precision, is_router};

/// Length of a run, and the batches that it is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens of a window.
    pub window: usize,
    /// Windows of an optimiser step.
    pub batch: usize,
    /// Windows that one device computes at once.
    pub micro_batch: usize,
    /// True if the backward pass recomputes each block and keeps only its input.
    pub gradient_checkpointing: bool,
    /// Precision of the blocks' matrix products.
    pub precision: Precision,
    /// Number of devices, among which the windows of a step are divided.
    pub devices: u64,
    /// Parts of training that are divided among them too.
    pub sharding: Sharding,
}

/// Parameter counts of a model, in all and trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// All parameters, adapters included.
    pub all: u64,
    /// Bytes of all parameters: 4 each, but for frozen ones that are quantised; and of the copies of trained matrices in 16 bits
    /// that a step keeps.
    pub bytes: u64,
    /// Trained parameters. Only these have gradients and moments.
    pub trained: u64,
    /// Parameters that a token uses: of the experts, only as many as it passes.
    pub active: u64,
    /// Active parameters that activations are multiplied by: the output layer is included, lookups are not.
    pub multiplied: u64,
    /// Trained parameters among these.
    pub trained_multiplied: u64,
}

/// Plan of a run: its size, time and memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Shape of the model, in one line.
    pub shape: String,
    /// Parameters of the model, adapters included.
    pub parameters: u64,
    /// Trained parameters.
    pub trained_parameters: u64,
    /// Parameters that a token uses: fewer than all in a mixture of experts.
    pub active_parameters: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens per optimiser step.
    pub tokens_per_step: u64,
    /// Tokens that are read, repetitions included.
    pub tokens: u64,
    /// Tokens per parameter; about 20 spends a training budget best
    /// ([Hoffmann et al. 2022](https://arxiv.org/abs/2203.15556)).
    pub tokens_per_parameter: f64,
    /// Floating-point operations per token.
    pub flops_per_token: f64,
    /// Floating-point operations of the whole run.
    pub flops: f64,
    /// Number of devices.
    pub devices: u64,
    /// FLOP/s that one device achieves, if measured or given.
    pub flops_per_second: Option<f64>,
    /// Tokens per second, on all devices.
    pub tokens_per_second: Option<f64>,
    /// Seconds of all steps, without evaluation and checkpoints.
    pub seconds: Option<f64>,
    /// Seconds of a step in which the devices add their gradients, if the network is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_seconds: Option<f64>,
    /// Share of the time in which the devices compute, if the network is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<f64>,
    /// Memory of one device.
    pub memory: Memory,
}

impl Parameters {
    /// Counts the parameters of a model of this shape with these adapters, trained in this precision. `frozen` returns those of the given names
    /// that training leaves unchanged.
    ///
    /// # Errors
    /// Adapters that fit no layer; any error of `frozen`.
    pub fn count(
        config: &ModelConfig,
        lora: Option<&LoraConfig>,
        precision: Precision,
        frozen: impl Fn(&BTreeSet<String>) -> Result<BTreeSet<String>>,
    ) -> Result<Self> {
        let mut shapes = parameter_shapes(config);
        let mut saved_by_quantization = 0;
        if let Some(lora) = lora {
            let linear = |(name, shape): &(String, Vec<usize>)| {
                let layer = name.strip_suffix(".weight").filter(|layer| layer.starts_with("blocks."))?;
                let &[input, output] = shape.as_slice() else { return None };
                Some((layer.to_string(), [input, output]))
            };
            let layers: BTreeMap<String, [usize; 2]> = shapes.iter().filter_map(linear).collect();
            let saved = |shape: &[usize; 2]| Quantization::None.bytes(*shape) - lora.form(precision).bytes(*shape);
            let quantized = layers.iter().filter(|(name, _)| !is_router(name));
            saved_by_quantization = quantized.map(|(_, shape)| saved(shape)).sum::<usize>() as u64;
            for name in lora.adapted(&layers.keys().cloned().collect())? {
                let [input, output] = layers[&name];
                shapes.push((format!("{name}.adapter.down"), vec![input, lora.rank]));
                shapes.push((format!("{name}.adapter.up"), vec![lora.rank, output]));
            }
        }
        let frozen = frozen(&shapes.iter().map(|(name, _)| name.clone()).collect())?;
        let output_layer = if config.tie_embeddings { "embedding" } else { "head.weight" };
        let (mut count, mut copies) = (Self::default(), 0);
        for (name, shape) in &shapes {
            let size = shape.iter().product::<usize>() as u64;
            let is_active = is_active(config, name);
            let is_multiplied =
                is_active && (name == output_layer || (name.starts_with("blocks.") && shape.len() == 2));
            let is_trained = !frozen.contains(name) && (lora.is_none() || is_adapter(name));
            let is_copied =
                is_trained && precision == Precision::Bf16 && name.starts_with("blocks.") && shape.len() == 2;
            copies += if is_copied { 2 * size } else { 0 };
            count.all += size;
            count.active += if is_active { size } else { 0 };
            count.multiplied += if is_multiplied { size } else { 0 };
            count.trained += if is_trained { size } else { 0 };
            count.trained_multiplied += if is_multiplied && is_trained { size } else { 0 };
        }
        count.bytes = 4 * count.all - saved_by_quantization + copies;
        Ok(count)
    }
}

impl Plan {
    /// Computes the plan of a run. `flops_per_second` is the rate that one device achieves in training.
    ///
    /// A token takes `2 N + 4 layers width window` operations in the forward pass, as many again for the gradients of
    /// activations and of attention scores, and `2 T` for those of weights. N is the number of parameters that
    /// activations are multiplied by, and T the number of those that are trained. The second term is attention, which
    /// costs twice as much in the backward pass. If all parameters are trained, the sum is `6 N + 12 layers width
    /// window` ([Chowdhery et al. 2022, appendix B](https://arxiv.org/abs/2204.02311)). Gradient checkpointing computes
    /// the forward pass twice.
    pub fn new(config: &ModelConfig, counted: Parameters, extent: Extent, flops_per_second: Option<f64>) -> Self {
        let Extent { steps, window, batch, devices, .. } = extent;
        let tokens_per_step = (batch * window) as u64;
        let tokens = steps * tokens_per_step;
        // Tokens that a token sees, in all layers together.
        let seen = (0..config.layers).map(|layer| match config.window_of(layer) {
            0 => window,
            own => window.min(own),
        });
        let attention = 4.0 * (config.heads * config.head_dim()) as f64 * seen.sum::<usize>() as f64;
        let forward = 2.0 * counted.multiplied as f64 + attention;
        let backward = forward + attention + 2.0 * counted.trained_multiplied as f64;
        let again = if extent.gradient_checkpointing { forward } else { 0.0 };
        let flops_per_token = forward + again + backward;
        let flops = flops_per_token * tokens as f64;
        let all = flops_per_second.map(|one| one * devices as f64);
        Self {
            shape: shape(config),
            parameters: counted.all,
            trained_parameters: counted.trained,
            active_parameters: counted.active,
            steps,
            tokens_per_step,
            tokens,
            tokens_per_parameter: tokens as f64 / counted.all as f64,
            flops_per_token,
            flops,
            devices,
            flops_per_second,
            tokens_per_second: all.map(|all| all / flops_per_token),
            seconds: all.map(|all| flops / all),
            network_seconds: None,
            efficiency: None,
            memory: memory(config, counted, extent),
        }
    }

    /// The plan with the time that the devices take to add their gradients, during which they do not compute.
    #[must_use]
    pub fn over(self, network: Network) -> Self {
        let adding = network.all_reduce_seconds(self.trained_parameters, self.devices);
        let computing = self.seconds.map(|seconds| seconds / self.steps.max(1) as f64);
        let efficiency = computing.map(|computing| computing / (computing + adding));
        let slower = |time: Option<f64>| time.zip(efficiency);
        Self {
            tokens_per_second: slower(self.tokens_per_second).map(|(rate, efficiency)| rate * efficiency),
            seconds: slower(self.seconds).map(|(seconds, efficiency)| seconds / efficiency),
            network_seconds: Some(adding),
            efficiency,
            ..self
        }
    }
}

/// True for a parameter that each token uses; of the experts, for as many as it passes, since all have one shape.
fn is_active(config: &ModelConfig, name: &str) -> bool {
    let number = name.split_once(".experts.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
    match (number, &config.experts) {
        (Some(number), Some(experts)) => number < experts.per_token,
        _ => true,
    }
}

fn shape(config: &ModelConfig) -> String {
    let ModelConfig { layers, width, heads, kv_heads, vocab_size, context, .. } = config;
    let feed_forward = match &config.experts {
        Some(ExpertsConfig { count, per_token, feed_forward, .. }) => {
            format!("{feed_forward} in {per_token} of {count} experts")
        }
        None => config.feed_forward.to_string(),
    };
    let family = config.model_type().unwrap_or("model");
    let shared = if kv_heads == heads { String::new() } else { format!(" over {kv_heads}") };
    format!(
        "{family} of {layers} layers x {width}, {heads} heads{shared}, feed-forward {feed_forward}, {vocab_size} tokens, \
         context {context}"
    )
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model       {}", self.shape)?;
        let trained = match self.trained_parameters == self.parameters {
            true => String::new(),
            false => format!(", {} of them trained", short(self.trained_parameters as f64).trim_end()),
        };
        let active = match self.active_parameters == self.parameters {
            true => String::new(),
            false => format!(", {} of them used by a token", short(self.active_parameters as f64).trim_end()),
        };
        writeln!(f, "parameters  {}{active}{trained}", short(self.parameters as f64).trim_end())?;
        writeln!(
            f,
            "tokens      {} ({} steps of {}), {:.1} for each parameter",
            short(self.tokens as f64),
            self.steps,
            self.tokens_per_step,
            self.tokens_per_parameter
        )?;
        writeln!(f, "FLOPs       {:.3e}, {} a token", self.flops, short(self.flops_per_token))?;
        if let (Some(rate), Some(tokens), Some(seconds)) = (self.flops_per_second, self.tokens_per_second, self.seconds)
        {
            let (rate, tokens) = (short(rate), short(tokens));
            let devices = self.devices;
            writeln!(f, "time        {} on {devices} x {rate}FLOP/s, {tokens} tokens/s", duration(seconds))?;
        }
        if let (Some(adding), Some(efficiency)) = (self.network_seconds, self.efficiency) {
            let sent = bytes(4 * self.trained_parameters);
            let step = duration(adding);
            writeln!(f, "network     {step} of a step to add {sent} of gradients, efficiency {efficiency:.3}")?;
        }
        write!(f, "memory      {} on each device: {}", bytes(self.memory.total), self.memory.parts())?;
        let if_sharded = bytes(self.memory.total_if_sharded);
        match self.devices {
            1 => Ok(()),
            _ => write!(f, "\n            {if_sharded} if weights, gradients and moments were sharded"),
        }
    }
}

/// Formats a number with three digits and a letter for its thousands.
fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 6] = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match STEPS.into_iter().find(|(step, _)| number >= *step) {
        Some((step, letter)) => format!("{:.3} {letter}", number / step),
        None => format!("{number:.0} "),
    }
}

#[cfg(test)]
mod tests;
