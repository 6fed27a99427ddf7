use burn::module::Module;
use burn::tensor::Device;
use palestra_testing::assert_close;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::batch::TextRow;
use crate::learners::batch_gradients;
use crate::learners::check::{self, Example, assert_same, check_learner, measure, uneven_parts};
use palestra_model::lora::{LoraConfig, attach};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::optim::AdamW;
use palestra_model::{Family, Heads, ModelConfig, Placement, Precision, parameters};

const VOCAB: usize = 7;

fn policy(family: Family, device: &Device) -> Policy {
    let config = ModelConfig { family, context: 16, layers: 2, width: 16, heads: 2, ..ModelConfig::default() };
    Policy::new(&config.resolve(VOCAB).unwrap(), Heads::default(), 1, device)
}

/// Six rows of different lengths, in which only some tokens count.
fn rows() -> Vec<TextRow> {
    let row = |number: usize| {
        let tokens: Vec<u32> = (0..4 + number % 3).map(|i| ((number * 3 + i * 5) % VOCAB) as u32).collect();
        TextRow { counted: (1 + number % 2..tokens.len()).collect(), bytes: 2 * tokens.len(), tokens, borders: vec![] }
    };
    (0..6).map(row).collect()
}

/// Texts in one row.
pub(super) fn packed(texts: &[TextRow]) -> TextRow {
    let mut row = TextRow::default();
    for text in texts {
        let start = row.tokens.len();
        row.borders.extend((start > 0).then_some(start));
        row.counted.extend(text.counted.iter().map(|at| start + at));
        row.tokens.extend(&text.tokens);
        row.bytes += text.bytes;
    }
    row
}

/// The texts of [`rows`] in three rows: one, two and three of them.
fn packed_rows() -> Vec<TextRow> {
    let texts = rows();
    vec![packed(&texts[..1]), packed(&texts[1..3]), packed(&texts[3..])]
}

pub(super) fn parts(rows: &[TextRow], count: usize, device: &Device) -> Vec<TextBatch> {
    uneven_parts(rows, count).into_iter().map(|part| TextBatch::whole(part, device)).collect()
}

#[test]
fn supervised_learning_learns_as_every_learner_does() {
    fn model(device: &Device) -> Policy {
        policy(Family::Llama, device)
    }
    fn learner() -> TextLearner {
        SupervisedConfig {}.build()
    }
    check_learner(&Example { learner, model, batch: |count, device| parts(&rows(), count, device), rows: 6 });
    check_learner(&Example { learner, model, batch: |count, device| parts(&packed_rows(), count, device), rows: 3 });
}

#[test]
fn packing_changes_neither_loss_nor_gradients() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        for family in [Family::Gpt2, Family::Llama] {
            let model = policy(family, &device);
            let of = |rows: &[TextRow]| measure(&Supervised, &model, parts(rows, 1, &device));
            assert_same(&of(&packed_rows()), &of(&rows()), "packed");
        }
    }
}

#[test]
fn the_loss_is_the_mean_over_counted_tokens() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        let model = policy(Family::Gpt2, &device);
        // Each token by itself, by a softmax in 64 bits.
        let (mut nats, mut count, mut bytes) = (0.0, 0.0, 0.0);
        for row in rows() {
            let batch = TextBatch::whole(std::slice::from_ref(&row), &device);
            let hidden = model.transformer.forward(batch.read.tokens, &Placement::causal(), None);
            let logits: Vec<f64> = model.transformer.logits(hidden).into_data().iter::<f64>().collect();
            for &at in &row.counted {
                let logits = &logits[(at - 1) * VOCAB..at * VOCAB];
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                nats -= logits[row.tokens[at] as usize] - total.ln();
                count += 1.0;
            }
            bytes += row.bytes as f64;
        }
        let (numbers, _) = measure(&Supervised, &model, TextBatch::parts(&rows(), 4, &device));
        let close = |name: &str, expected: f64| {
            assert_close!(numbers[name], expected, 1e-5, "{name}");
        };
        close("total", nats / count);
        close("loss/nll", nats / count);
        close("text/bits_per_byte", nats / std::f64::consts::LN_2 / bytes);
    }
}

#[test]
fn texts_in_one_row_are_as_texts_alone() {
    for name in available_devices() {
        let device = open_device(name).unwrap().autodiff();
        for family in [Family::Gpt2, Family::Llama, Family::Gemma3, Family::Qwen3Moe] {
            let model = policy(family, &device);
            let (one, other) = ([1, 2, 3, 4], [5, 6, 5]);
            let alone = [one.to_vec(), other.to_vec()].map(|tokens| TextRow::whole(tokens, 1));
            let packed = TextRow {
                tokens: [&one[..], &other[..]].concat(),
                counted: vec![1, 2, 3, 5, 6],
                borders: vec![4],
                bytes: 2,
            };
            let (apart, gradients) = measure(&Supervised, &model, vec![TextBatch::whole(&alone, &device)]);
            let (together, packed_gradients) = measure(&Supervised, &model, vec![TextBatch::whole(&[packed], &device)]);
            assert_close!(together["total"], apart["total"], 1e-6);
            for (name, gradient) in gradients {
                assert_close!(packed_gradients[&name], gradient, 1e-5, "{name}");
            }
        }
    }
}

#[test]
fn a_perplexity_follows_from_the_mean_of_an_update() {
    let mut means = Metrics::from([("loss/nll".to_string(), 2.0)]);
    Supervised.sum_up(&mut means);
    assert_eq!(means["text/perplexity"], 2f64.exp());
}

/// Metrics and gradients of a learner's own gradient computation.
fn gradients_of(
    learner: &impl Learner<Model = Policy, Batch = TextBatch>,
    model: &Policy,
    rows: &[TextRow],
) -> Numbers {
    check::own_way(learner, model, TextBatch::parts(rows, 2, &model.transformer.device()))
}

type Numbers = crate::learners::check::Measured;

#[test]
fn blocks_computed_again_give_the_same_gradients() {
    let packed = TextRow { tokens: vec![1, 2, 3, 4, 5, 6], counted: vec![1, 2, 5], borders: vec![3], bytes: 2 };
    for name in available_devices() {
        let device = open_device(name).unwrap();
        for family in [Family::Gpt2, Family::Llama, Family::Gemma3, Family::Qwen3Moe] {
            let whole = policy(family, &device);
            let mut adapted = whole.clone();
            let config = LoraConfig { targets: vec!["blocks.1.attention.*".into()], ..LoraConfig::default() };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            adapted.transformer = attach(adapted.transformer, &config, &mut rng).unwrap();
            for model in [whole.train(), adapted.train()] {
                for rows in [rows(), vec![packed.clone(), TextRow::whole(vec![1, 2], 1)]] {
                    let again = model.clone().with_gradient_checkpointing(true);
                    let (expected, found) =
                        (gradients_of(&Supervised, &model, &rows), gradients_of(&Supervised, &again, &rows));
                    assert!(expected.0.keys().eq(found.0.keys()));
                    for (name, expected) in &expected.0 {
                        // The forward pass without autodiff may round differently.
                        assert_close!(found.0[name], *expected, 1e-5, "{name}");
                    }
                    assert!(expected.1.keys().eq(found.1.keys()), "{:?} {:?}", expected.1.keys(), found.1.keys());
                    for (name, expected) in &expected.1 {
                        assert_close!(found.1[name], expected, 1e-6, "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_loss_falls_in_16_bits_as_in_32() {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        for family in [Family::Gpt2, Family::Llama] {
            let losses = |precision: Precision| -> Vec<f64> {
                let mut model = policy(family, &device).with_precision(precision).train();
                let mut optimizer = AdamW::new(palestra_model::optim::OptimizerConfig::default()).unwrap();
                let batch = vec![TextBatch::whole(&rows(), &model.transformer.device())];
                let step = |_| {
                    let (gradients, metrics) = batch_gradients(&Supervised, &model, batch.clone());
                    (model, _) = optimizer.step(model.clone(), gradients, 3e-3).unwrap();
                    metrics["loss/nll"]
                };
                (0..100).map(step).collect()
            };
            let [exact, found] = [Precision::F32, Precision::Bf16].map(losses);
            let error = exact.iter().zip(&found).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            assert!(exact[99] < 0.5 * exact[0], "{exact:?}");
            assert!(error > 0.0 && error < 0.05, "{family:?}: {error}: {exact:?} {found:?}");
        }
    }
}

#[test]
fn what_is_frozen_takes_no_gradient_no_moments_and_keeps_its_bits() {
    let group = |pattern: &str| palestra_model::optim::ParameterGroup {
        pattern: pattern.into(),
        learning_rate_scale: 0.0,
        weight_decay: None,
    };
    let config = |patterns: &[&str]| palestra_model::optim::OptimizerConfig {
        weight_decay: 0.1,
        groups: patterns.iter().map(|pattern| group(pattern)).collect(),
        ..Default::default()
    };
    for name in available_devices() {
        let start = policy(Family::Llama, &open_device(name).unwrap());
        let mut optimizer = AdamW::new(config(&["embedding", "blocks.0.*"])).unwrap();
        let mut model = optimizer.freeze(start.clone().train()).unwrap();
        let is_frozen = |name: &str| name == "embedding" || name.starts_with("blocks.0.");
        for _ in 0..3 {
            let device = model.transformer.device();
            let (sum, _) = batch_gradients(&Supervised, &model, vec![TextBatch::whole(&rows(), &device)]);
            assert!(!sum.by_name().is_empty() && sum.by_name().keys().all(|name| !is_frozen(name)));
            (model, _) = optimizer.step(model, sum, 1e-2).unwrap();
        }
        let (before, after) = (parameters::collect(&start), parameters::collect(&model));
        for (name, data) in &before {
            assert_eq!(is_frozen(name), *data == after[name], "{name}");
        }
        let moments = |optimizer: &AdamW| optimizer.state().1.values().map(|moment| moment.dims()[0]).sum::<usize>();
        let trained = before.iter().filter(|(name, _)| !is_frozen(name)).map(|(_, data)| data.num_elements());
        assert_eq!(moments(&optimizer), 2 * trained.sum::<usize>(), "two numbers for each that is trained");
        let refused = |patterns: &[&str]| {
            AdamW::new(config(patterns)).unwrap().freeze(start.clone().train()).unwrap_err().to_string()
        };
        assert!(refused(&["blocks.9.*"]).starts_with("optimizer.group.pattern: \"blocks.9.*\" freezes nothing; "));
        assert!(refused(&["*"]).starts_with("optimizer.group: all parameters are frozen"));
    }
}
