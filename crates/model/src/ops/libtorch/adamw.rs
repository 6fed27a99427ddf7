use burn::tensor::Tensor;

use super::tensors::{give, primitive};
use crate::ops::AdamWStep;

/// [`adamw_step`](crate::ops::adamw_step) in place, for tensors without other owners: a GPU's, since a CPU has its loop.
pub(in crate::ops) fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    exp_avg: Tensor<D>,
    exp_avg_sq: Tensor<D>,
    settings: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let [mut param, mut scratch, mut exp_avg, mut exp_avg_sq] = [param, grad, exp_avg, exp_avg_sq].map(own);
    let AdamWStep { lr, beta1, beta2, eps, .. } = *settings;
    let (correction1, correction2) = settings.bias_corrections();

    if settings.gradient_scale != 1.0 {
        let _ = scratch.g_mul_scalar_(settings.gradient_scale);
    }
    let _ = exp_avg.lerp_(&scratch, 1.0 - beta1);
    let _ = scratch.square_();
    let _ = exp_avg_sq.lerp_(&scratch, 1.0 - beta2);

    // tch's addcdiv_ takes no factor, so the denominator gets it: (sqrt(v / correction2) + eps) * factor.
    let factor = -correction1 / lr;
    let _ = exp_avg_sq.sqrt_out(&scratch);
    let _ = scratch.g_mul_scalar_(factor / correction2.sqrt());
    let _ = scratch.g_add_scalar_(factor * eps);
    let _ = param.g_mul_scalar_(settings.decay());
    let _ = param.addcdiv_(&exp_avg, &scratch);
    (give(param), give(exp_avg), give(exp_avg_sq))
}

/// Contiguous tensor that owns its memory; copies it if it is shared.
fn own<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    let tensor = primitive(tensor);
    match (tensor.can_mut(), tensor.tensor.is_contiguous()) {
        (false, true) => tensor.tensor.copy(),
        _ => tensor.tensor.contiguous(),
    }
}
