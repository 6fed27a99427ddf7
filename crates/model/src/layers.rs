//! Linear layers and norms, with weights laid out `[input, output]`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, module};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::lora::Adapter;
use crate::ops::rms_norm;

/// Initialisation of the weights of a new model.
pub enum Init<'a> {
    /// Random, drawn from this generator.
    Random(&'a mut ChaCha8Rng),
    /// Zeros that take no memory, for weights that come from a file.
    Blank,
}

/// `y = x W + b`, plus the output of an adapter.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`
    pub weight: Param<Tensor<2>>,
    /// `[output]`
    pub bias: Option<Param<Tensor<1>>>,
    /// LoRA adapter, trained beside frozen weights.
    pub adapter: Option<Adapter>,
}

impl Linear {
    /// Weights from N(0, std), biases 0.
    pub fn new([input, output]: [usize; 2], std: f64, with_bias: bool, init: &mut Init, device: &Device) -> Self {
        Self {
            weight: normal([input, output], std, init, device),
            bias: with_bias.then(|| Param::from_tensor(Tensor::zeros([output], device))),
            adapter: None,
        }
    }

    /// `[rows, input]` to `[rows, output]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        match &self.adapter {
            None => module::linear(input, weight, bias),
            Some(adapter) => module::linear(input.clone(), weight, bias) + adapter.forward(input),
        }
    }
}

/// LayerNorm ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)) where there is a bias, else
/// RMSNorm ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)).
#[derive(Module, Debug)]
pub struct Norm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
}

impl Norm {
    /// Weights 1, biases 0.
    pub fn new(width: usize, eps: f64, with_bias: bool, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: with_bias.then(|| Param::from_tensor(Tensor::zeros([width], device))),
            eps,
        }
    }

    /// `[rows, width]` to `[rows, width]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => module::layer_norm(input, self.weight.val(), Some(bias.val()), self.eps),
            None => rms_norm(input, self.weight.val(), self.eps),
        }
    }
}

/// A parameter drawn from N(0, std). Drawn on the host, so that every device starts from the same values.
pub(super) fn normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    init: &mut Init,
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_tensor(match init {
        Init::Random(rng) => {
            let normal = Normal::new(0.0f32, std as f32).expect("a standard deviation is finite and not negative");
            let values: Vec<f32> = normal.sample_iter(rng).take(shape.iter().product()).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        }
        Init::Blank => Tensor::<D>::zeros([1; D], device).expand(shape),
    })
}
