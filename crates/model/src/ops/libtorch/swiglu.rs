use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::Tensor;

/// [`swiglu`](crate::ops::swiglu()) on libtorch's own SiLU and its backward step.
pub(in crate::ops) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as SwiGlu>::swiglu(gate.into_dispatch(), up.into_dispatch()))
}

#[backend_extension(LibTorch, Autodiff)]
trait SwiGlu: Backend {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl SwiGlu for LibTorch {
    fn swiglu(gate: TchTensor, up: TchTensor) -> TchTensor {
        let mut output = gate.tensor.silu();
        let _ = output.g_mul_(&up.tensor);
        TchTensor::new(output)
    }
}

impl<C: CheckpointStrategy> SwiGlu for Autodiff<LibTorch, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, gate_node) = gate.into_parts();
        let (up, up_node) = up.into_parts();
        let output = LibTorch::swiglu(gate.clone(), up.clone());
        match SwiGluBackward.prepare::<C>([gate_node, up_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((gate, up), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

#[derive(Debug)]
struct SwiGluBackward;

impl Backward<LibTorch, 2> for SwiGluBackward {
    /// Inputs `gate` and `up`.
    type State = (TchTensor, TchTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<LibTorch>(&ops.node).tensor;
        let (gate, up) = (ops.state.0.tensor, ops.state.1.tensor);
        let [gate_parent, up_parent] = ops.parents;
        if let Some(parent) = gate_parent {
            let gate_grad = gate.silu_backward(&(&grad * &up));
            grads.register::<LibTorch>(parent.id, TchTensor::new(gate_grad));
        }
        if let Some(parent) = up_parent {
            let mut up_grad = gate.silu();
            let _ = up_grad.g_mul_(&grad);
            grads.register::<LibTorch>(parent.id, TchTensor::new(up_grad));
        }
    }
}
