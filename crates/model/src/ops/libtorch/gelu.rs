use burn::tensor::Tensor;

use super::tensors::{give, take};

/// [`gelu`](crate::ops::gelu()) by the hyperbolic tangent, which burn composes of seven operations; outside autodiff.
pub(in crate::ops) fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    give(take(x).gelu("tanh"))
}

/// Gradient of the input of [`gelu_tanh`], given that of its output.
pub(in crate::ops) fn gelu_tanh_gradient(x: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
    give(take(x).gelu_backward(&take(gradient), "tanh"))
}
