use std::cell::Cell;
use std::sync::Arc;

use burn::tensor::{Device, TensorData};
use palestra_testing::{Tolerance, assert_close};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::ops::{available_devices, open_device};

const ROWS: usize = 11;
const WIDTH: usize = 3;
const VOCAB: usize = 5;
/// Chunks of at most 4 rows: 4, 3 and 4 of them.
const CHUNK: usize = 4 * 4 * VOCAB;
const WHOLE: usize = 4 * ROWS * VOCAB;
const TOLERANCE: Tolerance = Tolerance { absolute: 1e-6, relative: 1e-6 };

thread_local! {
    /// The most logits that were made at once.
    static MOST: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn observe(scores: &Tensor<2>) {
    let [rows, vocab] = scores.dims();
    MOST.set(MOST.get().max(rows * vocab));
}

/// A loss of a distribution, computed with chunks of so many bytes.
type Loss = dyn Fn(&TokenDistribution, usize, Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

/// Weighs log-probabilities and entropies, so that every row has a gradient of its own.
fn weighted(entropy: Entropy) -> impl Fn(&TokenDistribution, usize, Tensor<2>, Tensor<1, Int>) -> Tensor<1> {
    move |distribution, chunk, hidden, targets| {
        let weights = numbers(ROWS, 7, &hidden.device());
        let found = distribution.log_probs_by(chunk, hidden, targets, entropy);
        let total = (found.log_probs * weights.clone()).sum();
        match found.entropy {
            Some(entropy) => total + (entropy * weights.square()).sum(),
            None => total,
        }
    }
}

fn summed(distribution: &TokenDistribution, chunk: usize, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    distribution.log_likelihood_by(chunk, hidden, targets).mul_scalar(-0.3)
}

/// The loss and the gradients of hidden states, W and b, of those that are trained.
fn computed(
    distribution: &TokenDistribution,
    trained: [bool; 3],
    loss: &Loss,
    chunk: usize,
    device: &Device,
) -> Vec<Vec<f64>> {
    let leaf = |tensor: Tensor<2>, is_trained| tensor.autodiff().set_require_grad(is_trained);
    let hidden = leaf(numbers(ROWS * WIDTH, 1, device).reshape([ROWS, WIDTH]), trained[0]);
    let weight = leaf(distribution.weight.clone(), trained[1]);
    let bias = distribution.bias.clone().map(|bias| bias.autodiff().set_require_grad(trained[2]));
    let own = TokenDistribution { weight: weight.clone(), bias: bias.clone(), ..distribution.clone() };
    let loss = loss(&own, chunk, hidden.clone(), targets(device));
    let grads = loss.backward();
    let mut all = vec![host(loss)];
    all.extend([hidden, weight].into_iter().filter_map(|input| input.grad(&grads)).map(host));
    all.extend(bias.and_then(|bias| bias.grad(&grads)).map(host));
    assert_eq!(all.len(), 1 + trained.into_iter().filter(|is_trained| *is_trained).count());
    all
}

#[test]
fn chunks_change_neither_values_nor_gradients() {
    let losses: [&Loss; 4] =
        [&weighted(Entropy::Unused), &weighted(Entropy::Measured), &weighted(Entropy::InLoss), &summed];
    for_every_device(|device| {
        for (name, distribution) in distributions(device) {
            for (kind, loss) in losses.iter().enumerate() {
                for trained in [[true; 3], [true, false, false], [false, true, true]] {
                    let whole = computed(&distribution, trained, *loss, WHOLE, device);
                    MOST.set(0);
                    let chunked = computed(&distribution, trained, *loss, CHUNK, device);
                    assert_eq!(MOST.get(), 4 * VOCAB, "no logits are larger than a chunk");
                    for (found, expected) in chunked.iter().zip(&whole) {
                        assert_close!(found, expected, TOLERANCE, "{name}, loss {kind}, trained {trained:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn nothing_is_recorded_where_nothing_is_trained() {
    for_every_device(|device| {
        let (_, distribution) = distributions(device).remove(0);
        let hidden = || numbers(ROWS * WIDTH, 1, device).reshape([ROWS, WIDTH]);
        for hidden in [hidden(), hidden().autodiff()] {
            let whole = distribution.log_probs_by(WHOLE, hidden.clone(), targets(device), Entropy::Measured);
            let found = distribution.log_probs_by(CHUNK, hidden.clone(), targets(device), Entropy::Measured);
            assert!(!found.log_probs.is_tracked());
            assert_close!(host(found.log_probs.clone()), host(whole.log_probs), TOLERANCE);
            assert_close!(host(found.entropy.unwrap()), host(whole.entropy.unwrap()), TOLERANCE);
            let sum = distribution.log_likelihood_by(CHUNK, hidden, targets(device));
            assert_close!(host(sum), host(found.log_probs.sum()), TOLERANCE);
        }
    });
}

#[test]
fn a_bound_temperature_forbidden_tokens_and_a_hole_by_hand() {
    for_every_device(|device| {
        let distribution = TokenDistribution {
            weight: Tensor::from_data([[8.0, -2.0, 1.0, 9.0]], device),
            bias: None,
            soft_cap: Some(2.0),
            temperature: 0.5,
            allowed: AllowedTokens::new([Some(Arc::from([0, 2])), None]),
            vocabulary: OutputVocabulary::new(4, &[3]),
        };
        let hidden = Tensor::from_data([[1.0], [0.5]], device);
        let targets = Tensor::from_data([2, 1], device);
        let scores = |h: f64| [8.0, -2.0, 1.0].map(|w| 2.0 * (h * w / 2.0).tanh() / 0.5);
        let [a, _, c] = scores(1.0);
        let total: f64 = scores(0.5).iter().map(|score| score.exp()).sum();
        let expected = [c - (a.exp() + c.exp()).ln(), scores(0.5)[1] - total.ln()];
        for chunk in [4 * 4, 4 * 4 * 2] {
            let found = distribution.log_probs_by(chunk, hidden.clone(), targets.clone(), Entropy::Unused);
            assert_close!(host(found.log_probs), expected, 1e-5);
        }
    });
}

#[test]
fn chunks_hold_at_most_their_bytes_and_are_of_about_one_size() {
    let device = Device::flex();
    let distribution = TokenDistribution {
        weight: Tensor::<2>::zeros([1, 1], &device).expand([1, 49_152]),
        bias: None,
        soft_cap: None,
        temperature: 1.0,
        allowed: None,
        vocabulary: OutputVocabulary::whole(49_152),
    };
    let chunks = |rows: usize| {
        let hidden = Tensor::<2>::zeros([rows, 1], &device);
        let targets = Tensor::<1, Int>::zeros([rows], &device);
        Chunks::new(&distribution, &hidden, &targets, LOGITS_CHUNK).map(|chunks| chunks.lengths())
    };
    assert_eq!(chunks(341), None);
    assert_eq!(chunks(342), Some(vec![171, 171]));
    let lengths = chunks(4096).unwrap();
    assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (13, 4096));
    assert!(lengths.iter().all(|rows| (315..=316).contains(rows)), "{lengths:?}");
}

/// Distributions with everything, and with little.
fn distributions(device: &Device) -> Vec<(&'static str, TokenDistribution)> {
    let weight = || numbers(WIDTH * VOCAB, 2, device).reshape([WIDTH, VOCAB]);
    let bias = || Some(numbers(VOCAB, 3, device));
    let transposed = numbers(WIDTH * VOCAB, 2, device).reshape([VOCAB, WIDTH]).transpose();
    let rows = (0..ROWS).map(|row| match row % 3 {
        0 => None,
        _ => Some(Arc::from([row as u32 % 5, 4, 1].as_slice())),
    });
    let allowed = AllowedTokens::new(rows);
    let (vocabulary, holes) = (OutputVocabulary::whole(VOCAB), OutputVocabulary::new(VOCAB, &[2]));
    let plain = TokenDistribution {
        weight: weight(),
        bias: bias(),
        soft_cap: None,
        temperature: 1.0,
        allowed: None,
        vocabulary,
    };
    vec![
        ("plain", plain.clone()),
        // As a tied embedding is.
        ("transposed", TokenDistribution { weight: transposed, ..plain.clone() }),
        ("with a hole", TokenDistribution { vocabulary: holes.clone(), ..plain.clone() }),
        (
            "bounded, warm, restricted, with a hole",
            TokenDistribution { soft_cap: Some(1.5), temperature: 0.7, allowed, vocabulary: holes, ..plain },
        ),
    ]
}

/// Tokens that are allowed in their rows.
fn targets(device: &Device) -> Tensor<1, Int> {
    let tokens: Vec<i64> = (0..ROWS as i64).map(|row| [row % 5, 4, 1][row as usize % 3]).collect();
    Tensor::from_data(TensorData::new(tokens, [ROWS]), device)
}

fn numbers(count: usize, seed: u64, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = StandardNormal.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(count).collect();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn for_every_device(test: impl Fn(&Device)) {
    available_devices().iter().for_each(|name| test(&open_device(name).unwrap()));
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}
