use crate::ops::AdamWStep;
use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;

/// Number of elements that go through the whole step at once, so that they are read from memory once. For larger
/// tensors libtorch runs each operation on all threads, which would wait for each other thousands of times per step.
const PART: i64 = 1 << 15;

/// [`adamw_step`](crate::ops::adamw_step) in place, for tensors without other owners.
pub(in crate::ops) fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    exp_avg: Tensor<D>,
    exp_avg_sq: Tensor<D>,
    settings: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let tensors = [param, grad, exp_avg, exp_avg_sq].map(own);
    let count = tensors[0].numel() as i64;
    let part = if tensors[0].device() == tch::Device::Cpu { PART } else { count };
    let flat = tensors.each_ref().map(|tensor| tensor.view(count));
    for start in (0..count).step_by(part.max(1) as usize) {
        let length = part.min(count - start);
        step_in_place(flat.each_ref().map(|tensor| tensor.narrow(0, start, length)), settings);
    }
    let [param, _, exp_avg, exp_avg_sq] = tensors;
    (give(param), give(exp_avg), give(exp_avg_sq))
}

fn step_in_place([mut param, mut scratch, mut exp_avg, mut exp_avg_sq]: [tch::Tensor; 4], settings: &AdamWStep) {
    let AdamWStep { lr, beta1, beta2, eps, .. } = *settings;
    let (correction1, correction2) = settings.bias_corrections();

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
}

/// Contiguous tensor that owns its memory; copies it if it is shared.
fn own<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    let tensor = tensor.try_into_primitive::<LibTorch>().expect("a libtorch tensor without autodiff");
    match (tensor.can_mut(), tensor.tensor.is_contiguous()) {
        (false, true) => tensor.tensor.copy(),
        _ => tensor.tensor.contiguous(),
    }
}

fn give<const D: usize>(tensor: tch::Tensor) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor))
}
