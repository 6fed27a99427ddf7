//! Action values of tokens, learned from logged experience.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};
use rand_chacha::ChaCha8Rng;

use super::{Linear, ModelConfig, Placement, Transformer};

/// Which parts a critic has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CriticShape {
    /// Whether it reads with a transformer of its own; else it looks at what the policy made of the tokens, and their
    /// losses meet in one trunk.
    pub own_trunk: bool,
    /// How many action-value heads: none, one, or twins whose smaller value counts.
    pub q_heads: usize,
    /// Whether the action-value heads have slowly moving averages to learn from.
    pub targets: bool,
    /// Whether states have a value of their own.
    pub v_head: bool,
}

/// Values of what could be written next, Q(s, ·), and of being where one is, V(s).
///
/// Twin heads, of which the smaller value counts ([Fujimoto et al. 2018](https://arxiv.org/abs/1802.09477)), and
/// Polyak averages of them to bootstrap from, as in ILQL ([Snell et al. 2023](https://arxiv.org/abs/2206.11871)).
#[derive(Module, Debug)]
pub struct Critic {
    /// The transformer that it reads with, where it is not the policy's.
    pub trunk: Option<Transformer>,
    /// The action-value heads, `[width]` to `[vocab]`.
    pub q: Vec<Head>,
    /// Their Polyak averages; as many, or none.
    pub targets: Vec<Head>,
    /// The state-value head, `[width]` to `[1]`.
    pub v: Option<Head>,
}

/// `outer(relu(inner(x)))`, the outer layer zero at first: a fresh head has no opinion.
#[derive(Module, Debug)]
pub struct Head {
    inner: Linear,
    outer: Linear,
}

impl Critic {
    /// A critic from nothing.
    pub fn new(config: &ModelConfig, shape: CriticShape, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let trunk = shape.own_trunk.then(|| Transformer::new(config, rng, device));
        let q: Vec<Head> =
            (0..shape.q_heads).map(|_| Head::new(config.width, config.vocab_size, rng, device)).collect();
        let targets = if shape.targets { q.clone() } else { Vec::new() };
        let v = shape.v_head.then(|| Head::new(config.width, 1, rng, device));
        Self { trunk, q, targets, v }
    }

    /// What the critic makes of each token of rows without padding on the left, `[batch, time]` to
    /// `[batch * time, width]`. Without a trunk of its own it is `actor`, which is what the policy makes of them.
    pub fn read(&self, tokens: Tensor<2, Int>, actor: &Tensor<2>) -> Tensor<2> {
        match &self.trunk {
            Some(trunk) => trunk.forward(tokens, &Placement::causal(), None),
            None => actor.clone(),
        }
    }

    /// The smaller of the heads' values of every token, `[rows, width]` to `[rows, vocab]`.
    ///
    /// # Panics
    /// If there are no heads.
    pub fn smaller_q(&self, hidden: Tensor<2>) -> Tensor<2> {
        smallest(&self.q, hidden)
    }

    /// As [`Critic::smaller_q`], by the heads' averages, apart from the gradient.
    ///
    /// # Panics
    /// If there are none.
    pub fn smaller_target(&self, hidden: Tensor<2>) -> Tensor<2> {
        smallest(&self.targets, hidden.detach()).detach()
    }

    /// The values of states, `[rows, width]` to `[rows]`; `None` without such a head.
    pub fn state_values(&self, hidden: Tensor<2>) -> Option<Tensor<1>> {
        self.v.as_ref().map(|head| head.forward(hidden).squeeze_dim(1))
    }

    /// Moves the averages toward the heads: `target += rate * (head - target)`.
    #[must_use]
    pub fn with_targets_moved(mut self, rate: f64) -> Self {
        let moved = self.targets.into_iter().zip(&self.q).map(|(target, head)| target.moved_toward(head, rate));
        self.targets = moved.collect();
        self
    }
}

impl Head {
    fn new(width: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        // Kaiming's scale for relu, so that the first layer keeps the size of what it reads.
        let std = (2.0 / width as f64).sqrt();
        let inner = Linear::new([width, width], std, true, rng, device);
        Self { inner, outer: Linear::new([width, outputs], 0.0, true, rng, device) }
    }

    /// `[rows, width]` to `[rows, outputs]`.
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.outer.forward(relu(self.inner.forward(hidden)))
    }

    fn moved_toward(self, other: &Self, rate: f64) -> Self {
        Self {
            inner: moved_linear(self.inner, &other.inner, rate),
            outer: moved_linear(self.outer, &other.outer, rate),
        }
    }
}

fn moved_linear(linear: Linear, toward: &Linear, rate: f64) -> Linear {
    let bias = linear.bias.zip(toward.bias.as_ref()).map(|(bias, toward)| moved(bias, toward, rate));
    Linear { weight: moved(linear.weight, &toward.weight, rate), bias }
}

fn moved<const D: usize>(param: Param<Tensor<D>>, toward: &Param<Tensor<D>>, rate: f64) -> Param<Tensor<D>> {
    let toward = toward.val().inner();
    param.map(|old| {
        let old = old.inner();
        let step = (toward - old.clone()).mul_scalar(rate);
        Tensor::from_inner(old + step).set_require_grad(true)
    })
}

fn smallest(heads: &[Head], hidden: Tensor<2>) -> Tensor<2> {
    let values = heads.iter().map(|head| head.forward(hidden.clone()));
    values.reduce(Tensor::min_pair).expect("a critic that is asked for action values has heads")
}
