use burn::tensor::Tensor;

use super::tensors::{give, take};

/// [`rms_norm`](crate::ops::rms_norm()) in few passes over the input, outside autodiff.
pub(in crate::ops) fn rms_norm(input: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let (input, weight) = (take(input), take(weight));
    let mut output = &input * scale(&input, eps);
    let _ = output.g_mul_(&weight);
    give(output)
}

/// Gradients of input and, if it is wanted, weight, given that of the output. With `s` the row's scale, `g` the output's gradient and `p = g x`:
/// `dx = s (g w - s^2 x mean(p w))`, and `dw` is the sum of `s p` over all rows.
pub(in crate::ops) fn rms_norm_gradients(
    input: Tensor<2>,
    weight: Tensor<1>,
    gradient: Tensor<2>,
    eps: f64,
    of_weight: bool,
) -> (Tensor<2>, Option<Tensor<1>>) {
    let (input, weight, gradient) = (take(input), take(weight), take(gradient));
    let scale = scale(&input, eps);
    let product = &gradient * &input;
    let of_weight = of_weight.then(|| product.transpose(0, 1).mv(&scale.squeeze_dim(1)));
    let mut pull = product.mv(&weight).unsqueeze(1); // [rows, 1]
    let _ = pull.g_mul_(&scale.pow_tensor_scalar(3)).g_mul_scalar_(-1.0 / weight.size()[0] as f64);
    let mut of_input = product; // its memory, for what is made of it is done
    let _ = gradient.mul_out(&of_input, &weight);
    let _ = of_input.g_mul_(&scale);
    let _ = of_input.addcmul_(&input, &pull);
    (give(of_input), of_weight.map(give))
}

/// Scale of each row, `[rows, 1]`.
fn scale(input: &tch::Tensor, eps: f64) -> tch::Tensor {
    let mut scale = input.linalg_norm(2.0, &[1_i64][..], true, None); // sqrt(width mean(x^2))
    let _ = scale.square_().g_mul_scalar_(1.0 / input.size()[1] as f64).g_add_scalar_(eps).rsqrt_();
    scale
}
