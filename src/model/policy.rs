//! A transformer that acts, with a value head where its learner wants one.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Linear, ModelConfig, Transformer};

/// A language model that acts by writing; the actor, and with a value head the critic on the same trunk.
#[derive(Module, Debug)]
pub struct Policy {
    /// The language model.
    pub transformer: Transformer,
    /// The value of a state, read where the model is about to write: `[width, 1]`.
    pub value_head: Option<Linear>,
}

impl Policy {
    /// A policy from nothing. The seed fixes its weights on every device. The value head starts at zero.
    pub fn new(config: &ModelConfig, with_value_head: bool, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let transformer = Transformer::new(config, &mut rng, device);
        let value_head = with_value_head.then(|| Linear::new([config.width, 1], 0.0, true, &mut rng, device));
        Self { transformer, value_head }
    }

    /// The values of states, `[rows, width]` to `[rows]`; `None` without a value head.
    pub fn values(&self, hidden: Tensor<2>) -> Option<Tensor<1>> {
        self.value_head.as_ref().map(|head| head.forward(hidden).squeeze_dim(1))
    }
}
