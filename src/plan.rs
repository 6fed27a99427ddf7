//! Cost of training a language model: parameters, tokens, FLOPs, time and memory, by formula.
//!
//! Knows the shape of a model; reads no files and computes with no tensors, so that models of any size can be planned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::Result;
use palestra_display::duration;
use palestra_model::lora::{LoraConfig, is_adapter};
use palestra_model::ops::LOGITS_CHUNK;
use palestra_model::parameter_shapes;
use palestra_model::{ExpertsConfig, ModelConfig};

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
    /// Number of devices, among which the windows of a step are divided.
    pub devices: u64,
}

/// Parameter counts of a model, in all and trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// All parameters, adapters included.
    pub all: u64,
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
    /// Memory of one device.
    pub memory: Memory,
}

/// Bytes of memory on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, 4 bytes each.
    pub weights: u64,
    /// Gradients, 4 bytes a trained parameter.
    pub gradients: u64,
    /// AdamW's two moments, 8 bytes a trained parameter.
    pub moments: u64,
    /// Activations of the windows computed at once, kept for the backward pass. An estimate; with frozen weights, an
    /// upper bound.
    pub activations: u64,
    /// The logits of those windows and their gradient, of at most a chunk of them at once.
    pub logits: u64,
    /// Total of these.
    pub total: u64,
    /// Total of these, if weights, gradients and moments were sharded among the devices
    /// (ZeRO stage 3, [Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054)), which this program does not do.
    pub total_if_sharded: u64,
}

impl Parameters {
    /// Counts the parameters of a model of this shape with these adapters. `frozen` returns those of the given names
    /// that training leaves unchanged.
    ///
    /// # Errors
    /// Adapters that fit no layer; any error of `frozen`.
    pub fn count(
        config: &ModelConfig,
        lora: Option<&LoraConfig>,
        frozen: impl Fn(&BTreeSet<String>) -> Result<BTreeSet<String>>,
    ) -> Result<Self> {
        let mut shapes = parameter_shapes(config);
        if let Some(lora) = lora {
            let linear = |(name, shape): &(String, Vec<usize>)| {
                let layer = name.strip_suffix(".weight").filter(|layer| layer.starts_with("blocks."))?;
                let &[input, output] = shape.as_slice() else { return None };
                Some((layer.to_string(), [input, output]))
            };
            let layers: BTreeMap<String, [usize; 2]> = shapes.iter().filter_map(linear).collect();
            for name in lora.adapted(&layers.keys().cloned().collect())? {
                let [input, output] = layers[&name];
                shapes.push((format!("{name}.adapter.down"), vec![input, lora.rank]));
                shapes.push((format!("{name}.adapter.up"), vec![lora.rank, output]));
            }
        }
        let frozen = frozen(&shapes.iter().map(|(name, _)| name.clone()).collect())?;
        let output_layer = if config.tie_embeddings { "embedding" } else { "head.weight" };
        let mut count = Self::default();
        for (name, shape) in &shapes {
            let size = shape.iter().product::<usize>() as u64;
            let is_active = is_active(config, name);
            let is_multiplied =
                is_active && (name == output_layer || (name.starts_with("blocks.") && shape.len() == 2));
            let is_trained = !frozen.contains(name) && (lora.is_none() || is_adapter(name));
            count.all += size;
            count.active += if is_active { size } else { 0 };
            count.multiplied += if is_multiplied { size } else { 0 };
            count.trained += if is_trained { size } else { 0 };
            count.trained_multiplied += if is_multiplied && is_trained { size } else { 0 };
        }
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
            memory: memory(config, counted, extent),
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

/// Memory of one device. Activations are counted as in [Korthikanti et al. 2022](https://arxiv.org/abs/2205.05198), in
/// 32 bits, without dropout and with attention that keeps no scores. Each block keeps its two inputs, the norms'
/// outputs, query, key and value, the output of attention, and each step of the feed-forward layer, or of each expert that
/// a token passes with its input and output. With gradient checkpointing, each block keeps its input, and one block at a
/// time keeps everything. Logits are made a chunk at a time ([`palestra_model::ops::TokenDistribution`]).
fn memory(config: &ModelConfig, counted: Parameters, extent: Extent) -> Memory {
    const FLOAT: u64 = 4;
    let (query, kv) = (config.heads * config.head_dim(), config.kv_heads * config.head_dim());
    let inner = if config.has_gate() { 4 } else { 2 };
    let block = |layer| {
        let feed_forward = match config.experts_of(layer) {
            Some(experts) => experts.per_token * (inner * experts.feed_forward + 2 * config.width),
            None => inner * config.feed_forward,
        };
        (2 + config.norms_of_block()) * config.width + 2 * query + 2 * kv + feed_forward
    };
    let blocks = (0..config.layers).map(block);
    let blocks = match extent.gradient_checkpointing {
        true => config.layers * config.width + blocks.max().unwrap_or(0),
        false => blocks.sum(),
    };
    let tokens = (extent.micro_batch * extent.window) as u64;
    let [weights, gradients, moments] = [counted.all, counted.trained, 2 * counted.trained].map(|count| FLOAT * count);
    let activations = FLOAT * tokens * (blocks + 2 * config.width) as u64;
    let all_logits = FLOAT * tokens * config.vocab_size as u64;
    let logits = match all_logits <= LOGITS_CHUNK as u64 {
        true => 2 * all_logits,
        // The scores of a chunk, their log-softmax and a gradient; and the gradient of the hidden states.
        false => 3 * LOGITS_CHUNK as u64 + FLOAT * tokens * config.width as u64,
    };
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

/// Formats a number with three digits and a letter for its thousands.
fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 6] = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match STEPS.into_iter().find(|(step, _)| number >= *step) {
        Some((step, letter)) => format!("{:.3} {letter}", number / step),
        None => format!("{number:.0} "),
    }
}

#[cfg(test)]
mod tests {
    use palestra_model::Module;
    use palestra_model::{Device, Family};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use palestra_model::lora::attach;
    use palestra_model::optim::{AdamW, OptimizerConfig, ParameterGroup};
    use palestra_model::parameters::count_trained;
    use palestra_model::{Heads, Policy};

    fn extent(devices: u64) -> Extent {
        Extent { steps: 1000, window: 4096, batch: 1024, micro_batch: 1, gradient_checkpointing: false, devices }
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

    /// Parameters of a model that is trained whole.
    fn whole(config: &ModelConfig) -> Parameters {
        Parameters::count(config, None, |_| Ok(BTreeSet::new())).unwrap()
    }

    #[test]
    fn parameters_are_those_that_models_have() {
        assert_eq!(whole(&llama_7b()).all, 6_738_415_616);
        let mut shapes = Vec::new();
        for family in [Family::Gpt2, Family::Llama] {
            for tie_embeddings in [true, false] {
                shapes.push(ModelConfig { family, tie_embeddings, ..ModelConfig::default() });
            }
        }
        shapes.push(ModelConfig { qkv_bias: true, output_bias: true, mlp_bias: true, ..ModelConfig::default() });
        shapes.push(ModelConfig { qk_norm: true, head_dim: 8, kv_heads: 2, ..ModelConfig::default() });
        for family in [Family::Gemma3, Family::Phi3, Family::SmolLm3, Family::Olmo2] {
            shapes.push(ModelConfig { family, kv_heads: 2, ..ModelConfig::default() });
        }
        for shape in shapes {
            let config = shape.resolve(77).unwrap();
            let policy = Policy::new(&config, Heads::default(), 0, &Device::flex());
            let counted = whole(&config);
            assert_eq!([counted.all, counted.trained], [policy.num_params() as u64; 2], "{config:?}");
            // Adapters, and a part of the base or of the adapters frozen by a pattern.
            let targets = vec!["*.attention.*".into(), "blocks.1.feed_forward.up".into()];
            let lora = LoraConfig { rank: 3, targets, ..LoraConfig::default() };
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let adapted = Policy::from(attach(policy.transformer.clone(), &lora, &mut rng).unwrap());
            for (lora, policy, pattern) in [(None, policy, "blocks.0.*"), (Some(&lora), adapted, "blocks.0.*.down")] {
                let group = ParameterGroup { pattern: pattern.into(), learning_rate_scale: 0.0, weight_decay: None };
                let optimizer =
                    AdamW::new(OptimizerConfig { groups: vec![group], ..OptimizerConfig::default() }).unwrap();
                let counted = Parameters::count(&config, lora, |names| Ok(optimizer.frozen(names)?)).unwrap();
                assert_eq!(counted.all, policy.num_params() as u64);
                let policy = optimizer.freeze(policy.train()).unwrap();
                assert_eq!(counted.trained, count_trained(&policy), "{config:?} {pattern}");
            }
        }
    }

    /// Qwen3-30B-A3B, whose authors give 30.5e9 parameters, of which a token uses 3.3e9.
    #[test]
    fn a_token_uses_a_part_of_a_mixture_of_experts() {
        let experts = ExpertsConfig { count: 128, per_token: 8, feed_forward: 768, ..ExpertsConfig::default() };
        let shape = ModelConfig {
            family: Family::Qwen3Moe,
            vocab_size: 151_936,
            context: 40_960,
            layers: 48,
            width: 2048,
            heads: 32,
            kv_heads: 4,
            head_dim: 128,
            feed_forward: 6144,
            tie_embeddings: false,
            experts: Some(experts),
            ..ModelConfig::default()
        };
        let config = shape.resolve(151_936).unwrap();
        let counted = whole(&config);
        assert_eq!([counted.all, counted.trained], [30_532_122_624; 2]);
        let idle = 48 * 120 * 3 * 2048 * 768;
        assert_eq!(counted.active, 30_532_122_624 - idle);
        let plan = Plan::new(&config, counted, extent(1), None);
        let multiplied = counted.active - 151_936 * 2048 - (48 * (2 * 2048 + 2 * 128) + 2048);
        let per_token = 6.0 * multiplied as f64 + 12.0 * 48.0 * 4096.0 * 4096.0;
        assert!((plan.flops_per_token / per_token - 1.0).abs() < 1e-12, "{}", plan.flops_per_token);
        let text = plan.to_string();
        assert!(text.contains("32 heads over 4, feed-forward 768 in 8 of 128 experts, 151936 tokens"), "{text}");
        assert!(text.contains("\nparameters  30.532 G, 3.353 G of them used by a token\n"), "{text}");

        // As many parameters as the decoder has, also where a layer is dense.
        let experts = ExpertsConfig { count: 3, dense_layers: vec![0], ..ExpertsConfig::default() };
        let small = ModelConfig { family: Family::Qwen3Moe, experts: Some(experts), ..ModelConfig::default() };
        let small = small.resolve(77).unwrap();
        let policy = Policy::new(&small, Heads::default(), 0, &Device::flex());
        assert_eq!(whole(&small).all, policy.num_params() as u64);
    }

    #[test]
    fn a_window_in_some_layers_costs_less_attention() {
        let shape = ModelConfig { family: Family::Gemma3, layers: 6, sliding_window: 64, ..ModelConfig::default() };
        let flops = |full_attention_layers: Vec<usize>| {
            let config = ModelConfig { full_attention_layers, ..shape.clone() }.resolve(77).unwrap();
            Plan::new(&config, whole(&config), extent(1), None).flops_per_token
        };
        // 12 width (window - 64) for each layer that sees all.
        assert_eq!(flops(vec![2, 5]) - flops(vec![]), 2.0 * 12.0 * 64.0 * (4096.0 - 64.0));
    }

    #[test]
    fn a_plan_follows_its_formulae() {
        let plan = Plan::new(&llama_7b(), whole(&llama_7b()), extent(64), Some(125e12));
        assert_eq!(plan.tokens, 1000 * 4096 * 1024);
        let per_token = 6.0 * (6_738_415_616.0 - 32_000.0 * 4096.0 - 65.0 * 4096.0) + 12.0 * 32.0 * 4096.0 * 4096.0;
        assert!((plan.flops_per_token / per_token - 1.0).abs() < 1e-12, "{}", plan.flops_per_token);
        let seconds = plan.flops / (64.0 * 125e12);
        assert!((plan.seconds.unwrap() / seconds - 1.0).abs() < 1e-12);
        assert_eq!(plan.memory.weights + plan.memory.gradients + plan.memory.moments, 16 * 6_738_415_616);
        assert_eq!(plan.memory.total - plan.memory.total_if_sharded, 16 * 6_738_415_616 / 64 * 63);
        assert_eq!(plan.memory.logits, 3 * LOGITS_CHUNK as u64 + 4 * 4096 * 4096, "three buffers of a chunk");
        let short = Extent { window: 256, ..extent(1) };
        let few = Plan::new(&llama_7b(), whole(&llama_7b()), short, None);
        assert_eq!(few.memory.logits, 8 * 256 * 32_000, "all logits and their gradient");
        let text = plan.to_string();
        assert!(
            text.contains("6.738 G\n") && text.contains("if weights, gradients and moments were sharded"),
            "{text}"
        );
        assert!(
            text.starts_with("model       llama of 32 layers x 4096, 32 heads, feed-forward 11008, 32000"),
            "{text}"
        );
        assert!(Plan::new(&llama_7b(), whole(&llama_7b()), extent(1), None).seconds.is_none());
    }

    #[test]
    fn what_is_frozen_takes_no_gradient_and_no_moments() {
        let lora = LoraConfig { rank: 8, targets: vec!["*.attention.query".into()], ..LoraConfig::default() };
        let counted = Parameters::count(&llama_7b(), Some(&lora), |_| Ok(BTreeSet::new())).unwrap();
        let adapters = 32 * 8 * 2 * 4096;
        assert_eq!([counted.all, counted.trained], [6_738_415_616 + adapters, adapters]);
        let plan = Plan::new(&llama_7b(), counted, extent(1), None);
        let Memory { weights, gradients, moments, .. } = plan.memory;
        assert_eq!([weights, gradients, moments], [4 * counted.all, 4 * adapters, 8 * adapters]);
        let full = Plan::new(&llama_7b(), whole(&llama_7b()), extent(1), None);
        let saved = 2.0 * whole(&llama_7b()).multiplied as f64 - 6.0 * adapters as f64;
        assert!(((full.flops_per_token - plan.flops_per_token) / saved - 1.0).abs() < 1e-12);
        assert!(plan.to_string().contains("\nparameters  6.741 G, 2.097 M of them trained\n"), "{plan}");

        let checkpointed = Extent { gradient_checkpointing: true, ..extent(1) };
        let short_of_memory = Plan::new(&llama_7b(), counted, checkpointed, None);
        assert!(short_of_memory.memory.activations * 11 < plan.memory.activations);
        assert!(short_of_memory.flops_per_token > 1.3 * plan.flops_per_token);
    }
}
