use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::{Int, Tensor};

/// [`selected_log_probs`](crate::ops::selected_log_probs) with a backward step that needs only one `[rows, vocab]`
/// buffer.
pub(in crate::ops) fn selected_log_probs(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as SelectedLogProbs>::selected_log_probs(
        logits.into_dispatch(),
        targets.into_dispatch(),
    ))
}

#[backend_extension(LibTorch, Autodiff)]
trait SelectedLogProbs: Backend {
    fn selected_log_probs(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
}

impl SelectedLogProbs for LibTorch {
    fn selected_log_probs(logits: TchTensor, targets: TchTensor) -> TchTensor {
        select(&logits.tensor.log_softmax(-1, None), &targets)
    }
}

impl<C: CheckpointStrategy> SelectedLogProbs for Autodiff<LibTorch, C> {
    fn selected_log_probs(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let log_probs = TchTensor::new(logits.tensor.log_softmax(-1, None));
        let selected = select(&log_probs.tensor, &targets);
        match SelectedLogProbsBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((log_probs, targets), selected),
            OpsKind::UnTracked(step) => step.finish(selected),
        }
    }
}

/// With `p = softmax(logits)` and `t` the target: `d log p[t] / d logits[i] = (i == t) - p[i]`.
#[derive(Debug)]
struct SelectedLogProbsBackward;

impl Backward<LibTorch, 1> for SelectedLogProbsBackward {
    /// Log-softmax of all logits, and the targets.
    type State = (TchTensor, TchTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<LibTorch>(&ops.node).tensor.unsqueeze(1); // [rows, 1]
        let (log_probs, targets) = ops.state;
        let [Some(parent)] = ops.parents else { return };
        // Reuses the memory of the log-softmax, unless it is shared.
        let mut logits_grad = log_probs.unary_ops(|mut x| x.exp_(), |x| x.exp()).tensor;
        let _ = logits_grad.g_mul_(&grad.neg());
        let _ = logits_grad.scatter_add_(1, &columns(&targets), &grad);
        grads.register::<LibTorch>(parent.id, TchTensor::new(logits_grad));
    }
}

fn select(log_probs: &tch::Tensor, targets: &TchTensor) -> TchTensor {
    TchTensor::new(log_probs.gather(1, &columns(targets), false).squeeze_dim(1))
}

/// Targets as column indices: `[rows, 1]`.
fn columns(targets: &TchTensor) -> tch::Tensor {
    targets.tensor.to_kind(tch::Kind::Int64).unsqueeze(1)
}
