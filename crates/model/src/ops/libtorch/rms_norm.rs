use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::Tensor;

/// [`rms_norm`](crate::ops::rms_norm()) in few passes over the input, which is the only large tensor kept for the
/// backward step.
pub(in crate::ops) fn rms_norm(input: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as RmsNorm>::rms_norm(input.into_dispatch(), weight.into_dispatch(), eps))
}

#[backend_extension(LibTorch, Autodiff)]
trait RmsNorm: Backend {
    fn rms_norm(input: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
}

impl RmsNorm for LibTorch {
    fn rms_norm(input: TchTensor, weight: TchTensor, eps: f64) -> TchTensor {
        forward(&input, &weight, eps).0
    }
}

impl<C: CheckpointStrategy> RmsNorm for Autodiff<LibTorch, C> {
    fn rms_norm(input: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (output, scale) = forward(&input, &weight, eps);
        match RmsNormBackward.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((input, weight, scale), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

/// With `s` the row's scale, `g` the output's gradient and `p = g x`:
/// `dx = s (g w - s^2 x mean(p w))`, and `dw` is the sum of `s p` over all rows.
#[derive(Debug)]
struct RmsNormBackward;

impl Backward<LibTorch, 2> for RmsNormBackward {
    /// Input, weight, and the scale of each row.
    type State = (TchTensor, TchTensor, TchTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<LibTorch>(&ops.node).tensor;
        let (input, weight, scale) = ops.state;
        let (input, weight, scale) = (input.tensor, weight.tensor, scale.tensor);
        let [input_parent, weight_parent] = ops.parents;
        let product = &grad * &input;
        if let Some(parent) = weight_parent {
            let weight_grad = product.transpose(0, 1).mv(&scale.squeeze_dim(1));
            grads.register::<LibTorch>(parent.id, TchTensor::new(weight_grad));
        }
        if let Some(parent) = input_parent {
            let mut pull = product.mv(&weight).unsqueeze(1); // [rows, 1]
            let _ = pull.g_mul_(&scale.pow_tensor_scalar(3)).g_mul_scalar_(-1.0 / weight.size()[0] as f64);
            let mut input_grad = product; // its memory, for what is made of it is done
            let _ = grad.mul_out(&input_grad, &weight);
            let _ = input_grad.g_mul_(&scale);
            let _ = input_grad.addcmul_(&input, &pull);
            grads.register::<LibTorch>(parent.id, TchTensor::new(input_grad));
        }
    }
}

/// Returns the output, and the scale of each row, `[rows, 1]`.
fn forward(input: &TchTensor, weight: &TchTensor, eps: f64) -> (TchTensor, TchTensor) {
    let (input, weight) = (&input.tensor, &weight.tensor);
    let mut scale = input.linalg_norm(2.0, &[1_i64][..], true, None); // sqrt(width mean(x^2))
    let _ = scale.square_().g_mul_scalar_(1.0 / weight.size()[0] as f64).g_add_scalar_(eps).rsqrt_();
    let mut output = input * &scale;
    let _ = output.g_mul_(weight);
    (TchTensor::new(output), TchTensor::new(scale))
}
