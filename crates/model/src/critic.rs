//! Action values of tokens, learned from logged experience.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};

use serde::{Deserialize, Serialize};

use super::layers::Init;
use super::{Linear, ModelConfig, Placement, Transformer};

/// Parts of a critic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CriticShape {
    /// True if the critic has a transformer of its own; otherwise it reads the policy's hidden states, and both losses
    /// train one trunk.
    pub own_trunk: bool,
    /// Number of action-value heads: none, one, or twins of which the smaller value counts.
    pub q_heads: usize,
    /// Part of the action-value network that has a target network (a Polyak average) to bootstrap from.
    pub targets: Targets,
    /// True if there is a state-value head.
    pub v_head: bool,
}

/// Part of the critic that has a target network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// No target network; no run file can select this.
    #[default]
    #[serde(skip)]
    None,
    /// The action-value heads, which read the hidden states of the current transformer. Suits a trunk that learns so
    /// slowly, or is so large, that a copy is not worth its memory.
    Heads,
    /// The whole action-value network, transformer and heads.
    Network,
}

/// Action values of the next token, Q(s, ·), and values of the current state, V(s).
///
/// Has twin heads, of which the smaller value counts ([Fujimoto et al. 2018](https://arxiv.org/abs/1802.09477)), and
/// target networks to bootstrap from, which are Polyak averages, as in ILQL ([Snell et al.
/// 2023](https://arxiv.org/abs/2206.11871)).
#[derive(Module, Debug)]
pub struct Critic {
    /// The critic's own transformer; `None` if it reads the policy's hidden states.
    pub trunk: Option<Transformer>,
    /// The action-value heads, `[width]` to `[vocab]`.
    pub q: Vec<Head>,
    /// Target heads: Polyak averages of the action-value heads; as many as these, or none.
    pub targets: Vec<Head>,
    /// Target transformer of the target heads, where the transformer is averaged too.
    pub target_trunk: Option<Transformer>,
    /// The state-value head, `[width]` to `[1]`.
    pub v: Option<Head>,
}

/// `outer(relu(inner(x)))`. The outer layer starts at zero, so that a new head predicts 0.
#[derive(Module, Debug)]
pub struct Head {
    inner: Linear,
    outer: Linear,
}

impl Critic {
    /// A newly initialised critic. `actor` is the policy's transformer, which the critic uses if it has none of its
    /// own.
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

    /// True if a parameter of a policy is one of its critic's targets, which follow the critic and have no gradient.
    pub fn is_target(name: &str) -> bool {
        name.starts_with("critic.target")
    }

    /// Hidden states of rows without padding on the left, `[batch, time]` to `[batch * time, width]`. Without a trunk
    /// of its own, the critic returns `actor`, the policy's hidden states.
    pub fn read(&self, tokens: Tensor<2, Int>, actor: &Tensor<2>) -> Tensor<2> {
        match &self.trunk {
            Some(trunk) => trunk.forward(tokens, &Placement::causal(), None),
            None => actor.clone(),
        }
    }

    /// Minimum of the heads' values of every token, `[rows, width]` to `[rows, vocab]`.
    ///
    /// # Panics
    /// If there are no heads.
    pub fn min_q(&self, hidden: Tensor<2>) -> Tensor<2> {
        smallest(&self.q, hidden)
    }

    /// As [`Critic::min_q`], by the target heads and without a gradient.
    ///
    /// # Panics
    /// If there are no target heads.
    pub fn min_target_q(&self, hidden: Tensor<2>) -> Tensor<2> {
        smallest(&self.targets, hidden.detach()).detach()
    }

    /// The values of states, `[rows, width]` to `[rows]`; `None` without such a head.
    pub fn state_values(&self, hidden: Tensor<2>) -> Option<Tensor<1>> {
        self.v.as_ref().map(|head| head.forward(hidden).squeeze_dim(1))
    }

    /// Polyak update of the target networks: `target += rate * (new - target)`. `actor` is the policy's transformer.
    #[must_use]
    pub fn polyak_update(mut self, actor: &Transformer, rate: f64) -> Self {
        self.targets = moved_toward(self.targets, &self.q, rate);
        let trunk = self.trunk.as_ref().unwrap_or(actor);
        self.target_trunk = self.target_trunk.map(|target| moved_toward(target, trunk, rate));
        self
    }
}

impl Head {
    fn new(width: usize, outputs: usize, init: &mut Init, device: &Device) -> Self {
        // Kaiming initialisation for relu, so that the first layer keeps the scale of its input.
        let std = (2.0 / width as f64).sqrt();
        let inner = Linear::new([width, width], std, true, init, device);
        Self { inner, outer: Linear::new([width, outputs], 0.0, true, init, device) }
    }

    /// `[rows, width]` to `[rows, outputs]`.
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.outer.forward(relu(self.inner.forward(hidden)))
    }
}

/// Moves each parameter of `module` by the fraction `rate` toward that of `toward`, which has the same shape. The
/// result has no gradient.
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
