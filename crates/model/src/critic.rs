//! Action values of tokens, learned from logged experience.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};

use serde::{Deserialize, Serialize};

use super::layers::Init;
use super::{Linear, ModelConfig, Placement, Transformer};

/// Which parts a critic has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CriticShape {
    /// Whether it reads with a transformer of its own; else it looks at what the policy made of the tokens, and their
    /// losses meet in one trunk.
    pub own_trunk: bool,
    /// How many action-value heads: none, one, or twins whose smaller value counts.
    pub q_heads: usize,
    /// What of the action values has slowly moving averages to learn from.
    pub targets: Targets,
    /// Whether states have a value of their own.
    pub v_head: bool,
}

/// What is averaged over the steps of training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// Nothing, which no run file asks for.
    #[default]
    #[serde(skip)]
    None,
    /// The action-value heads, which look at what the moving transformer makes of the tokens: for a trunk that learns
    /// so slowly, or is so large, that a copy of it is not worth its memory.
    Heads,
    /// All that action values are made with, transformer and heads.
    Network,
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
    /// The average of the transformer that they read with, where that is averaged too.
    pub target_trunk: Option<Transformer>,
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
    /// A critic from nothing. `actor` is the policy's transformer, which it reads with where it has none of its own.
    pub fn new(
        config: &ModelConfig,
        shape: CriticShape,
        actor: &Transformer,
        init: &mut Init,
        device: &Device,
    ) -> Self {
        let trunk = shape.own_trunk.then(|| Transformer::new(config, init, device));
        let q: Vec<Head> =
            (0..shape.q_heads).map(|_| Head::new(config.width, config.vocab_size, init, device)).collect();
        let targets = if shape.targets == Targets::None { Vec::new() } else { q.clone() };
        let target_trunk = (shape.targets == Targets::Network).then(|| trunk.as_ref().unwrap_or(actor).clone());
        let v = shape.v_head.then(|| Head::new(config.width, 1, init, device));
        Self { trunk, q, targets, target_trunk, v }
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

    /// Moves the averages toward what they are of: `target += rate * (new - target)`. `actor` is the policy's
    /// transformer.
    #[must_use]
    pub fn with_targets_moved(mut self, actor: &Transformer, rate: f64) -> Self {
        self.targets = moved_toward(self.targets, &self.q, rate);
        let trunk = self.trunk.as_ref().unwrap_or(actor);
        self.target_trunk = self.target_trunk.map(|target| moved_toward(target, trunk, rate));
        self
    }
}

impl Head {
    fn new(width: usize, outputs: usize, init: &mut Init, device: &Device) -> Self {
        // Kaiming's scale for relu, so that the first layer keeps the size of what it reads.
        let std = (2.0 / width as f64).sqrt();
        let inner = Linear::new([width, width], std, true, init, device);
        Self { inner, outer: Linear::new([width, outputs], 0.0, true, init, device) }
    }

    /// `[rows, width]` to `[rows, outputs]`.
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.outer.forward(relu(self.inner.forward(hidden)))
    }
}

/// Each parameter of `module`, moved by `rate` of the way to that of `toward`, which is of the same shape. What comes of
/// it takes no gradient.
fn moved_toward<M: Module>(module: M, toward: &M, rate: f64) -> M {
    /// The parameters in the order of the walk, flat.
    struct Collect(VecDeque<Tensor<1>>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push_back(param.val().inner().flatten(0, D - 1));
        }
    }
    struct Move(VecDeque<Tensor<1>>, f64);
    impl ModuleMapper for Move {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let toward = self.0.pop_front().expect("both modules have the same parameters");
            param.map(|old| {
                let old = old.inner();
                let step = (toward.reshape(old.dims()) - old.clone()).mul_scalar(self.1);
                Tensor::from_inner(old + step).set_require_grad(false)
            })
        }
    }
    let mut parameters = Collect(VecDeque::new());
    toward.visit(&mut parameters);
    module.map(&mut Move(parameters.0, rate))
}

fn smallest(heads: &[Head], hidden: Tensor<2>) -> Tensor<2> {
    let values = heads.iter().map(|head| head.forward(hidden.clone()));
    values.reduce(Tensor::min_pair).expect("a critic that is asked for action values has heads")
}
