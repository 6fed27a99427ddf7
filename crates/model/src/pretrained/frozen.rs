use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use crate::checkpoint::NamedTensor;
use crate::huggingface::{full_name, is_transposed, linears, parameters_in};
use crate::quantize::{FrozenMatrix, Quantization};
use crate::{ModelConfig, is_router};

/// Matrices of linear layers that are not trained, by the name of their layer.
pub type FrozenMatrices = BTreeMap<String, FrozenMatrix>;

/// Quantises the matrices of a model's linear layers as they are read, so that one at a time is in memory in 32 bits.
pub(super) struct Freezer<'a> {
    config: &'a ModelConfig,
    quantization: Quantization,
    device: &'a Device,
    /// Shapes in files of the tensors whose matrices are quantised.
    shapes: BTreeMap<String, [usize; 2]>,
    pub frozen: FrozenMatrices,
}

impl<'a> Freezer<'a> {
    /// One for the layers of a model of this shape, on the device that the model is for.
    pub fn new(config: &'a ModelConfig, quantization: Quantization, device: &'a Device) -> Self {
        let is_frozen = |names: &[(String, usize)]| !names.iter().any(|(name, _)| is_router(name));
        let layers = linears(config).into_iter().filter(|layer| is_frozen(&layer.ours));
        let layers = layers.filter(|_| quantization != Quantization::None);
        let shape = |input, output| if is_transposed(config) { [output, input] } else { [input, output] };
        let shapes =
            layers.map(|layer| (format!("{}.weight", layer.theirs), shape(layer.input, layer.output))).collect();
        Self { config, quantization, device, shapes, frozen: FrozenMatrices::new() }
    }

    /// Quantises a tensor of a file. Returns one that is none of the matrices, or that has another shape, for which others
    /// have an error.
    pub fn take(&mut self, name: &str, tensor: NamedTensor) -> Result<Option<NamedTensor>, String> {
        let theirs = full_name(self.config, name);
        if self.shapes.get(&theirs).is_none_or(|shape| tensor.shape != shape) {
            return Ok(Some(tensor));
        }
        self.shapes.remove(&theirs); // a second one of this name is none of ours
        for (name, NamedTensor { shape, data }) in parameters_in(self.config, &theirs, tensor)?.into_iter().flatten() {
            let matrix = Tensor::<2>::from_data(TensorData::new(data, shape), self.device);
            let layer = name.trim_end_matches(".weight").to_owned();
            if let Some(matrix) = FrozenMatrix::new(&matrix, self.quantization) {
                self.frozen.insert(layer, matrix);
            }
        }
        Ok(None)
    }

    /// True if a parameter of this name is one of the matrices.
    pub fn has(&self, parameter: &str) -> bool {
        parameter.strip_suffix(".weight").is_some_and(|layer| self.frozen.contains_key(layer))
    }
}
