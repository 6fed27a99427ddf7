//! Comparison of direct preference optimisation with TRL: the same model, pairs and order, 20 steps of each loss.
//!
//! `tests/transformers/trl_dpo.py` recorded TRL's results, and trains again in the test that needs Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use palestra::learn::batch::{Pair, PreferenceBatch, PromptPreferences, TextRow};
use palestra::learn::learners::batch_gradients;
use palestra::learn::learners::dpo::{Dpo, DpoConfig, PairLoss};
use palestra::learn::learners::preference::{PreferenceLearner, Reading, read_answers};
use palestra::model::ops::{available_devices, open_device};
use palestra::model::optim::{AdamW, OptimizerConfig};
use palestra::model::{Device, Heads, Module, Policy, read_model};
use palestra_testing::assert_close;

use super::{root, script};

/// Largest allowed difference between two numbers.
const TOLERANCE: f64 = 1e-3;

/// Our metrics by TRL's names.
const NAMES: [(&str, &str); 7] = [
    ("loss/dpo", "loss"),
    ("rewards/chosen", "rewards/chosen"),
    ("rewards/rejected", "rewards/rejected"),
    ("rewards/margins", "rewards/margins"),
    ("rewards/accuracies", "rewards/accuracies"),
    ("logps/chosen", "logps/chosen"),
    ("logps/rejected", "logps/rejected"),
];

/// Losses by TRL's names.
const LOSSES: [(&str, PairLoss); 3] =
    [("sigmoid", PairLoss::Sigmoid), ("ipo", PairLoss::Ipo), ("hinge", PairLoss::Hinge)];

type Step = BTreeMap<String, f64>;

#[derive(Deserialize)]
struct Recorded {
    settings: Settings,
    pairs: Vec<TokenPair>,
    runs: BTreeMap<String, Vec<Step>>,
}

#[derive(Deserialize)]
struct Settings {
    beta: f32,
    learning_rate: f64,
    max_grad_norm: f64,
    eps: f64,
    batch: usize,
}

#[derive(Deserialize)]
struct TokenPair {
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
}

fn folder() -> PathBuf {
    root().join("tests/transformers")
}

fn recorded() -> Recorded {
    let file = folder().join("fixtures/trl-dpo.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn start(device: &Device) -> Policy {
    let (config, tensors) = read_model(&folder().join("fixtures/llama")).unwrap();
    Policy::from_tensors(&config, Heads::default(), tensors, device).unwrap()
}

/// Each pair as a prompt, with the log-probabilities of the initial model.
fn prompts(pairs: &[TokenPair], policy: &Policy) -> Vec<PromptPreferences> {
    let prompt = |pair: &TokenPair| {
        let row = |answer: &[u32]| {
            let tokens = [&pair.prompt_ids[..], answer].concat();
            TextRow { counted: (pair.prompt_ids.len()..tokens.len()).collect(), tokens, ..TextRow::default() }
        };
        let answers = vec![row(&pair.chosen_ids), row(&pair.rejected_ids)];
        let references = read_answers(policy, Reading::LogProb, &answers.iter().collect::<Vec<_>>(), 2);
        let pair = Pair { chosen: 0, rejected: 1, is_tie: false, margin: 0.0, weight: 1.0 };
        PromptPreferences { answers, references, pairs: vec![pair], ..PromptPreferences::default() }
    };
    pairs.iter().map(prompt).collect()
}

fn steps_of(loss: PairLoss, recorded: &Recorded, device: &Device) -> Vec<Step> {
    let Settings { beta, learning_rate, max_grad_norm, eps, batch } = recorded.settings;
    let start = start(device);
    let prompts = prompts(&recorded.pairs, &start);
    let config = DpoConfig { loss, beta, length_normalised: loss == PairLoss::Ipo, ..DpoConfig::default() };
    let learner = PreferenceLearner { objective: Arc::new(Dpo(config)) };
    let config = OptimizerConfig { learning_rate, max_grad_norm, eps, weight_decay: 0.0, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(config).unwrap();
    let mut model = start.train();
    let device = model.transformer.device();
    let mut steps = Vec::new();
    for prompts in prompts.chunks(batch) {
        let prompts: Vec<&PromptPreferences> = prompts.iter().collect();
        let (sum, metrics) = batch_gradients(&learner, &model, PreferenceBatch::parts(&prompts, 4, &device));
        let step: Step = NAMES.iter().map(|(ours, theirs)| (theirs.to_string(), metrics[*ours])).collect();
        (model, _) = optimizer.step(model, sum, learning_rate).unwrap();
        steps.push(step);
    }
    steps
}

#[test]
fn twenty_steps_are_those_of_trl() {
    let recorded = recorded();
    for device in available_devices() {
        let device = open_device(device).unwrap();
        for (name, loss) in LOSSES {
            let steps = steps_of(loss, &recorded, &device);
            let expected = &recorded.runs[name];
            assert_eq!((steps.len(), expected.len()), (20, 20));
            for (number, (step, expected)) in steps.iter().zip(expected).enumerate() {
                // Before the first step all rewards are rounding errors, so their order is arbitrary.
                let compared = NAMES.iter().filter(|(_, name)| number > 0 || *name != "rewards/accuracies");
                for (_, metric) in compared {
                    assert_close!(step[*metric], expected[*metric], TOLERANCE, "{name}, step {number}: {metric}");
                }
            }
        }
    }
}

#[test]
#[ignore = "needs Python with TRL: cargo xtask parity"]
fn twenty_steps_are_those_of_trl_when_it_trains_again() {
    let recorded = recorded();
    let device = open_device(available_devices().pop().unwrap()).unwrap();
    let ours: BTreeMap<&str, Vec<Step>> =
        LOSSES.into_iter().map(|(name, loss)| (name, steps_of(loss, &recorded, &device))).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_string(&ours).unwrap()).unwrap();
    println!("{}", script("trl_dpo.py", &["check", file.path().to_str().unwrap()]));
}
