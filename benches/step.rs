//! Seconds of one training step, for `benches/step.py`, which compares it with PyTorch.
//!
//! `step DEVICE THREADS SHAPE.json` prints the median as JSON. The model is a GPT-2 of random weights, and a step is the loss
//! of all next tokens, its gradients, and AdamW with clipping. Without arguments it does nothing, so that `cargo bench` passes
//! over it.

use std::time::Instant;

use palestra::learn::batch::{TextBatch, TextRow};
use palestra::learn::learners::batch_gradients;
use palestra::learn::learners::supervised::Supervised;
use palestra::model::ops::{open_device, set_threads};
use palestra::model::optim::{AdamW, OptimizerConfig};
use palestra::model::{Family, Heads, ModelConfig, Module, Policy};
use serde::Deserialize;
use serde_json::json;

/// Sizes of the model and of a batch.
#[derive(Deserialize)]
struct Shape {
    layers: usize,
    width: usize,
    heads: usize,
    vocabulary: usize,
    rows: usize,
    time: usize,
    /// Number of steps that are timed, after a warm-up of two.
    repeats: usize,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [device, threads, shape] = args.as_slice() else {
        assert!(args.is_empty(), "step DEVICE THREADS SHAPE.json");
        return;
    };
    set_threads(threads.parse().expect("a number of threads"));
    let shape = std::fs::read_to_string(shape).expect("a file with the shape");
    let Shape { layers, width, heads, vocabulary, rows, time, repeats } =
        serde_json::from_str(&shape).expect("layers, width, heads, vocabulary, rows, time and repeats");
    let device = open_device(device).expect("a device");
    let config = ModelConfig { family: Family::Gpt2, layers, width, heads, context: time, ..ModelConfig::default() };
    let config = config.resolve(vocabulary).expect("a shape");
    let mut policy = Policy::new(&config, Heads::default(), 0, &device).train();
    let mut optimizer = AdamW::new(OptimizerConfig::default()).expect("the default is possible");
    let text = |row: usize| (0..=time).map(|at| ((97 * row + 31 * at) % vocabulary) as u32).collect();
    let rows: Vec<TextRow> = (0..rows).map(|row| TextRow::whole(text(row), 4 * time)).collect();
    let mut seconds = Vec::new();
    for _ in 0..repeats + 2 {
        let began = Instant::now();
        let batch = TextBatch::whole(&rows, &policy.transformer.device());
        let (gradients, _) = batch_gradients(&Supervised, &policy, vec![batch]);
        (policy, _) = optimizer.step(policy, gradients, 1e-4).expect("finite gradients");
        seconds.push(began.elapsed().as_secs_f64());
    }
    let mut seconds = seconds.split_off(2);
    seconds.sort_by(f64::total_cmp);
    println!("{}", json!({ "seconds": seconds[repeats / 2] }));
}
