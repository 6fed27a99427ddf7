use palestra_model::Module;
use palestra_model::{Device, Family};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use palestra_model::lora::attach;
use palestra_model::ops::LOGITS_CHUNK;
use palestra_model::optim::{AdamW, OptimizerConfig, ParameterGroup};
use palestra_model::parameters::count_trained;
use palestra_model::{Heads, Policy};

fn extent(devices: u64) -> Extent {
    Extent {
        steps: 1000,
        window: 4096,
        batch: 1024,
        micro_batch: 1,
        gradient_checkpointing: false,
        precision: Precision::F32,
        devices,
        sharding: Sharding::None,
    }
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
    Parameters::count(config, None, Precision::F32, |_| Ok(BTreeSet::new())).unwrap()
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
            let optimizer = AdamW::new(OptimizerConfig { groups: vec![group], ..OptimizerConfig::default() }).unwrap();
            let counted =
                Parameters::count(&config, lora, Precision::F32, |names| Ok(optimizer.frozen(names)?)).unwrap();
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
fn adding_gradients_takes_bytes_over_bandwidth_and_messages() {
    let network = Network { bytes_per_second: 1e9, message_seconds: 1e-3 };
    // 5e6 numbers are ten buckets; each of 4 ranks sends 3/4 of 20 MB twice, and 3 messages for each bucket twice.
    assert!((network.all_reduce_seconds(5_000_000, 4) - (0.03 + 0.06)).abs() < 1e-12);
    assert_eq!(network.all_reduce_seconds(5_000_000, 1), 0.0);
    let alone = Plan::new(&llama_7b(), whole(&llama_7b()), extent(4), Some(1e15));
    let plan = alone.clone().over(network);
    let step = alone.seconds.unwrap() / 1000.0;
    let adding = plan.network_seconds.unwrap();
    assert!((plan.efficiency.unwrap() - step / (step + adding)).abs() < 1e-12);
    assert!((plan.seconds.unwrap() - 1000.0 * (step + adding)).abs() < 1e-6 * plan.seconds.unwrap());
    assert!(plan.to_string().contains("of a step to add 26.954 GB of gradients, efficiency 0."), "{plan}");
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
    let sharded = Extent { sharding: Sharding::Optimizer, ..extent(64) };
    let sharded = Plan::new(&llama_7b(), whole(&llama_7b()), sharded, None).memory;
    assert_eq!(sharded.moments, 8 * 6_738_415_616 / 64);
    assert_eq!(plan.memory.total - sharded.total, 8 * 6_738_415_616 / 64 * 63);
    assert_eq!(sharded.total_if_sharded, plan.memory.total_if_sharded);
    assert_eq!(plan.memory.logits, 3 * LOGITS_CHUNK as u64 + 4 * 4096 * 4096, "three buffers of a chunk");
    let short = Extent { window: 256, ..extent(1) };
    let few = Plan::new(&llama_7b(), whole(&llama_7b()), short, None);
    assert_eq!(few.memory.logits, 8 * 256 * 32_000, "all logits and their gradient");
    let text = plan.to_string();
    assert!(text.contains("6.738 G\n") && text.contains("if weights, gradients and moments were sharded"), "{text}");
    assert!(text.starts_with("model       llama of 32 layers x 4096, 32 heads, feed-forward 11008, 32000"), "{text}");
    assert!(Plan::new(&llama_7b(), whole(&llama_7b()), extent(1), None).seconds.is_none());
}

#[test]
fn what_is_frozen_takes_no_gradient_and_no_moments() {
    let lora = LoraConfig { rank: 8, targets: vec!["*.attention.query".into()], ..LoraConfig::default() };
    let counted = Parameters::count(&llama_7b(), Some(&lora), Precision::F32, |_| Ok(BTreeSet::new())).unwrap();
    let adapters = 32 * 8 * 2 * 4096;
    assert_eq!([counted.all, counted.trained], [6_738_415_616 + adapters, adapters]);
    let plan = Plan::new(&llama_7b(), counted, extent(1), None);
    let Memory { weights, gradients, moments, .. } = plan.memory;
    assert_eq!([weights, gradients, moments], [4 * counted.all, 4 * adapters, 8 * adapters]);
    let quantized = LoraConfig { quantize: Quantization::Nf4, ..lora.clone() };
    let quantized = Parameters::count(&llama_7b(), Some(&quantized), Precision::F32, |_| Ok(BTreeSet::new())).unwrap();
    let in_blocks = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008);
    // Half a byte a weight and 8 bits for 64 of them; 32 bits for 16,384 of them; a mean for each of seven matrices.
    let held = in_blocks / 2 + in_blocks / 64 + 4 * in_blocks / 16_384 + 4 * 7 * 32;
    assert_eq!(quantized.bytes, 4 * (quantized.all - in_blocks) + held);
    let in_16_bits = |lora| Parameters::count(&llama_7b(), lora, Precision::Bf16, |_| Ok(BTreeSet::new())).unwrap();
    let beside = in_16_bits(Some(&lora));
    assert_eq!(beside.bytes, 4 * beside.all - 2 * in_blocks + 2 * adapters, "half, and copies of the adapters");
    let trained = in_16_bits(None);
    assert_eq!(trained.bytes, 4 * trained.all + 2 * in_blocks);
    let narrow = Plan::new(&llama_7b(), trained, Extent { precision: Precision::Bf16, ..extent(1) }, None);
    let wide = Plan::new(&llama_7b(), trained, extent(1), None);
    let saved = 2 * 4096 * 32 * (11_008 - 2 * 4096); // gate and up in half, and the outputs of SwiGLU and of two norms in 16 bits
    assert_eq!(wide.memory.activations - narrow.memory.activations, saved);
    let full = Plan::new(&llama_7b(), whole(&llama_7b()), extent(1), None);
    let saved = 2.0 * whole(&llama_7b()).multiplied as f64 - 6.0 * adapters as f64;
    assert!(((full.flops_per_token - plan.flops_per_token) / saved - 1.0).abs() < 1e-12);
    assert!(plan.to_string().contains("\nparameters  6.741 G, 2.097 M of them trained\n"), "{plan}");

    let checkpointed = Extent { gradient_checkpointing: true, ..extent(1) };
    let short_of_memory = Plan::new(&llama_7b(), counted, checkpointed, None);
    assert!(short_of_memory.memory.activations * 8 < plan.memory.activations);
    assert!(short_of_memory.flops_per_token > 1.3 * plan.flops_per_token);
}
