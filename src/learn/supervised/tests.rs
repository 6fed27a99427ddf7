use burn::tensor::Device;

use super::*;
use crate::batch::TextRow;
use crate::learn::check::{Example, check_learner, measure};
use crate::model::{Family, Heads, ModelConfig};
use crate::ops::{available_devices, open_device};

const VOCAB: usize = 7;

fn policy(family: Family, device: &Device) -> Policy {
    let config = ModelConfig { family, context: 12, layers: 2, width: 16, heads: 2, ..ModelConfig::default() };
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

#[test]
fn supervised_learning_learns_as_every_learner_does() {
    check_learner(&Example {
        learner: || Supervised,
        model: |device| policy(Family::Llama, device),
        batch: |parts, device| TextBatch::parts(&rows(), rows().len() / parts, device),
        rows: 6,
    });
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
            let hidden = model.transformer.forward(batch.tokens, &Placement::causal(), None);
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
            assert!((f64::from(numbers[name]) - expected).abs() < 1e-5, "{name}: {} is not {expected}", numbers[name])
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
        for family in [Family::Gpt2, Family::Llama] {
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
            assert!((apart["total"] - together["total"]).abs() < 1e-6, "{apart:?} {together:?}");
            for (name, gradient) in gradients {
                for (one, other) in gradient.iter().zip(&packed_gradients[&name]) {
                    assert!((one - other).abs() < 1e-5, "{name}: {one} {other}");
                }
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
