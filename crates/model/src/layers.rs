//! Linear layers and norms, with weights laid out `[input, output]`.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::families::NormKind;
use crate::ops::{in_type, layer_norm, linear, matmul, rms_norm};
use crate::quantize::{FrozenMatrix, Quantization};

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
    pub weight: Weight,
    /// `[output]`
    pub bias: Option<Param<Tensor<1>>>,
    /// LoRA adapter, trained beside frozen weights.
    pub adapter: Option<Adapter>,
}

/// Matrix of a linear layer.
#[expect(clippy::large_enum_variant, reason = "a model has few of them, and a box is no module")]
#[derive(Module, Debug)]
pub enum Weight {
    /// A parameter, `[input, output]`.
    Dense(Param<Tensor<2>>),
    /// Frozen, in 16, 8 or 4 bits: no parameter.
    Frozen(FrozenMatrix),
}

impl Weight {
    /// Input and output width.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => weight.val().dims(),
            Self::Frozen(matrix) => matrix.dims(),
        }
    }

    /// The matrix as numbers, `[input, output]`: of a quantised one, those that it stands for.
    pub fn dense(&self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.val(),
            Self::Frozen(matrix) => matrix.numbers(DType::F32),
        }
    }

    /// The parameter that `change` makes of the matrix.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        Self::Dense(match self {
            Self::Dense(weight) => weight.map(change),
            Self::Frozen(_) => Param::from_tensor(change(self.dense())),
        })
    }

    /// The matrix in this form. One that is quantised stays as it is.
    #[must_use]
    pub(super) fn quantized(self, quantization: Quantization) -> Self {
        match &self {
            Self::Dense(weight) => FrozenMatrix::new(&weight.val(), quantization).map_or(self, Self::Frozen),
            Self::Frozen(_) => self,
        }
    }

    /// `x W + b`, `[rows, input]` to `[rows, output]`.
    fn forward(&self, input: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
        match self {
            Self::Dense(weight) if input.dtype() == DType::F32 => linear(input, weight.val(), bias),
            Self::Dense(weight) => {
                let weight = in_type(weight.val(), input.dtype());
                with_bias(matmul(input, weight), bias)
            }
            Self::Frozen(matrix) => with_bias(matrix.forward(input), bias),
        }
    }
}

impl Linear {
    /// Weights from N(0, std), biases 0.
    pub fn new([input, output]: [usize; 2], std: f64, with_bias: bool, init: &mut Init, device: &Device) -> Self {
        Self {
            weight: Weight::Dense(normal([input, output], std, init, device)),
            bias: with_bias.then(|| Param::from_tensor(Tensor::zeros([output], device))),
            adapter: None,
        }
    }

    /// `[rows, input]` to `[rows, output]`, computed in the number type of the input.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let bias = self.bias.as_ref().map(|bias| in_type(bias.val(), input.dtype()));
        match &self.adapter {
            None => self.weight.forward(input, bias),
            Some(adapter) => self.weight.forward(input.clone(), bias) + adapter.forward(input),
        }
    }

    /// The weight that stands for the layer and its adapter, `[input, output]`: a new matrix if there is an adapter.
    pub(super) fn whole_weight(&self) -> Tensor<2> {
        match &self.adapter {
            None => self.weight.dense(),
            Some(adapter) => self.weight.dense() + adapter.difference(),
        }
    }
}

fn with_bias(output: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => output + bias.unsqueeze(),
        None => output,
    }
}

/// LoRA adapter of a linear layer ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)); its output `(scale * x A) B` is added to that of the layer.
#[derive(Module, Debug)]
pub struct Adapter {
    /// A, `[input, rank]`
    pub down: Param<Tensor<2>>,
    /// B, `[rank, output]`; zero at first, so that a new adapter changes nothing.
    pub up: Param<Tensor<2>>,
    scale: f64,
}

impl Adapter {
    /// An adapter of given matrices, `[input, rank]` and `[rank, output]`.
    pub fn new(down: Param<Tensor<2>>, up: Param<Tensor<2>>, scale: f64) -> Self {
        Self { down, up, scale }
    }

    /// Factor of the adapter's output.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The term added to the layer's output, `[rows, input]` to `[rows, output]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let [down, up] = [&self.down, &self.up].map(|matrix| in_type(matrix.val(), input.dtype()));
        matmul(matmul(input, down).mul_scalar(self.scale), up) // scaled where it is smallest
    }

    /// The term added to the layer's weight on merging, `[input, output]`.
    pub(super) fn difference(&self) -> Tensor<2> {
        self.down.val().matmul(self.up.val()).mul_scalar(self.scale)
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
    /// True if the input is multiplied by one plus the weight (Gemma).
    plus_one: bool,
}

impl Norm {
    /// A norm that multiplies by 1 and adds 0.
    pub(super) fn new(width: usize, eps: f64, kind: NormKind, device: &Device) -> Self {
        let plus_one = kind == NormKind::RmsPlusOne;
        let weight = if plus_one { Tensor::zeros([width], device) } else { Tensor::ones([width], device) };
        let with_bias = kind == NormKind::Layer;
        let bias = with_bias.then(|| Param::from_tensor(Tensor::zeros([width], device)));
        Self { weight: Param::from_tensor(weight), bias, eps, plus_one }
    }

    /// Width of its input.
    pub(super) fn width(&self) -> usize {
        self.weight.val().dims()[0]
    }

    /// Factor of each number of a normalised row, `[width]`.
    pub(super) fn factor(&self) -> Tensor<1> {
        let weight = self.weight.val();
        if self.plus_one { weight.add_scalar(1.0) } else { weight }
    }

    /// Number added to the mean square.
    pub(super) fn eps(&self) -> f64 {
        self.eps
    }

    /// `[rows, width]` to `[rows, width]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => layer_norm(input, self.factor(), bias.val(), self.eps),
            None => rms_norm(input, self.factor(), self.eps),
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
