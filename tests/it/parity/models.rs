//! Our models against Hugging Face's transformers and PEFT: the same files must give the same logits and texts.
//!
//! `tests/transformers/parity.py` writes the fixtures. It also is the other side of the tests that need Python.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::json;

use palestra::language_model::merge;
use palestra::model::checkpoint::{NumberType, read_tensors};
use palestra::model::generate::{Limits, Request, generate};
use palestra::model::huggingface::to_hugging_face;
use palestra::model::lora::{self, LoraConfig, read_adapters, write_adapters};
use palestra::model::math::Sampling;
use palestra::model::ops::{available_devices, open_device};
use palestra::model::{
    Device, FileLayout, GenerationConfig, Heads, Int, Placement, Policy, RopeScaling, Tensor, TensorData, Transformer,
    read_generation_config, read_model, write_json, write_model,
};
use palestra::text::{ChatTemplate, Message, Tokenizer};
use palestra_testing::assert_close;

use super::{root, script};

/// Tolerance of logits.
const TOLERANCE: f64 = 1e-4;

const MODELS: [&str; 24] = [
    "gpt2",
    "gpt2-exact",
    "llama",
    "llama-biases",
    "llama-linear",
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "smollm",
    "llama-yarn",
    "llama-longrope",
    "gemma3",
    "gemma3-plain",
    "phi3",
    "phi3-longrope",
    "smollm3",
    "smollm3-window",
    "olmo2",
    "olmo2-biases",
    "qwen2-window",
    "qwen3-moe",
    "qwen3-moe-normalised",
    "mixtral",
];
const ADAPTED: [&str; 3] = ["llama", "gpt2", "phi3"];

/// Outputs of a model in transformers.
#[derive(Deserialize)]
struct Expected {
    tokens: Vec<Vec<i64>>,
    logits: Vec<Vec<f32>>,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/transformers/fixtures").join(name)
}

fn expected(name: &str) -> Expected {
    serde_json::from_str(&std::fs::read_to_string(fixture(name).join("logits.json")).unwrap()).unwrap()
}

fn load(directory: &Path, device: &Device) -> Policy {
    let (config, tensors) = read_model(directory).unwrap();
    Policy::from_tensors(&config, Heads::default(), tensors, device).unwrap()
}

fn each_device(test: impl Fn(&Device)) {
    for device in available_devices() {
        test(&open_device(device).unwrap());
    }
}

/// `[rows * time, vocab]`, flat.
fn logits(model: &Transformer, tokens: &[Vec<i64>]) -> Vec<f32> {
    let shape = [tokens.len(), tokens[0].len()];
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens.concat(), shape), &model.device());
    model.logits(model.forward(tokens, &Placement::causal(), None)).into_data().try_into_vec().unwrap()
}

/// Continues prompts of different lengths at once, with a cache, so that all but the longest are padded.
fn continued(policy: &Policy, prompts: &[Vec<u32>], count: usize) -> Vec<Vec<u32>> {
    let request = |prompt: &Vec<u32>| Request {
        prompt: prompt.clone(),
        choices: None,
        rng: ChaCha8Rng::seed_from_u64(0),
        forced: None,
    };
    let mut requests: Vec<Request> = prompts.iter().map(request).collect();
    let limits = Limits { end: &[], max_new_tokens: count, stopped: None };
    generate(policy, &mut requests, &limits, &Sampling::GREEDY).into_iter().map(|text| text.tokens).collect()
}

#[track_caller]
fn assert_same_as(expected: &Expected, policy: &Policy, name: &str) {
    assert_close!(
        logits(&policy.transformer, &expected.tokens),
        expected.logits.concat(),
        TOLERANCE,
        "logits of {name}"
    );
    if policy.transformer.config().rope_scaling.as_ref().is_some_and(|it| matches!(it, RopeScaling::LongRope { .. })) {
        // The longest row of a batch selects the frequencies of all.
        let found = continued(policy, std::slice::from_ref(&expected.prompt), expected.greedy.len());
        assert_eq!(found[0], expected.greedy, "{name}");
        return;
    }
    let longer = [expected.prompt.as_slice(), &expected.greedy[..3]].concat();
    let found = continued(policy, &[expected.prompt.clone(), longer], expected.greedy.len());
    assert_eq!(found[0], expected.greedy, "{name}");
    assert_eq!(found[1][..expected.greedy.len() - 3], expected.greedy[3..], "{name}, beside padding");
}

#[test]
fn every_family_computes_and_writes_what_transformers_does() {
    each_device(|device| {
        for name in MODELS {
            assert_same_as(&expected(name), &load(&fixture(name), device), name);
        }
    });
}

#[test]
fn special_tokens_are_read() {
    let special = GenerationConfig { bos: Some(1), eos: vec![2], pad: Some(0), ..GenerationConfig::default() };
    for name in MODELS {
        let found = read_generation_config(&fixture(name)).unwrap();
        assert!(found.unsupported().is_empty(), "{name}");
        assert_eq!(GenerationConfig { other: special.other.clone(), ..found }, special, "{name}");
    }
}

#[test]
fn files_are_written_as_they_were() {
    for name in MODELS.into_iter().filter(|name| *name != "qwen2") {
        // Qwen2's is in shards.
        let (config, tensors) = read_model(&fixture(name)).unwrap();
        let file = read_tensors(&fixture(name).join("model.safetensors"), &|_| false).unwrap();
        assert_eq!(to_hugging_face(&config, tensors), file, "{name}");
    }
}

#[test]
fn adapters_are_those_of_peft() {
    each_device(|device| {
        for name in ADAPTED {
            let adapter = format!("{name}-lora");
            let expected = expected(&adapter);
            let base = load(&fixture(name), device);
            let transformer = read_adapters(base.transformer.clone(), &fixture(&adapter)).unwrap();
            let adapted = Policy::from(transformer.clone());
            assert_same_as(&expected, &adapted, &adapter);
            let merged = Policy::from(lora::merged(transformer.clone()));
            assert_same_as(&expected, &merged, &format!("{adapter}, merged"));
            let off = lora::without_adapters(transformer);
            assert_eq!(logits(&off, &expected.tokens), logits(&base.transformer, &expected.tokens), "{adapter}, off");
        }
    });
}

/// Writes our outputs of the model in a directory beside it, for the script to compare.
fn write_ours(directory: &Path, policy: &Policy, like: &Expected, base: &str) {
    let flat = logits(&policy.transformer, &like.tokens);
    let rows: Vec<&[f32]> = flat.chunks(flat.len() / (like.tokens.len() * like.tokens[0].len())).collect();
    let greedy = continued(policy, std::slice::from_ref(&like.prompt), like.greedy.len()).remove(0);
    let mut ours =
        json!({ "tokens": like.tokens, "prompt": like.prompt, "logits": rows, "greedy": greedy, "base": base });
    if base.is_empty() {
        (ours["bos_token_id"], ours["eos_token_id"]) = (json!(3), json!([4, 5]));
    }
    write_json(&directory.join("ours.json"), &ours).unwrap();
}

/// Models with other weights than the fixtures', in every type of number, whole and in shards, give the same logits in
/// transformers; so do adapters in PEFT, and merged ones in transformers.
#[test]
#[ignore = "needs Python with transformers and PEFT: cargo xtask parity"]
fn what_is_saved_is_loaded_by_transformers() {
    let parent = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let special = GenerationConfig { bos: Some(3), eos: vec![4, 5], ..GenerationConfig::default() };
    let mut directories = Vec::new();
    for (index, name) in MODELS.into_iter().enumerate() {
        let like = expected(name);
        let (config, mut tensors) = read_model(&fixture(name)).unwrap();
        tensors.values_mut().flat_map(|tensor| &mut tensor.data).for_each(|number| *number *= -0.9);
        let numbers = [NumberType::F32, NumberType::BF16, NumberType::F16][index % 3];
        let layout = FileLayout { numbers, shard_bytes: if index % 2 == 0 { 5000 } else { usize::MAX } };
        let directory = parent.path().join(name);
        write_model(&directory, &config, tensors, &special, &layout).unwrap();
        let policy = load(&directory, &device); // as the file has it
        write_ours(&directory, &policy, &like, "");
        if !ADAPTED.contains(&name) {
            directories.push(directory);
            continue;
        }
        let targets = vec!["*.attention.key".into(), "*.attention.value".into(), "blocks.1.feed_forward.*".into()];
        let lora = LoraConfig { rank: 3, alpha: 4.0, targets, ..LoraConfig::default() };
        let mut adapted = lora::attach(policy.transformer.clone(), &lora, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        for (_, layer) in adapted.linears_mut() {
            if let Some(adapter) = &mut layer.adapter {
                adapter.up = adapter.up.clone().map(|up| up + 0.3);
            }
        }
        let path = parent.path().join(format!("{name}-lora"));
        write_adapters(&adapted, &path, name).unwrap();
        let adapted = adapted.into();
        write_ours(&path, &adapted, &like, &format!("../{name}"));
        let characters = Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz0123456789").unwrap();
        std::fs::write(directory.join("tokenizer.json"), characters.to_json().unwrap()).unwrap();
        let merged = parent.path().join(format!("{name}-merged"));
        merge(&directory, Some(&path), &merged, NumberType::F32).unwrap();
        write_ours(&merged, &adapted, &like, "");
        directories.extend([directory, path, merged]);
    }
    let directories: Vec<&str> = directories.iter().map(|path| path.to_str().unwrap()).collect();
    println!("{}", script("parity.py", &[&["check"], directories.as_slice()].concat()));
}

/// One tiny model of each family: written, scored, planned, and trained by SFT, DPO and GRPO.
#[test]
#[ignore = "needs Python with transformers and PEFT: cargo xtask parity"]
fn every_family_goes_through_the_whole_program() {
    println!("{}", script("families.py", &[env!("CARGO_BIN_EXE_palestra")]));
}

#[derive(Deserialize)]
struct Real {
    cases: Vec<RealCase>,
    chat: Vec<Message>,
    chat_text: String,
}

#[derive(Deserialize)]
struct RealCase {
    prompt: String,
    tokens: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

/// A real model: the environment variable names a Hugging Face directory with a chat template.
#[test]
#[ignore = "needs Python with transformers, and a model: PALESTRA_SMOLLM2=DIR cargo xtask parity"]
fn a_real_model_writes_what_transformers_does() {
    let directory = std::env::var("PALESTRA_SMOLLM2").expect("PALESTRA_SMOLLM2 names the model's directory");
    let real: Real = serde_json::from_str(&script("parity.py", &["real", &directory])).unwrap();
    let directory = Path::new(&directory);
    let tokenizer = Tokenizer::from_file(&directory.join("tokenizer.json")).unwrap();
    let template = ChatTemplate::from_directory(directory).unwrap().unwrap();
    assert_eq!(template.render(&real.chat, true).unwrap(), real.chat_text);
    each_device(|device| {
        let policy = load(directory, device);
        for RealCase { prompt, tokens, logits: expected, greedy } in &real.cases {
            let mut own = Vec::new();
            tokenizer.encode(prompt, &mut own).unwrap();
            assert_eq!(own, *tokens, "{prompt:?}");
            let row = tokens.iter().map(|&token| i64::from(token)).collect();
            let found = logits(&policy.transformer, &[row]);
            assert_close!(found, expected, TOLERANCE, "logits of {prompt:?}");
            let written = continued(&policy, std::slice::from_ref(tokens), greedy.len()).remove(0);
            assert_eq!(written, *greedy, "{prompt:?}");
        }
        println!("{device:?}: {} prompts, logits within {TOLERANCE:e}", real.cases.len());
    });
}
