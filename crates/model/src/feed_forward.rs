//! The feed-forward layer of a block: one for all tokens, or a mixture of experts.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::config::ExpertsConfig;
use super::families::Activation;
use super::layers::Init;
use super::{Gelu, Linear, ModelConfig};
use crate::ops::{GeluForm, gelu, in_type, swiglu};

/// The feed-forward layer of a block.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "the larger variant is the usual one")]
pub enum FeedForward {
    /// One for all tokens.
    Dense(Mlp),
    /// A mixture of experts.
    Experts(Experts),
}

/// `down(gelu(up(x)))` (GPT-2), or with a gate `down(silu(gate(x)) * up(x))` (Llama), or with GELU in place of SiLU (Gemma).
#[derive(Module, Debug)]
pub struct Mlp {
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    #[module(skip)]
    pub(super) activation: Activation,
    #[module(skip)]
    gelu: Gelu,
}

/// A mixture of experts ([Shazeer et al. 2017](https://arxiv.org/abs/1701.06538)): the router gives each expert a
/// probability, each token passes the likeliest ones, and their outputs are added with these probabilities as weights.
#[derive(Module, Debug)]
pub struct Experts {
    experts: Vec<Mlp>,
    /// `[width, experts]`
    router: Linear,
    per_token: usize,
    /// True if the weights of a token's experts sum to 1.
    #[module(skip)]
    is_normalised: bool,
}

/// Standard deviations of new weights: of all, and of the projections into the residual stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stds {
    pub all: f64,
    pub residual: f64,
}

impl FeedForward {
    /// The feed-forward layer of a new block, with these experts if it has any.
    pub(super) fn new(
        config: &ModelConfig,
        experts: Option<&ExpertsConfig>,
        stds: Stds,
        init: &mut Init,
        device: &Device,
    ) -> Self {
        match experts {
            None => Self::Dense(Mlp::new(config, config.feed_forward, stds, init, device)),
            Some(experts) => Self::Experts(Experts::new(config, experts, stds, init, device)),
        }
    }

    /// `[rows, width]` to `[rows, width]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Experts(experts) => experts.forward(x),
        }
    }

    /// Every linear layer with its name inside the feed-forward layer.
    pub(super) fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        match self {
            Self::Dense(mlp) => mlp.linears_mut("").collect(),
            Self::Experts(Experts { experts, router, .. }) => {
                let experts = experts.iter_mut().enumerate();
                let mut all: Vec<_> =
                    experts.flat_map(|(at, expert)| expert.linears_mut(&format!("experts.{at}."))).collect();
                all.push(("router".into(), router));
                all
            }
        }
    }
}

impl Mlp {
    fn new(config: &ModelConfig, inner: usize, stds: Stds, init: &mut Init, device: &Device) -> Self {
        let (width, decoder) = (config.width, config.decoder());
        let with_bias = decoder.all_biases || config.mlp_bias;
        let mut linear = |shape, std| Linear::new(shape, std, with_bias, init, device);
        Self {
            gate: (decoder.activation != Activation::Gelu).then(|| linear([width, inner], stds.all)),
            up: linear([width, inner], stds.all),
            down: linear([inner, width], stds.residual),
            activation: decoder.activation,
            gelu: config.gelu,
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let activated = |x| gelu(x, self.gelu_form());
        let inner = match &self.gate {
            Some(gate) if self.activation == Activation::GeGlu => {
                activated(gate.forward(x.clone())) * self.up.forward(x)
            }
            Some(gate) => swiglu(gate.forward(x.clone()), self.up.forward(x)),
            None => activated(self.up.forward(x)),
        };
        self.down.forward(inner)
    }

    pub(super) fn gelu_form(&self) -> GeluForm {
        if self.gelu == Gelu::Tanh { GeluForm::Tanh } else { GeluForm::Exact }
    }

    fn linears_mut(&mut self, prefix: &str) -> impl Iterator<Item = (String, &mut Linear)> + use<'_> {
        let Self { gate, up, down, .. } = self;
        let names = ["gate", "up", "down"].map(|name| format!("{prefix}{name}"));
        names.into_iter().zip([gate.as_mut(), Some(up), Some(down)]).filter_map(|(name, layer)| Some((name, layer?)))
    }
}

impl Experts {
    fn new(config: &ModelConfig, experts: &ExpertsConfig, stds: Stds, init: &mut Init, device: &Device) -> Self {
        let mlps = (0..experts.count).map(|_| Mlp::new(config, experts.feed_forward, stds, init, device)).collect();
        Self {
            experts: mlps,
            router: Linear::new([config.width, experts.count], stds.all, false, init, device),
            per_token: experts.per_token,
            is_normalised: experts.norm_topk_prob,
        }
    }

    /// Each expert reads the rows that chose it. Router and weights have 32 bits: rounding would change choices. The router learns through the weights; the choice itself has no gradient.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let ([rows, width], device) = (x.dims(), x.device());
        let probabilities = softmax(self.router.forward(in_type(x.clone(), DType::F32)), 1); // [rows, experts]
        let chosen = likeliest(probabilities.clone().inner().into_data(), self.experts.len(), self.per_token);
        let indices = |indices: Vec<usize>| -> Vec<i64> { indices.into_iter().map(|index| index as i64).collect() };
        let index = |values: Vec<usize>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(indices(values), [count]), &device)
        };

        let mut outputs = Vec::new();
        let mut places = vec![0; chosen.len()]; // of each choice among the outputs
        let mut count = 0;
        for (number, expert) in self.experts.iter().enumerate() {
            let choices: Vec<usize> = (0..chosen.len()).filter(|&at| chosen[at] == number).collect();
            if choices.is_empty() {
                continue;
            }
            for &at in &choices {
                places[at] = count;
                count += 1;
            }
            let readers = choices.into_iter().map(|at| at / self.per_token).collect();
            outputs.push(expert.forward(x.clone().select(0, index(readers))));
        }
        let outputs = Tensor::cat(outputs, 0).select(0, index(places)).reshape([rows, self.per_token, width]);

        let chosen = TensorData::new(indices(chosen), [rows, self.per_token]);
        let weights = probabilities.gather(1, Tensor::<2, Int>::from_data(chosen, &device)); // [rows, per_token]
        let weights = match self.is_normalised {
            true => weights.clone() / weights.sum_dim(1),
            false => weights,
        };
        (in_type(outputs, DType::F32) * weights.reshape([rows, self.per_token, 1])).sum_dim(1).squeeze_dim(1)
    }
}

/// The `count` likeliest experts of each row, likeliest first, `[rows * count]`; of equal ones the first.
fn likeliest(probabilities: TensorData, experts: usize, count: usize) -> Vec<usize> {
    let probabilities: Vec<f32> = probabilities.iter().collect();
    let mut order: Vec<usize> = Vec::with_capacity(experts);
    let mut chosen = Vec::with_capacity(probabilities.len() / experts * count);
    for row in probabilities.chunks_exact(experts) {
        order.clear();
        order.extend(0..experts);
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        chosen.extend_from_slice(&order[..count]);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_experts_are_chosen_and_of_equal_ones_the_first() {
        let rows = TensorData::new(vec![0.1f32, 0.5, 0.1, 0.3, 0.25, 0.25, 0.25, 0.25], [2, 4]);
        assert_eq!(likeliest(rows, 4, 2), [1, 3, 0, 1]);
    }
}
