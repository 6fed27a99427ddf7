//! Tests of both implementations of attention against loops in f64, on every device that is built in.

use super::*;
use crate::ops::{available_devices, open_device};
use burn::tensor::TensorData;
use palestra_testing::assert_close;

const TOLERANCE: f64 = 1e-5;

type Form = fn(Tensor<4>, Tensor<4>, Tensor<4>, &AttentionMask) -> Tensor<4>;
const FORMS: [Form; 2] = [attention, attention_composed];

#[derive(Clone, Copy)]
struct Case {
    heads: usize,
    kv_heads: usize,
    query_len: usize,
    key_len: usize,
    head_dim: usize,
    padding: Padding,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Padding {
    None,
    /// Row `r` begins with `2 * r` keys of padding.
    Left,
    /// Row `r` ends with `2 * r` keys of padding.
    Right,
}

const BATCH: usize = 3;
const CASE: Case = Case { heads: 2, kv_heads: 2, query_len: 7, key_len: 7, head_dim: 5, padding: Padding::None };

#[test]
fn causal() {
    for head_dim in [5, 12, 32] {
        check(Case { head_dim, ..CASE });
    }
}

#[test]
fn long_enough_for_several_blocks_of_a_kernel() {
    check(Case { query_len: 70, key_len: 70, head_dim: 8, ..CASE });
    check(Case { query_len: 33, key_len: 70, head_dim: 8, padding: Padding::Left, ..CASE });
}

#[test]
fn padding_on_the_left() {
    check(Case { padding: Padding::Left, ..CASE });
}

#[test]
fn padding_on_the_right() {
    check(Case { padding: Padding::Right, ..CASE });
}

#[test]
fn fewer_queries_than_keys() {
    for query_len in [1, 3] {
        for padding in [Padding::None, Padding::Left, Padding::Right] {
            check(Case { query_len, padding, ..CASE });
        }
    }
}

#[test]
fn grouped_heads() {
    for (heads, kv_heads) in [(4, 2), (6, 2), (8, 1)] {
        for query_len in [1, 3, 7] {
            check(Case { heads, kv_heads, query_len, head_dim: 12, ..CASE });
            check(Case { heads, kv_heads, query_len, padding: Padding::Left, ..CASE });
        }
    }
}

#[test]
fn a_mask_may_be_any_rule() {
    // Two texts of 3 and 4 tokens, packed into one row.
    let same_text = |query: usize, key: usize| (query < 3) == (key < 3);
    let rule = |query: usize, key: usize| key <= query && same_text(query, key);
    let [query, key, value, weights] = inputs(CASE);
    let visible: Vec<bool> = (0..7 * 7).map(|at| rule(at / 7, at % 7)).collect();
    let expected = naive(CASE, &query, &key, &value, &weights, |_, i, j| rule(i, j));
    for_every_device(|device, form| {
        let visible = Tensor::from_data(TensorData::new(visible.clone(), [1, 1, 7, 7]), device);
        compare(CASE, device, form, &AttentionMask::from_visible(visible), &expected);
    });
}

#[test]
fn a_query_that_sees_nothing_is_finite() {
    let case = Case { padding: Padding::Left, ..CASE };
    let [query, key, value, _] = inputs(case);
    let weights = vec![1.0; query.len()];
    // A masking constant of the wrong size would overflow with large scores.
    let large: Vec<f64> = query.iter().map(|x| x * 1e4).collect();
    for_every_device(|device, form| {
        let mask = mask(case, device);
        let run = run(case, &device.clone().autodiff(), form, &mask, [&large, &key, &value, &weights]);
        for tensor in [run.output, run.query_grad, run.key_grad, run.value_grad] {
            assert!(tensor.iter().all(|x| x.is_finite()));
        }
    });
}

#[test]
fn a_mask_serves_several_layers_and_lengths() {
    for_every_device(|device, form| {
        let mask = AttentionMask::causal();
        for query_len in [7, 7, 3, 1, 7] {
            let case = Case { query_len, ..CASE };
            let [query, key, value, weights] = inputs(case);
            let expected = naive(case, &query, &key, &value, &weights, sees(case));
            compare(case, device, form, &mask, &expected);
        }
    });
}

#[test]
fn inputs_and_gradients_may_be_views() {
    let [query, key, value, weights] = inputs(CASE);
    let expected = naive(CASE, &query, &key, &value, &weights, sees(CASE));
    for_every_device(|device, form| {
        let device = &device.clone().autodiff();
        // [batch, time, heads, head_dim] as a model makes them, and one whose last dimension is not dense.
        for (one, other) in [(1, 2), (2, 3)] {
            let stored = tensors(CASE, device, [&query, &key, &value])
                .map(|tensor| Tensor::<4>::from_data(tensor.swap_dims(one, other).to_data(), device).require_grad());
            let [q, k, v] = stored.each_ref().map(|tensor| tensor.clone().swap_dims(one, other));
            let output = form(q, k, v, &AttentionMask::causal());
            assert_close!(numbers(output.clone()), expected.output, TOLERANCE, "output");

            let weights = tensor(&weights, output.dims(), device).swap_dims(one, other);
            let weights = Tensor::from_data(weights.to_data(), device);
            let grads = (output.swap_dims(one, other) * weights).sum().backward();
            let expected = [&expected.query_grad, &expected.key_grad, &expected.value_grad];
            for (stored, expected) in stored.iter().zip(expected) {
                let found = stored.grad(&grads).unwrap().swap_dims(one, other);
                assert_close!(numbers(found), expected, TOLERANCE, "gradient");
            }
        }
    });
}

#[test]
fn what_comes_out_shares_no_memory_with_what_went_in() {
    let [query, key, value, _] = inputs(CASE);
    for_every_device(|device, form| {
        let [q, k, v] = tensors(CASE, device, [&query, &key, &value]);
        let output = form(q.clone(), k.clone(), v.clone(), &AttentionMask::causal());
        let _changed_in_place = output.mul_scalar(0.0).exp();
        for (tensor, before) in [q, k, v].into_iter().zip([&query, &key, &value]) {
            assert_close!(numbers(tensor), before, TOLERANCE, "input");
        }
    });
}

#[test]
fn the_gradients_of_the_reference_are_its_differences() {
    let case = Case { heads: 4, query_len: 3, head_dim: 2, ..CASE };
    let [query, key, value, weights] = inputs(case);
    let loss = |query: &[f64], key: &[f64], value: &[f64]| -> f64 {
        let output = naive(case, query, key, value, &weights, sees(case)).output;
        output.iter().zip(&weights).map(|(x, w)| x * w).sum()
    };
    let step = 1e-5;
    let differences = |inputs: &[f64], loss: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let shifted = |at: usize, by: f64| {
            let mut inputs = inputs.to_vec();
            inputs[at] += by;
            loss(&inputs)
        };
        (0..inputs.len()).map(|at| (shifted(at, step) - shifted(at, -step)) / (2.0 * step)).collect()
    };
    let expected = naive(case, &query, &key, &value, &weights, sees(case));
    assert_close!(differences(&query, &|x| loss(x, &key, &value)), expected.query_grad, TOLERANCE, "query");
    assert_close!(differences(&key, &|x| loss(&query, x, &value)), expected.key_grad, TOLERANCE, "key");
    assert_close!(differences(&value, &|x| loss(&query, &key, x)), expected.value_grad, TOLERANCE, "value");
}

/// Attention output, and the gradients of the sum of output x weights.
struct Run {
    output: Vec<f64>,
    query_grad: Vec<f64>,
    key_grad: Vec<f64>,
    value_grad: Vec<f64>,
}

fn check(case: Case) {
    let [query, key, value, weights] = inputs(case);
    let expected = naive(case, &query, &key, &value, &weights, sees(case));
    for_every_device(|device, form| compare(case, device, form, &mask(case, device), &expected));
}

fn for_every_device(test: impl Fn(&Device, Form)) {
    for name in available_devices() {
        let device = open_device(name).unwrap();
        for form in FORMS {
            test(&device, form);
        }
    }
}

fn compare(case: Case, device: &Device, form: Form, mask: &AttentionMask, expected: &Run) {
    let [query, key, value, weights] = inputs(case);
    let [q, k, v] = tensors(case, device, [&query, &key, &value]);
    assert_close!(numbers(form(q, k, v, mask)), expected.output, TOLERANCE, "without autodiff");

    let run = run(case, &device.clone().autodiff(), form, mask, [&query, &key, &value, &weights]);
    assert_close!(run.output, expected.output, TOLERANCE, "output");
    assert_close!(run.query_grad, expected.query_grad, TOLERANCE, "query gradient");
    assert_close!(run.key_grad, expected.key_grad, TOLERANCE, "key gradient");
    assert_close!(run.value_grad, expected.value_grad, TOLERANCE, "value gradient");
}

fn run(case: Case, device: &Device, form: Form, mask: &AttentionMask, inputs: [&[f64]; 4]) -> Run {
    let [query, key, value, weights] = inputs;
    let [q, k, v] = tensors(case, device, [query, key, value]).map(Tensor::require_grad);
    let output = form(q.clone(), k.clone(), v.clone(), mask);
    let weights = tensor(weights, output.dims(), device);
    let grads = (output.clone() * weights).sum().backward();
    Run {
        output: numbers(output),
        query_grad: numbers(q.grad(&grads).unwrap()),
        key_grad: numbers(k.grad(&grads).unwrap()),
        value_grad: numbers(v.grad(&grads).unwrap()),
    }
}

fn mask(case: Case, device: &Device) -> AttentionMask {
    if case.padding == Padding::None {
        return AttentionMask::causal();
    }
    let real =
        (0..BATCH * case.key_len).map(|at| is_real(case, at / case.key_len, at % case.key_len)).collect::<Vec<_>>();
    let real = TensorData::new(real, [BATCH, case.key_len]);
    AttentionMask::padded(Tensor::from_data(real, device), case.query_len)
}

fn is_real(case: Case, row: usize, key: usize) -> bool {
    match case.padding {
        Padding::None => true,
        Padding::Left => key >= 2 * row,
        Padding::Right => key < case.key_len - 2 * row,
    }
}

fn sees(case: Case) -> impl Fn(usize, usize, usize) -> bool {
    move |row, query, key| key <= query + case.key_len - case.query_len && is_real(case, row, key)
}

/// Attention and its gradients, one number at a time.
fn naive(
    case: Case,
    query: &[f64],
    key: &[f64],
    value: &[f64],
    weights: &[f64],
    sees: impl Fn(usize, usize, usize) -> bool,
) -> Run {
    let Case { heads, kv_heads, query_len, key_len, head_dim, .. } = case;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let mut run = Run {
        output: vec![0.0; query.len()],
        query_grad: vec![0.0; query.len()],
        key_grad: vec![0.0; key.len()],
        value_grad: vec![0.0; value.len()],
    };
    for at in 0..BATCH * heads * query_len {
        let (row, head, i) = (at / query_len / heads, at / query_len % heads, at % query_len);
        let kv_head = head / (heads / kv_heads);
        let q = |d: usize| at * head_dim + d;
        let k = |j: usize, d: usize| ((row * kv_heads + kv_head) * key_len + j) * head_dim + d;

        let score = |j: usize| {
            let product: f64 = (0..head_dim).map(|d| query[q(d)] * key[k(j, d)]).sum();
            product * scale + if sees(row, i, j) { 0.0 } else { f64::from(HIDDEN) }
        };
        let scores: Vec<f64> = (0..key_len).map(score).collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
        let p: Vec<f64> = scores.iter().map(|score| (score - highest).exp() / total).collect();

        // d loss / d p, and its average, which the softmax gradient subtracts.
        let p_grad = |j: usize| (0..head_dim).map(|d| weights[q(d)] * value[k(j, d)]).sum::<f64>();
        let average: f64 = (0..key_len).map(|j| p[j] * p_grad(j)).sum();
        for j in 0..key_len {
            let score_grad = p[j] * (p_grad(j) - average) * scale;
            for d in 0..head_dim {
                run.output[q(d)] += p[j] * value[k(j, d)];
                run.value_grad[k(j, d)] += p[j] * weights[q(d)];
                run.query_grad[q(d)] += score_grad * key[k(j, d)];
                run.key_grad[k(j, d)] += score_grad * query[q(d)];
            }
        }
    }
    run
}

/// Query, key, value, and the weights of the outputs in the loss: 0 for queries that see nothing.
fn inputs(case: Case) -> [Vec<f64>; 4] {
    let queries = BATCH * case.heads * case.query_len * case.head_dim;
    let keys = BATCH * case.kv_heads * case.key_len * case.head_dim;
    let mut state = 1u64;
    let [query, key, value, mut weights] = [queries, keys, keys, queries].map(|count| {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // In [-2, 2), and exact in f32.
            ((state >> 44) as f64 / f64::from(1 << 18)) - 2.0
        };
        (0..count).map(|_| next()).collect::<Vec<_>>()
    });
    for (at, weights) in weights.chunks_mut(case.head_dim).enumerate() {
        let (row, i) = (at / case.query_len / case.heads, at % case.query_len);
        if !(0..case.key_len).any(|j| sees(case)(row, i, j)) {
            weights.fill(0.0);
        }
    }
    [query, key, value, weights]
}

fn tensors(case: Case, device: &Device, [query, key, value]: [&[f64]; 3]) -> [Tensor<4>; 3] {
    let keys = [BATCH, case.kv_heads, case.key_len, case.head_dim];
    [
        tensor(query, [BATCH, case.heads, case.query_len, case.head_dim], device),
        tensor(key, keys, device),
        tensor(value, keys, device),
    ]
}

fn tensor(numbers: &[f64], shape: [usize; 4], device: &Device) -> Tensor<4> {
    let numbers: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

fn numbers(tensor: Tensor<4>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}
