//! Gradient checkpointing: the forward pass keeps only the input of each block, and the backward pass computes each
//! block again ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)).
//!
//! Memory for activations falls from that of all blocks to that of one. The forward pass is computed twice.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DispatchTensor, Gradients, Tensor};

use super::block::{Block, View};
use crate::ops::{Pulled, with_gradient_rule};

/// Output of a block, `[batch * time, width]`, of which autodiff keeps the input alone: the backward pass of whatever the
/// output is used for computes the block again. Where nothing is trained, it is the block's plain output.
pub(super) fn recomputed(block: &Block, input: Tensor<2>, view: &View) -> Tensor<2> {
    if !input.is_tracked() && !trains(block) {
        return block.forward(input, view, None);
    }
    // A rule is asked only if an input is tracked, and the parameters are no inputs.
    let input = if input.is_tracked() { input } else { input.detach().require_grad() };
    let view = view.inner();
    let output = block.valid().forward(input.clone().inner(), &view, None);
    let (block, kept) = (block.clone(), input.clone().inner());
    let rule = move |gradient: Tensor<2>, _| {
        #[cfg(test)]
        tests::observe();
        // Leaves of their own: the graph of the block's is locked by the backward pass that asks.
        let copy = block.clone().map(&mut FreshLeaves);
        let input = Tensor::from_inner(kept).require_grad();
        let mut gradients = pulled_back(copy.forward(input.clone(), &view, None), gradient);
        let inputs = [input.grad_remove(&mut gradients)];
        let (mut leaves, mut found) = (Leaves(Vec::new()), TakenGradients { gradients, found: Vec::new() });
        block.visit(&mut leaves);
        copy.visit(&mut found);
        let pairs = leaves.0.into_iter().zip(found.found);
        Pulled { inputs, parameters: pairs.filter_map(|(leaf, gradient)| Some((leaf, gradient?))).collect() }
    };
    with_gradient_rule([input], output, Box::new(rule))
}

/// Gradients of everything that `output` is computed from, given the gradient of `output`.
fn pulled_back(output: Tensor<2>, gradient: Tensor<2>) -> Gradients {
    (output * Tensor::from_inner(gradient)).sum().backward()
}

/// True if a parameter of the block is trained.
fn trains(block: &Block) -> bool {
    struct Trains(bool);
    impl ModuleVisitor for Trains {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.val().is_require_grad();
        }
    }
    let mut trains = Trains(false);
    block.visit(&mut trains);
    trains.0
}

/// Gives each parameter a leaf of its own, in a graph of its own.
struct FreshLeaves;

impl ModuleMapper for FreshLeaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let is_trained = param.val().is_require_grad();
        param.map(|value| Tensor::from_inner(value.inner()).set_require_grad(is_trained))
    }
}

/// The leaves of a module's parameters, in the order of the walk.
struct Leaves(Vec<DispatchTensor>);

impl ModuleVisitor for Leaves {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_dispatch());
    }
}

/// The gradients of a module's parameters, in the order of the walk.
struct TakenGradients {
    gradients: Gradients,
    found: Vec<Option<DispatchTensor>>,
}

impl ModuleVisitor for TakenGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(param.val().grad_remove(&mut self.gradients).map(Tensor::into_dispatch));
    }
}

#[cfg(test)]
mod tests;
