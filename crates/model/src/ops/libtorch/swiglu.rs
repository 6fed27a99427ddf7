use burn::tensor::Tensor;

use super::tensors::{give, take};

/// [`swiglu`](crate::ops::swiglu()) of gate and up on libtorch's own SiLU, outside autodiff.
pub(in crate::ops) fn swiglu([gate, up]: [Tensor<2>; 2]) -> Tensor<2> {
    let mut output = take(gate).silu();
    let _ = output.g_mul_(&take(up));
    give(output)
}

/// Gradients of gate and up, given that of the output.
pub(in crate::ops) fn swiglu_gradients([gate, up]: [Tensor<2>; 2], gradient: Tensor<2>) -> [Tensor<2>; 2] {
    let (gate, up, gradient) = (take(gate), take(up), take(gradient));
    let of_gate = gate.silu_backward(&(&gradient * &up));
    let mut of_up = gate.silu();
    let _ = of_up.g_mul_(&gradient);
    [of_gate, of_up].map(give)
}
