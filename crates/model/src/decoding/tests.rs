use std::sync::Arc;

use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cache::SharedPrefix;
use crate::generate::tests::{VOCAB, policy, shapes};
use crate::lora::{LoraConfig, attach};
use crate::ops::{available_devices, open_device};
use crate::quantize::Quantization;
use crate::{ExpertsConfig, Family, ModelConfig, RopeScaling};

/// Models of every kind of layer that the decoding pass knows, on every device of the program's memory.
fn each_model(test: impl Fn(&Transformer)) {
    let llama = ModelConfig { kv_heads: 2, ..ModelConfig::default() };
    let scaling = RopeScaling::LongRope {
        short_factor: vec![1.0; 2],
        long_factor: vec![8.0; 2],
        original_context: 9,
        attention_factor: None,
    };
    let more = [
        ModelConfig { qkv_bias: true, ..llama.clone() },
        ModelConfig { qk_norm: true, head_dim: 6, ..llama.clone() },
        ModelConfig { sliding_window: 4, kv_heads: 1, ..llama.clone() },
        ModelConfig { rope_scaling: Some(scaling), ..llama },
    ];
    let shapes = shapes().into_iter().chain(more).filter(|shape| shape.experts.is_none());
    for shape in shapes {
        for device in available_devices().into_iter().filter(|name| !name.contains("cuda")) {
            let shape = ModelConfig { context: 32, width: 16, heads: 4, ..shape.clone() };
            let model = policy(&shape.resolve(VOCAB).unwrap(), &open_device(device).unwrap()).transformer;
            test(&model);
        }
    }
}

/// Passes of one token and of some in each of three rows, of which the last gets the beginning of the first.
fn readings() -> Vec<Vec<[usize; 3]>> {
    let mut passes = vec![vec![[0, 0, 5], [1, 0, 2]], vec![[0, 5, 1], [1, 2, 4]], vec![[2, 4, 3], [1, 6, 1]]];
    passes.extend((0..6).map(|at| vec![[0, 6 + at, 1], [2, 7 + at, 1], [1, 7 + at, 1]]));
    passes
}

/// Hidden states of all passes, `[tokens, width]`, by a model or its decoding pass.
fn hidden(model: &Transformer, threads: Option<usize>, is_far: bool) -> Vec<f32> {
    let mut cache = KvCache::new(model, 3, 20);
    cache.decoding = match threads {
        Some(threads) => {
            let mut decoding = DecodingPass::of(model).expect("the decoding pass knows the model");
            decoding.threads = Threads::of_rayon(threads);
            Some(Box::new(decoding))
        }
        None => None,
    };
    let mut found = Vec::new();
    for (number, readings) in readings().into_iter().enumerate() {
        if number == 2 {
            cache.share(&[SharedPrefix { from: 0, to: 2, count: 4 }]);
        }
        let readings = readings.into_iter().map(|[row, start, count]| Reading { row, start, count, is_kept: true });
        let pass = Arc::new(Pass::new(readings.collect()));
        let tokens: Vec<u32> = pass.places().map(|(row, at)| (7 * row + 3 * at + 1) as u32 % VOCAB as u32).collect();
        cache.begin(pass);
        found.extend(model.read(&tokens, is_far, &mut cache).into_data().iter::<f32>());
    }
    found
}

#[test]
fn hidden_states_are_those_of_the_forward_pass() {
    each_model(|model| {
        for is_far in [false, true] {
            let expected = hidden(model, None, is_far);
            for threads in [1, 3] {
                assert_close!(hidden(model, Some(threads), is_far), &expected, 1e-5, "{:?}", model.config());
            }
        }
    });
}

#[test]
fn adapters_are_added() {
    each_model(|model| {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let config = LoraConfig { rank: 2, targets: vec!["blocks.*".into()], ..LoraConfig::default() };
        let mut adapted = attach(model.clone(), &config, &mut rng).unwrap();
        for (_, layer) in adapted.linears_mut() {
            let adapter = layer.adapter.as_mut().unwrap();
            adapter.up = adapter.up.clone().map(|up| up.add_scalar(0.1));
        }
        let expected = hidden(&adapted, None, false);
        assert_ne!(expected, hidden(model, None, false));
        assert_close!(hidden(&adapted, Some(1), false), expected, 1e-5);
    });
}

#[test]
fn quantised_matrices_are_read_as_they_are() {
    each_model(|model| {
        for form in [Quantization::Bf16, Quantization::Int8] {
            let frozen = model.clone().quantized(form);
            let dequantised = crate::lora::merged(frozen.clone());
            assert_close!(hidden(&frozen, Some(1), false), hidden(&dequantised, None, false), 1e-5, "{form:?}");
        }
    });
}

#[test]
fn what_it_does_not_know_is_left_to_the_forward_pass() {
    let device = open_device("flex").unwrap();
    let model = |shape: ModelConfig| policy(&shape.resolve(VOCAB).unwrap(), &device).transformer;
    let llama = ModelConfig { context: 32, width: 16, heads: 4, ..ModelConfig::default() };
    let experts = ExpertsConfig { count: 4, feed_forward: 8, ..ExpertsConfig::default() };
    let experts = ModelConfig { family: Family::Qwen3Moe, experts: Some(experts), ..llama.clone() };
    assert!(DecodingPass::of(&model(llama.clone())).is_some());
    assert!(DecodingPass::of(&model(experts)).is_none());
    assert!(DecodingPass::of(&model(llama.clone()).with_precision(Precision::Bf16)).is_none());

    let decoding = DecodingPass::of(&model(llama)).unwrap();
    let takes = |start: usize, count: usize, is_kept: bool| {
        decoding.takes(&Pass::new(vec![Reading { row: 0, start, count, is_kept }]))
    };
    assert!(takes(0, NEAR, true) && !takes(0, NEAR + 1, true));
    assert!(takes(NEAR, FEW_TOKENS, true) && !takes(NEAR, FEW_TOKENS + 1, true));
    assert!(!takes(0, 1, false));
}
