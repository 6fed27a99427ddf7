use crate::ops::attention::AttentionMask;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, LibTorch, backend_extension};
use burn::tensor::Tensor;

/// [`attention`](crate::ops::attention()) on libtorch's fused CPU kernel, which never holds all scores at once.
///
/// The tensors are on a libtorch CPU, and the caller has checked their shapes.
pub(in crate::ops) fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    let mask = KernelMask::new(mask, &query, &key);
    Tensor::from_dispatch(<Dispatch as FusedAttention>::fused_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        mask,
    ))
}

#[derive(Clone, Debug)]
enum KernelMask {
    AllVisible,
    /// The kernel's own causality, which is aligned top-left and so correct only for equal lengths.
    Causal,
    Additive(TchTensor),
}

impl KernelMask {
    fn new(mask: &AttentionMask, query: &Tensor<4>, key: &Tensor<4>) -> Self {
        let (query_len, key_len) = (query.dims()[2], key.dims()[2]);
        if mask.is_causal() && query_len == key_len {
            return Self::Causal;
        }
        match mask.additive(query_len, key_len, &query.device()) {
            None => Self::AllVisible,
            Some(additive) => {
                Self::Additive(additive.try_into_primitive::<LibTorch>().expect("masks are made without autodiff"))
            }
        }
    }
}

#[backend_extension(LibTorch, Autodiff)]
trait FusedAttention: Backend {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: KernelMask,
    ) -> FloatTensor<Self>;
}

impl FusedAttention for LibTorch {
    fn fused_attention(query: TchTensor, key: TchTensor, value: TchTensor, mask: KernelMask) -> TchTensor {
        Inputs { query, key, value, mask }.forward().0
    }
}

impl<C: CheckpointStrategy> FusedAttention for Autodiff<LibTorch, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: KernelMask,
    ) -> FloatTensor<Self> {
        let (query, query_node) = query.into_parts();
        let (key, key_node) = key.into_parts();
        let (value, value_node) = value.into_parts();
        let inputs = Inputs { query, key, value, mask };
        let (output, log_sum_exp) = inputs.forward();
        match FusedBackward.prepare::<C>([query_node, key_node, value_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((inputs, output.clone(), log_sum_exp), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

#[derive(Debug)]
struct FusedBackward;

impl Backward<LibTorch, 3> for FusedBackward {
    /// Inputs, output, and the log-sum-exp of each query's scores.
    type State = (Inputs, TchTensor, TchTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let output_grad = grads.consume::<LibTorch>(&ops.node);
        let (inputs, output, log_sum_exp) = ops.state;
        let found = inputs.backward(&output_grad.tensor, &output.tensor, &log_sum_exp.tensor);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                grads.register::<LibTorch>(parent.id, TchTensor::new(grad));
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Inputs {
    query: TchTensor,
    key: TchTensor,
    value: TchTensor,
    mask: KernelMask,
}

/// Inputs in the layout of the kernel: as many key heads as query heads, with stride 1 inside a head. For a single
/// query, the query heads that share a key head become queries of that head, so that a cache of keys is not copied.
struct KernelInputs {
    query: tch::Tensor,
    key: tch::Tensor,
    value: tch::Tensor,
    is_causal: bool,
    additive: Option<tch::Tensor>,
}

impl Inputs {
    /// Returns the output, and the log-sum-exp of each query's scores.
    fn forward(&self) -> (TchTensor, TchTensor) {
        let KernelInputs { query, key, value, is_causal, additive } = self.for_kernel();
        let (output, log_sum_exp) = tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
            &query,
            &key,
            &value,
            NO_DROPOUT,
            is_causal,
            additive.as_ref(),
            None,
        );
        (TchTensor::new(output.reshape(self.query.tensor.size())), TchTensor::new(log_sum_exp))
    }

    /// Returns the gradients of query, key and value.
    fn backward(&self, output_grad: &tch::Tensor, output: &tch::Tensor, log_sum_exp: &tch::Tensor) -> [tch::Tensor; 3] {
        let KernelInputs { query, key, value, is_causal, additive } = self.for_kernel();
        let output_grad = dense_rows(&output_grad.reshape(query.size()));
        let output = &output.reshape(query.size());
        let (query_grad, key_grad, value_grad) =
            tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
                &output_grad,
                &query,
                &key,
                &value,
                output,
                log_sum_exp,
                NO_DROPOUT,
                is_causal,
                additive.as_ref(),
                None,
            );
        let query_grad = query_grad.reshape(self.query.tensor.size());
        [query_grad, self.sum_over_group(key_grad), self.sum_over_group(value_grad)]
    }

    fn for_kernel(&self) -> KernelInputs {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|input| dense_rows(&input.tensor));
        let is_causal = matches!(self.mask, KernelMask::Causal);
        let additive = match &self.mask {
            KernelMask::Additive(additive) => Some(additive.tensor.shallow_clone()),
            KernelMask::AllVisible | KernelMask::Causal => None,
        };
        let (batch, heads, queries, head_dim) = query.size4().expect("query has four dimensions");
        let (_, kv_heads, key_len, _) = key.size4().expect("key has four dimensions");
        let group = heads / kv_heads;
        if group == 1 {
            KernelInputs { query, key, value, is_causal, additive }
        } else if queries == 1 {
            let query = query.reshape([batch, kv_heads, group, head_dim]);
            let additive = additive.map(|additive| additive.expand([-1, -1, group, -1], false));
            KernelInputs { query, key, value, is_causal: false, additive }
        } else {
            let repeat = |tensor: tch::Tensor| {
                let repeated = tensor.unsqueeze(2).expand([-1, -1, group, -1, -1], false);
                repeated.reshape([batch, heads, key_len, head_dim])
            };
            KernelInputs { query, key: repeat(key), value: repeat(value), is_causal, additive }
        }
    }

    /// Gradient of a key or value, summed over its copies if the kernel used copies.
    fn sum_over_group(&self, grad: tch::Tensor) -> tch::Tensor {
        let (batch, kv_heads, key_len, head_dim) = self.key.tensor.size4().expect("key has four dimensions");
        match grad.size()[1] / kv_heads {
            1 => grad,
            group => {
                grad.reshape([batch, kv_heads, group, key_len, head_dim]).sum_dim_intlist(2, false, None::<tch::Kind>)
            }
        }
    }
}

const NO_DROPOUT: f64 = 0.0;

/// Returns the tensor with stride 1 in its last dimension, which the kernel requires.
fn dense_rows(tensor: &tch::Tensor) -> tch::Tensor {
    match tensor.stride().last() {
        Some(1) => tensor.shallow_clone(),
        _ => tensor.contiguous(),
    }
}
