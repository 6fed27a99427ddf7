use burn::tensor::Tensor;
use burn::tensor::activation::{gelu as exact, gelu_approximate};

use super::memory::{Numbers, OwnNumbers};
use super::{loops, memory, with_gradient_rule};

/// Forms of [`gelu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeluForm {
    /// `x P(a normal number is below x)`
    Exact,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    Tanh,
}

/// Gaussian error linear unit ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)).
///
/// `x` is `[rows, width]`, as is the result. Differentiable; nothing but `x` is kept for the backward pass.
pub fn gelu(x: Tensor<2>, form: GeluForm) -> Tensor<2> {
    if memory::holds(&x) {
        return ruled(x, form, gelu_in_memory, gelu_gradient_in_memory);
    }
    #[cfg(feature = "libtorch")]
    if form == GeluForm::Tanh && super::libtorch::is_libtorch(&x.device()) {
        let (forward, gradient) = (super::libtorch::gelu_tanh, super::libtorch::gelu_tanh_gradient);
        return ruled(x, form, |x, _| forward(x), move |x, grad, _| gradient(x, grad));
    }
    gelu_composed(x, form)
}

/// [`gelu`] in its portable form.
pub fn gelu_composed(x: Tensor<2>, form: GeluForm) -> Tensor<2> {
    match form {
        GeluForm::Exact => exact(x),
        GeluForm::Tanh => gelu_approximate(x),
    }
}

fn gelu_in_memory(x: Tensor<2>, form: GeluForm) -> Tensor<2> {
    let (shape, device) = (x.dims(), x.device());
    let mut output = OwnNumbers::new(shape[0] * shape[1], &device);
    loops::gelu(&Numbers::of(x), &mut output, form, memory::threads(&device));
    output.tensor(shape)
}

fn gelu_gradient_in_memory(x: Tensor<2>, gradient: Tensor<2>, form: GeluForm) -> Tensor<2> {
    let (shape, threads) = (x.dims(), memory::threads(&x.device()));
    let mut gradient = OwnNumbers::of(gradient);
    loops::gelu_gradient(&Numbers::of(x), &mut gradient, form, threads);
    gradient.tensor(shape)
}

/// The result of `forward`, whose gradient is that of `gradient`.
fn ruled(
    x: Tensor<2>,
    form: GeluForm,
    forward: impl Fn(Tensor<2>, GeluForm) -> Tensor<2>,
    gradient: impl Fn(Tensor<2>, Tensor<2>, GeluForm) -> Tensor<2> + Send + 'static,
) -> Tensor<2> {
    if !x.is_autodiff() {
        return forward(x, form);
    }
    let inner = x.clone().inner();
    let output = forward(inner.clone(), form);
    with_gradient_rule([x], output, Box::new(move |grad: Tensor<2>, _| [Some(gradient(inner, grad, form))].into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{available_devices, open_device};
    use burn::tensor::TensorData;
    use palestra_testing::assert_close;

    const X: [f32; 6] = [0.0, 1.0, -1.0, 3.0, -3.0, 20.0];

    #[test]
    fn values_and_gradients_follow_the_formula() {
        // Phi and the density of a normal number at 0, 1 and 3.
        let (phi, density) = ([0.5, 0.841_344_7, 0.998_650_1], [0.398_942_3, 0.241_970_7, 0.004_431_8]);
        let exact = [0.0, phi[1], phi[1] - 1.0, 3.0 * phi[2], -3.0 * (1.0 - phi[2]), 20.0];
        let exact_slope = [
            0.5,
            phi[1] + density[1],
            1.0 - phi[1] - density[1],
            phi[2] + 3.0 * density[2],
            1.0 - phi[2] - 3.0 * density[2],
            1.0,
        ];
        let root = (2.0 / std::f64::consts::PI).sqrt();
        let tangent = |x: f64| (root * (x + 0.044715 * x * x * x)).tanh();
        let tanh = X.map(f64::from).map(|x| 0.5 * x * (1.0 + tangent(x)));
        let tanh_slope = X.map(f64::from).map(|x| {
            let t = tangent(x);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044715 * x * x)
        });
        for name in available_devices() {
            let device = open_device(name).unwrap();
            for form in [gelu, gelu_composed] {
                for (kind, values, slopes) in
                    [(GeluForm::Exact, exact, exact_slope), (GeluForm::Tanh, tanh, tanh_slope)]
                {
                    let x = || Tensor::<2>::from_data(TensorData::new(X.to_vec(), [2, 3]), &device);
                    let numbers = |tensor: Tensor<2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
                    assert_close!(numbers(form(x(), kind)), values, 2e-6);
                    let x = x().autodiff().require_grad();
                    let output = form(x.clone(), kind);
                    assert_close!(numbers(output.clone().inner()), values, 2e-6);
                    let grads = output.mul_scalar(2.0).sum().backward();
                    assert_close!(numbers(x.grad(&grads).unwrap()), slopes.map(|slope| 2.0 * slope), 4e-6);
                    assert_close!(numbers(x.inner()), X.map(f64::from), 0.0);
                }
            }
        }
    }

    #[test]
    fn many_numbers_are_computed_alike() {
        let numbers: Vec<f32> = (0..40_000).map(|i| (i % 97) as f32 / 10.0 - 5.0).collect();
        for name in available_devices() {
            let device = open_device(name).unwrap();
            let x = Tensor::<2>::from_data(TensorData::new(numbers.clone(), [400, 100]), &device);
            for kind in [GeluForm::Exact, GeluForm::Tanh] {
                let of = |form: fn(Tensor<2>, GeluForm) -> Tensor<2>| form(x.clone(), kind).into_data();
                let (own, composed): (Vec<f32>, Vec<f32>) =
                    (of(gelu).try_into_vec().unwrap(), of(gelu_composed).try_into_vec().unwrap());
                assert_close!(own, composed, 3e-6);
            }
        }
    }
}
