//! What it takes to train a language model: parameters, tokens, FLOPs, time and memory, by formula.
//!
//! Knows the shape of a model; reads no files and computes with no tensors, so that models of any size can be planned.

use std::fmt;

use serde::Serialize;

use crate::model::{Family, ModelConfig};

/// How far a run goes, and in which pieces.
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
    /// Devices, among which the windows of a step are divided.
    pub devices: u64,
}

/// What a run takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Numbers that are learned.
    pub parameters: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens of an optimiser step.
    pub tokens_per_step: u64,
    /// Tokens that are read, repetitions included.
    pub tokens: u64,
    /// Tokens for each parameter; about 20 is where a training budget is spent best
    /// ([Hoffmann et al. 2022](https://arxiv.org/abs/2203.15556)).
    pub tokens_per_parameter: f64,
    /// Floating-point operations for each token.
    pub flops_per_token: f64,
    /// All of them.
    pub flops: f64,
    /// Devices.
    pub devices: u64,
    /// FLOP/s that one device achieves, where they are measured or given.
    pub flops_per_second: Option<f64>,
    /// Tokens a second, on all devices.
    pub tokens_per_second: Option<f64>,
    /// Seconds that the steps take, evaluation and checkpoints aside.
    pub seconds: Option<f64>,
    /// What a device holds.
    pub memory: Memory,
}

/// Bytes of memory on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, 4 bytes each.
    pub weights: u64,
    /// Gradients, 4 bytes each.
    pub gradients: u64,
    /// AdamW's two moments, 8 bytes a parameter.
    pub moments: u64,
    /// What is kept of the forward pass of the windows computed at once, for the backward pass; an estimate.
    pub activations: u64,
    /// The logits of those windows and their gradient.
    pub logits: u64,
    /// All of these.
    pub total: u64,
    /// All of these, if weights, gradients and moments were divided among the devices
    /// (ZeRO stage 3, [Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054)), which this program does not do.
    pub total_if_sharded: u64,
}

impl Plan {
    /// The plan of a run. `flops_per_second` are those that one device achieves in training.
    ///
    /// A token takes `6 N + 12 layers width window` operations, forward and backward: N are the parameters that activations
    /// are multiplied by, the output layer among them and lookups not, and the second term is attention
    /// ([Chowdhery et al. 2022, appendix B](https://arxiv.org/abs/2204.02311)).
    pub fn new(config: &ModelConfig, extent: Extent, flops_per_second: Option<f64>) -> Self {
        let Extent { steps, window, batch, devices, .. } = extent;
        let tokens_per_step = (batch * window) as u64;
        let tokens = steps * tokens_per_step;
        let parameters = parameters(config);
        let attention = 12.0 * config.layers as f64 * (config.heads * config.head_dim()) as f64 * window as f64;
        let flops_per_token = 6.0 * multiplied(config) as f64 + attention;
        let flops = flops_per_token * tokens as f64;
        let all = flops_per_second.map(|one| one * devices as f64);
        Self {
            parameters,
            steps,
            tokens_per_step,
            tokens,
            tokens_per_parameter: tokens as f64 / parameters as f64,
            flops_per_token,
            flops,
            devices,
            flops_per_second,
            tokens_per_second: all.map(|all| all / flops_per_token),
            seconds: all.map(|all| flops / all),
            memory: memory(config, extent),
        }
    }
}

/// The numbers that are learned.
pub fn parameters(config: &ModelConfig) -> u64 {
    let &ModelConfig { vocab_size, context, layers, width, feed_forward, kv_heads, .. } = config;
    let is_gpt2 = config.family == Family::Gpt2;
    let (query, kv) = (config.heads * config.head_dim(), kv_heads * config.head_dim());
    // LayerNorm has a weight and a bias, RMSNorm a weight; only GPT-2's linear layers have biases.
    let norm = if is_gpt2 { 2 * width } else { width };
    let biases = if is_gpt2 { query + 2 * kv + width + feed_forward + width } else { 0 };
    let positions = if is_gpt2 { context * width } else { 0 };
    // Tied, the output layer is the embedding and is counted with what is multiplied.
    let lookups = if config.tie_embeddings { 0 } else { vocab_size * width };
    multiplied(config) + (layers * (biases + 2 * norm) + norm + positions + lookups) as u64
}

/// The parameters that activations are multiplied by.
fn multiplied(config: &ModelConfig) -> u64 {
    let &ModelConfig { vocab_size, layers, width, feed_forward, kv_heads, .. } = config;
    let (query, kv) = (config.heads * config.head_dim(), kv_heads * config.head_dim());
    let matrices = if config.family == Family::Gpt2 { 2 } else { 3 };
    let block = width * query + 2 * width * kv + query * width + matrices * width * feed_forward;
    (layers * block + vocab_size * width) as u64
}

/// Counted as in [Korthikanti et al. 2022](https://arxiv.org/abs/2205.05198), in 32 bits, without dropout and with attention
/// that keeps no scores: each block keeps its two inputs, the norms' outputs, query, key and value, what attention mixed,
/// and each step of the feed-forward layer.
fn memory(config: &ModelConfig, extent: Extent) -> Memory {
    const FLOAT: u64 = 4;
    let (query, kv) = (config.heads * config.head_dim(), config.kv_heads * config.head_dim());
    let inner = if config.family == Family::Gpt2 { 2 } else { 4 };
    let block = 4 * config.width + 2 * query + 2 * kv + inner * config.feed_forward;
    let tokens = (extent.micro_batch * extent.window) as u64;
    let parameters = parameters(config);
    let [weights, gradients, moments] = [1, 1, 2].map(|times| times * FLOAT * parameters);
    let activations = FLOAT * tokens * (config.layers * block + 2 * config.width) as u64;
    let logits = 2 * FLOAT * tokens * config.vocab_size as u64;
    let of_parameters = weights + gradients + moments;
    Memory {
        weights,
        gradients,
        moments,
        activations,
        logits,
        total: of_parameters + activations + logits,
        total_if_sharded: of_parameters / extent.devices + activations + logits,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory { weights, gradients, moments, activations, logits, total, total_if_sharded } = self.memory;
        let bytes = |bytes: u64| short(bytes as f64) + "B";
        writeln!(f, "parameters  {}", short(self.parameters as f64))?;
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
        write!(
            f,
            "memory      {} on each device: weights {}, gradients {}, moments {}, activations {}, logits {}",
            bytes(total),
            bytes(weights),
            bytes(gradients),
            bytes(moments),
            bytes(activations),
            bytes(logits)
        )?;
        match self.devices {
            1 => Ok(()),
            _ => write!(f, "\n            {} if weights, gradients and moments were sharded", bytes(total_if_sharded)),
        }
    }
}

/// A number with three digits and a letter for its thousands.
fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 6] = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match STEPS.into_iter().find(|(step, _)| number >= *step) {
        Some((step, letter)) => format!("{:.3} {letter}", number / step),
        None => format!("{number:.0} "),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 2.0 * 86_400.0 => format!("{:.1} days", s / 86_400.0),
        s if s >= 2.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Device;

    use super::*;
    use crate::model::{Heads, Policy};

    fn extent(devices: u64) -> Extent {
        Extent { steps: 1000, window: 4096, batch: 1024, micro_batch: 1, devices }
    }

    /// Llama 2 7B, whose authors give 6.7e9 parameters.
    fn llama_7b() -> ModelConfig {
        let shape = ModelConfig {
            vocab_size: 32_000,
            context: 4096,
            layers: 32,
            width: 4096,
            heads: 32,
            feed_forward: 11_008,
            tie_embeddings: false,
            ..ModelConfig::default()
        };
        shape.resolve(32_000).unwrap()
    }

    #[test]
    fn parameters_are_those_that_models_have() {
        assert_eq!(parameters(&llama_7b()), 6_738_415_616);
        for family in [Family::Gpt2, Family::Llama] {
            for tie_embeddings in [true, false] {
                let shape = ModelConfig { family, tie_embeddings, ..ModelConfig::default() };
                let config = shape.resolve(77).unwrap();
                let policy = Policy::new(&config, Heads::default(), 0, &Device::flex());
                assert_eq!(parameters(&config), policy.num_params() as u64, "{config:?}");
            }
        }
    }

    #[test]
    fn a_plan_follows_its_formulae() {
        let plan = Plan::new(&llama_7b(), extent(64), Some(125e12));
        assert_eq!(plan.tokens, 1000 * 4096 * 1024);
        let per_token = 6.0 * (6_738_415_616.0 - 32_000.0 * 4096.0 - 65.0 * 4096.0) + 12.0 * 32.0 * 4096.0 * 4096.0;
        assert!((plan.flops_per_token / per_token - 1.0).abs() < 1e-12, "{}", plan.flops_per_token);
        let seconds = plan.flops / (64.0 * 125e12);
        assert!((plan.seconds.unwrap() / seconds - 1.0).abs() < 1e-12);
        assert_eq!(plan.memory.weights + plan.memory.gradients + plan.memory.moments, 16 * 6_738_415_616);
        assert_eq!(plan.memory.total - plan.memory.total_if_sharded, 16 * 6_738_415_616 / 64 * 63);
        let text = plan.to_string();
        assert!(text.contains("6.738 G") && text.contains("if weights, gradients and moments were sharded"), "{text}");
        assert!(Plan::new(&llama_7b(), extent(1), None).seconds.is_none());
    }
}
