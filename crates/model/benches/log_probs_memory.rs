//! Peak memory and time of the log-probabilities of 4,096 tokens from a vocabulary of 49,152, with all gradients, as
//! logits of all tokens at once and in chunks: `cargo bench --features libtorch --bench log_probs_memory libtorch`.
//!
//! libtorch has one thread: more of them would wait for each other by the minute on a machine that has other work.
//! Each form is a process of its own, whose peak is the resident memory that Linux reports (`VmHWM`), less that before.

use std::process::Command;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Int, Tensor};
use palestra_model::ops::*;

const TOKENS: usize = 4096;
const VOCAB: usize = 49_152;
/// Width of SmolLM2-135M.
const WIDTH: usize = 576;
const FORMS: [&str; 5] = ["whole", "chunks", "frozen, whole", "frozen, chunks", "sum, chunks"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [name, form] = words.as_slice() {
        return measure(&open_device(name).expect("a listed device opens"), form);
    }
    let program = std::env::current_exe().expect("a program has a path");
    println!("{TOKENS} tokens x {VOCAB}: logits of {} MB\n", 4 * TOKENS * VOCAB / 1_000_000);
    println!("{:24} {:>10} {:>10}", "device, form", "MB", "seconds");
    for name in available_devices().iter().filter(|name| words.is_empty() || words.iter().any(|word| word == *name)) {
        for form in FORMS {
            Command::new(&program).args([name, form]).status().expect("this program starts");
        }
    }
}

fn measure(device: &Device, form: &str) {
    set_threads(1);
    let leaf = |shape: [usize; 2], is_trained| {
        let values = Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.02), device);
        values.autodiff().set_require_grad(is_trained)
    };
    let weight = leaf([VOCAB, WIDTH], !form.starts_with("frozen"));
    let hidden = leaf([TOKENS, WIDTH], true);
    let targets = Tensor::<1, Int>::arange(0..TOKENS as i64, &weight.device());
    let distribution = TokenDistribution {
        weight: weight.clone().transpose(),
        bias: None,
        soft_cap: None,
        temperature: 1.0,
        allowed: None,
        vocabulary: OutputVocabulary::whole(VOCAB),
    };
    let (before, began) = (peak(), Instant::now());
    let loss = match form {
        "sum, chunks" => distribution.log_likelihood(hidden.clone(), targets),
        _ if form.ends_with("chunks") => {
            distribution.log_probs(hidden.clone(), targets, Entropy::Unused).log_probs.sum()
        }
        _ => selected_log_probs(hidden.clone().matmul(distribution.weight), targets).sum(),
    };
    let grads = loss.backward();
    for input in [&hidden, &weight] {
        if let Some(gradient) = input.grad(&grads) {
            gradient.sum().into_scalar::<f32>(); // waits for the device
        }
    }
    let device = if device == &Device::flex() { "flex" } else { "libtorch" };
    let grown = peak().zip(before).map_or("unknown".into(), |(after, before)| format!("{}", (after - before) / 1000));
    println!("{:24} {grown:>10} {:>10.2}", format!("{device}, {form}"), began.elapsed().as_secs_f64());
}

/// The most memory that the process has had so far, in kB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
