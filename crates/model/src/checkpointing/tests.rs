use std::cell::Cell;
use std::collections::BTreeMap;

use burn::tensor::{Int, TensorData};
use palestra_testing::{Tolerance, assert_close};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ops::{available_devices, open_device};
use crate::optim::GradientSum;
use crate::{Family, Init, ModelConfig, Placement, Transformer, parameters};

const LAYERS: usize = 3;
const VOCAB: usize = 11;

thread_local! {
    /// Blocks that backward passes have computed again.
    static AGAIN: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn observe() {
    AGAIN.set(AGAIN.get() + 1);
}

fn gradients(model: &Transformer, placement: &Placement) -> BTreeMap<String, Vec<f64>> {
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64, 5, 9, 2, 3, 3], [2, 3]), &model.device());
    let logits = model.logits(model.forward(tokens, placement, None));
    let mut sum = GradientSum::default();
    sum.add(model, &mut logits.square().mean().backward());
    sum.over(1.0);
    let numbers = |(name, gradient): (String, TensorData)| (name, gradient.iter::<f64>().collect());
    sum.by_name().into_iter().map(numbers).collect()
}

#[test]
fn blocks_computed_again_give_the_same_gradients() {
    type Trained = fn(&str) -> bool;
    // What is trained, and how many blocks are then computed again: those before it are not part of a backward pass.
    let cases: [(Trained, usize); 4] = [
        (|_| true, LAYERS),
        (|name| name.starts_with("blocks."), LAYERS),
        (|name| name.starts_with("blocks.1.attention"), 2),
        (|name| name.starts_with("norm"), 0),
    ];
    for device in available_devices() {
        let device = open_device(device).unwrap();
        for family in [Family::Gpt2, Family::Llama] {
            let shape =
                ModelConfig { family, layers: LAYERS, width: 8, heads: 2, context: 8, ..ModelConfig::default() };
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            let model = Transformer::new(&shape.resolve(VOCAB).unwrap(), &mut Init::Random(rng), &device);
            for (trained, blocks) in cases {
                let model = parameters::set_trained(model.clone().train(), &|name, _| trained(name));
                let positions = TensorData::new(vec![0i64, 1, 2, 3, 4, 5], [2, 3]);
                let positions = Some(Tensor::from_data(positions, &model.device()));
                for placement in [Placement::causal(), Placement { positions, ..Placement::causal() }] {
                    let expected = gradients(&model, &placement);
                    AGAIN.set(0);
                    let found = gradients(&model.clone().with_gradient_checkpointing(true), &placement);
                    assert_eq!(AGAIN.get(), blocks);
                    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
                    for (name, expected) in expected {
                        // Outside autodiff so few rows are multiplied by a loop that rounds otherwise.
                        let tolerance = Tolerance { absolute: 1e-8, relative: 1e-5 };
                        assert_close!(found[&name], expected, tolerance, "{name}");
                    }
                }
            }
        }
    }
}
