//! Precision of a model's matrix products.

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::quantize::Quantization;

/// Precision of the matrix products of the blocks, and of the activations between them. Weights that are trained, the
/// residual stream, norms, attention, the output layer and the loss have 32 bits in each
/// ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740), mixed precision).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, bfloat16.
    Bf16,
}

impl Precision {
    /// Type of the numbers that blocks multiply.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Form of matrices that are not trained: they need no more bits than the products do.
    pub fn of_frozen(self) -> Quantization {
        match self {
            Self::F32 => Quantization::None,
            Self::Bf16 => Quantization::Bf16,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Int, Tensor, TensorData};
    use palestra_testing::assert_close;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::ops::{available_devices, open_device};
    use crate::{ExpertsConfig, Family, Init, ModelConfig, Placement, Transformer};

    fn model(family: Family, device: &Device) -> Transformer {
        let experts = ExpertsConfig { count: 3, ..ExpertsConfig::default() };
        let experts = (family == Family::Mixtral).then_some(experts);
        let shape = ModelConfig { family, width: 16, heads: 2, context: 8, experts, ..ModelConfig::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let model = Transformer::new(&shape.resolve(11).unwrap(), &mut Init::Random(&mut rng), device);
        // New weights are so small that blocks change little.
        crate::parameters::map(model, &mut Louder)
    }

    struct Louder;

    impl crate::parameters::Map for Louder {
        fn parameter<const D: usize>(
            &mut self,
            name: String,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            if D == 2 && name.starts_with("blocks.") { param.map(|weight| weight.mul_scalar(8.0)) } else { param }
        }
    }

    fn each_model(test: impl Fn(Transformer)) {
        for device in available_devices() {
            for family in [Family::Gpt2, Family::Llama, Family::Qwen3, Family::Gemma3, Family::Mixtral] {
                test(model(family, &open_device(device).unwrap()));
            }
        }
    }

    fn hidden(model: &Transformer) -> Tensor<2> {
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![1i64, 5, 9, 2], [1, 4]), &model.device());
        model.forward(tokens, &Placement::causal(), None)
    }

    fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_into_vec().expect("32 bits")
    }

    #[test]
    fn products_in_16_bits_are_those_in_32_but_for_their_rounding() {
        each_model(|model| {
            let narrow = model.clone().with_precision(Precision::Bf16);
            let (exact, found) = (host(hidden(&model)), host(hidden(&narrow)));
            let error = exact.iter().zip(&found).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(error > 1e-4 && error < 0.06, "{error}");
        });
    }

    #[test]
    fn matrices_held_in_16_bits_compute_what_those_rounded_at_each_use_do() {
        each_model(|model| {
            let narrow = model.with_precision(Precision::Bf16);
            let frozen = narrow.clone().quantized(Precision::Bf16.of_frozen());
            assert_eq!(host(hidden(&frozen)), host(hidden(&narrow)));
            for (name, matrix) in frozen.frozen_matrices() {
                let [input, output] = matrix.dims();
                assert_eq!(matrix.to_bytes().len(), 2 * input * output, "{name}: half of 32 bits");
            }
        });
    }

    #[test]
    fn gradients_in_16_bits_are_in_32_and_near_those_of_32() {
        each_model(|model| {
            let gradients = |model: Transformer| {
                let model = model.train();
                let mut sum = crate::optim::GradientSum::default();
                sum.add(&model, &mut model.logits(hidden(&model)).square().sum().backward());
                sum.over(1.0);
                sum.by_name()
            };
            let exact = gradients(model.clone());
            for recomputes in [false, true] {
                let narrow = model.clone().with_precision(Precision::Bf16).with_gradient_checkpointing(recomputes);
                let found = gradients(narrow);
                assert!(found.keys().eq(exact.keys()));
                let most = |numbers: &[f32]| numbers.iter().fold(0.0f32, |most, number| most.max(number.abs()));
                let of_all = exact.values().map(|data| most(data.as_slice().unwrap())).fold(0.0, f32::max);
                for (name, data) in found {
                    let [found, exact] = [data, exact[&name].clone()].map(|data| data.try_into_vec::<f32>().unwrap());
                    // Those of the keys' biases are 0 but for rounding.
                    let most = most(&exact).max(0.01 * of_all);
                    let relative = |numbers: &[f32]| numbers.iter().map(|number| number / most).collect::<Vec<f32>>();
                    assert_close!(relative(&found), relative(&exact), 0.1, "{name}");
                }
            }
        });
    }
}
