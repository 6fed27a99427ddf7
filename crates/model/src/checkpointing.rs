//! Gradient checkpointing: the forward pass keeps only the input of each block, and the backward pass computes each
//! block again ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)).
//!
//! Memory for activations falls from that of all blocks to that of one. The forward pass is computed twice.

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Int, Tensor};

use super::{Placement, Transformer};

/// Computes a loss of the model's hidden states (`[batch * time, width]`, as [`Transformer::forward`] returns them) and
/// its gradients, block by block from the last to the first. `take` receives the gradients of some parameters at a
/// time; a parameter that is used twice arrives in two parts.
pub fn backward(
    model: &Transformer,
    tokens: Tensor<2, Int>,
    placement: &Placement,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    mut take: impl FnMut(&mut Gradients),
) {
    let size = tokens.dims();
    let inputs = inputs_of_blocks(model, tokens.clone(), placement);
    let view = model.view(size, placement, 0);

    // The gradient at the output of the blocks, then at the input of each.
    let mut inputs = inputs.into_iter().rev().map(|input| Tensor::from_inner(input).require_grad());
    let mut input: Tensor<2> = inputs.next().expect("there is the last block's output");
    let mut gradients = loss(model.norm.forward(input.clone())).backward();
    for block in model.blocks.iter().rev() {
        let Some(gradient) = input.grad_remove(&mut gradients) else { return }; // nothing depends on the blocks
        take(&mut gradients);
        input = inputs.next().expect("each block has an input");
        gradients = pulled_back(block.forward(input.clone(), &view, None), gradient);
    }
    let gradient = input.grad_remove(&mut gradients);
    take(&mut gradients);
    let is_trained = |table: &Param<Tensor<2>>| table.val().is_require_grad();
    let trains = is_trained(&model.embedding) || model.positions.as_ref().is_some_and(is_trained);
    if let Some(gradient) = gradient.filter(|_| trains) {
        take(&mut pulled_back(model.embed(tokens, placement, 0), gradient));
    }
}

/// The input of each block and the output of the last, without autodiff.
fn inputs_of_blocks(model: &Transformer, tokens: Tensor<2, Int>, placement: &Placement) -> Vec<Tensor<2>> {
    let model = model.valid();
    let positions = placement.positions.clone().map(Tensor::inner);
    let placement = Placement { mask: placement.mask.clone(), positions };
    let view = model.view(tokens.dims(), &placement, 0);
    let mut inputs = vec![model.embed(tokens.inner(), &placement, 0)];
    for block in &model.blocks {
        let input = inputs[inputs.len() - 1].clone();
        inputs.push(block.forward(input, &view, None));
    }
    inputs
}

/// Gradients of everything that `output` is computed from, given the gradient of `output`.
fn pulled_back(output: Tensor<2>, gradient: Tensor<2>) -> Gradients {
    (output * Tensor::from_inner(gradient)).sum().backward()
}
