//! Times each operation of `palestra_model::ops` in both of its forms:
//! `cargo bench --features libtorch --bench ops libtorch`.
//!
//! Each number is the median of repeats, in milliseconds. Set OMP_NUM_THREADS to the number of free cores: libtorch's
//! threads wait for each other, so a core that is busy elsewhere costs milliseconds per operation.

use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use palestra_model::ops::*;
use std::time::{Duration, Instant};

type AttentionForm = fn(Tensor<4>, Tensor<4>, Tensor<4>, &AttentionMask) -> Tensor<4>;
type LogProbsForm = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;
type NormForm = fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>;
type LayerNormForm = fn(Tensor<2>, Tensor<1>, Tensor<1>, f64) -> Tensor<2>;
type GeluFn = fn(Tensor<2>, GeluForm) -> Tensor<2>;
type GateForm = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
type AdamWForm = fn(Tensor<2>, Tensor<2>, Tensor<2>, Tensor<2>, &AdamWStep) -> (Tensor<2>, Tensor<2>, Tensor<2>);

/// Time to repeat one measurement.
const BUDGET: Duration = Duration::from_millis(700);

fn main() {
    // cargo itself passes --bench.
    let kinds: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for name in available_devices() {
        if !kinds.is_empty() && !kinds.iter().any(|word| word == name) {
            continue;
        }
        let device = open_device(name).expect("a listed device opens");
        println!("\n{name:42} {:>10} {:>10} {:>7}", "own", "composed", "times");
        attention_at_lengths(&device);
        log_probs(&device);
        norm_and_gate(&device);
        optimiser(&device);
        training_step(&device);
    }
}

fn attention_at_lengths(device: &Device) {
    let forward = |form: AttentionForm, [heads, kv_heads, queries, keys]: [usize; 4], padded: bool| {
        let [query, key, value] = heads_of(device, heads, kv_heads, queries, keys);
        let mask = match padded {
            true => AttentionMask::padded(Tensor::ones([8, keys], device), queries),
            false => AttentionMask::causal(),
        };
        move || read(form(query.clone(), key.clone(), value.clone(), &mask))
    };
    let both = |form: AttentionForm, [heads, kv_heads, queries, keys]: [usize; 4]| {
        let [query, key, value] =
            heads_of(&device.clone().autodiff(), heads, kv_heads, queries, keys).map(Tensor::require_grad);
        let mask = AttentionMask::causal();
        move || {
            let output = form(query.clone(), key.clone(), value.clone(), &mask);
            let grads = (output.clone() * output).sum().backward();
            for input in [&query, &key, &value] {
                read(input.grad(&grads).expect("a gradient"));
            }
        }
    };
    for length in [16, 128, 512] {
        let full = [8, 8, length, length];
        row(
            &format!("attention {length}, forward"),
            forward(attention, full, false),
            forward(attention_composed, full, false),
        );
        row(
            &format!("attention {length}, forward, padded"),
            forward(attention, full, true),
            forward(attention_composed, full, true),
        );
        row(&format!("attention {length}, both ways"), both(attention, full), both(attention_composed, full));
        let grouped = [8, 2, length, length];
        row(
            &format!("attention {length}, grouped, both ways"),
            both(attention, grouped),
            both(attention_composed, grouped),
        );
        let decode = [8, 8, 1, length];
        row(
            &format!("attention 1 of {length}, forward"),
            forward(attention, decode, false),
            forward(attention_composed, decode, false),
        );
        row(
            &format!("attention 1 of {length}, padded"),
            forward(attention, decode, true),
            forward(attention_composed, decode, true),
        );
        let decode = [8, 2, 1, length];
        row(
            &format!("attention 1 of {length}, grouped"),
            forward(attention, decode, false),
            forward(attention_composed, decode, false),
        );
    }
}

fn heads_of(device: &Device, heads: usize, kv_heads: usize, queries: usize, keys: usize) -> [Tensor<4>; 3] {
    let make = |heads: usize, length: usize| Tensor::random([8, heads, length, 32], Distribution::Default, device);
    [make(heads, queries), make(kv_heads, keys), make(kv_heads, keys)]
}

fn log_probs(device: &Device) {
    for vocab in [4096, 32768] {
        let targets: Tensor<1, Int> = Tensor::arange(0..1024, device);
        let logits: Tensor<2> = Tensor::random([1024, vocab], Distribution::Default, &device.clone().autodiff());
        let both = |form: LogProbsForm| {
            let (logits, targets) = (logits.clone().require_grad(), targets.clone());
            move || {
                let grads = form(logits.clone(), targets.clone()).mean().backward();
                read(logits.grad(&grads).expect("a gradient"));
            }
        };
        row(
            &format!("log-probs 1024 of {vocab}, both ways"),
            both(selected_log_probs),
            both(selected_log_probs_composed),
        );
        let logits = logits.inner();
        let forward = |form: LogProbsForm| {
            let (logits, targets) = (logits.clone(), targets.clone());
            move || read(form(logits.clone(), targets.clone()))
        };
        row(
            &format!("log-probs 1024 of {vocab}, forward"),
            forward(selected_log_probs),
            forward(selected_log_probs_composed),
        );
    }
}

/// Times the norm and the gate in the shape of SmolLM2-135M: 576 wide, 1536 inside the feed-forward layer; 1024 tokens.
fn norm_and_gate(device: &Device) {
    let device = &device.clone().autodiff();
    let rows = |width| Tensor::<2>::random([1024, width], Distribution::Default, device).require_grad();
    let norm = |form: NormForm| {
        let (input, weight) = (rows(576), Tensor::<1>::ones([576], device).require_grad());
        move || {
            let output = form(input.clone(), weight.clone(), 1e-5);
            let grads = (output.clone() * output).sum().backward();
            read(input.grad(&grads).expect("a gradient"));
            read(weight.grad(&grads).expect("a gradient"));
        }
    };
    row("rms norm 1024 x 576, both ways", norm(rms_norm), norm(rms_norm_composed));
    let layer_norm_of = |form: LayerNormForm| {
        let (input, weight) = (rows(256), Tensor::<1>::ones([256], device).require_grad());
        let bias = Tensor::<1>::zeros([256], device).require_grad();
        move || {
            let output = form(input.clone(), weight.clone(), bias.clone(), 1e-5);
            let grads = (output.clone() * output).sum().backward();
            read(input.grad(&grads).expect("a gradient"));
            read(weight.grad(&grads).expect("a gradient"));
        }
    };
    row("layer norm 1024 x 256, both ways", layer_norm_of(layer_norm), layer_norm_of(layer_norm_composed));
    let activated = |form: GeluFn, kind: GeluForm| {
        let input = rows(1024);
        move || {
            let output = form(input.clone(), kind);
            let grads = (output.clone() * output).sum().backward();
            read(input.grad(&grads).expect("a gradient"));
        }
    };
    for kind in [GeluForm::Exact, GeluForm::Tanh] {
        let name = format!("gelu ({kind:?}) 1024 x 1024, both ways");
        row(&name, activated(palestra_model::ops::gelu, kind), activated(gelu_composed, kind));
    }
    let gate = |form: GateForm| {
        let (gate, up) = (rows(1536), rows(1536));
        move || {
            let output = form(gate.clone(), up.clone());
            let grads = (output.clone() * output).sum().backward();
            read(gate.grad(&grads).expect("a gradient"));
            read(up.grad(&grads).expect("a gradient"));
        }
    };
    row("swiglu 1024 x 1536, both ways", gate(swiglu), gate(swiglu_composed));
}

fn optimiser(device: &Device) {
    let settings =
        AdamWStep { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 3, gradient_scale: 0.5 };
    for (count, shape) in [(48, [256, 256]), (1, [4096, 256]), (1, [4096, 1024]), (1, [49_152, 576])] {
        let run = |form: AdamWForm| {
            let zeros = || -> Vec<Tensor<2>> { (0..count).map(|_| Tensor::ones(shape, device)).collect() };
            let mut state: Vec<_> = zeros().into_iter().zip(zeros()).zip(zeros()).collect();
            move || {
                for ((param, exp_avg), exp_avg_sq) in &mut state {
                    let grad = Tensor::ones(shape, device);
                    let (p, m, v) = form(take(param), grad, take(exp_avg), take(exp_avg_sq), &settings);
                    (*param, *exp_avg, *exp_avg_sq) = (p, m, v);
                }
            }
        };
        row(&format!("adamw {count} x {shape:?}"), run(adamw_step), run(adamw_step_composed));
    }
}

fn take(tensor: &mut Tensor<2>) -> Tensor<2> {
    std::mem::replace(tensor, Tensor::empty([1, 1], &Device::flex()))
}

/// Times a training step of a small model: 4 layers, 256 wide, 8 heads, 4096 tokens, without norms; a batch of 8 x 128.
fn training_step(device: &Device) {
    let device = &device.clone().autodiff();
    let weight = |shape: [usize; 2]| -> Tensor<2> {
        Tensor::random(shape, Distribution::Normal(0.0, 0.02), device).require_grad()
    };
    let layers: Vec<_> =
        (0..4).map(|_| [weight([256, 768]), weight([256, 256]), weight([256, 1024]), weight([1024, 256])]).collect();
    let embedding = weight([4096, 256]);
    let tokens: Tensor<1, Int> = Tensor::arange(0..1024, device);
    let step = |attention: AttentionForm, selected_log_probs: LogProbsForm| {
        let (layers, embedding, tokens) = (layers.clone(), embedding.clone(), tokens.clone());
        move || {
            let mask = AttentionMask::causal();
            let mut x = embedding.clone().select(0, tokens.clone()); // [batch * time, width]
            for [qkv, out, up, down] in layers.clone() {
                let heads = x.clone().matmul(qkv).reshape([8, 128, 24, 32]).swap_dims(1, 2);
                let [query, key, value] = heads.chunk(3, 1).try_into().expect("three parts");
                let seen = attention(query, key, value, &mask).swap_dims(1, 2).reshape([1024, 256]);
                x = x + seen.matmul(out);
                x = x.clone() + gelu(x.matmul(up)).matmul(down);
            }
            let logits = x.matmul(embedding.clone().transpose());
            let grads = selected_log_probs(logits, tokens.clone()).mean().neg().backward();
            read(embedding.grad(&grads).expect("a gradient"));
        }
    };
    let composed = || step(attention_composed, selected_log_probs_composed);
    row("training step, own attention", step(attention, selected_log_probs_composed), composed());
    row("training step, own log-probs", step(attention_composed, selected_log_probs), composed());
    row("training step, both", step(attention, selected_log_probs), composed());
}

fn read<const D: usize>(tensor: Tensor<D>) {
    std::hint::black_box(&tensor);
}

/// Times two forms in turns, so that a slowdown of the machine affects both.
fn row(what: &str, mut own: impl FnMut(), mut composed: impl FnMut()) {
    let (mut own_times, mut composed_times) = (Vec::new(), Vec::new());
    own();
    composed();
    let start = Instant::now();
    while start.elapsed() < BUDGET || own_times.len() < 5 {
        own_times.push(time(&mut own));
        composed_times.push(time(&mut composed));
    }
    let (own, composed) = (median(own_times), median(composed_times));
    println!("{what:42} {own:10.3} {composed:10.3} {:7.2}", composed / own);
}

fn time(run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
