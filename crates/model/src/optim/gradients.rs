//! Gradients of one optimiser step.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use super::HostArray;
use crate::ops::sum_of_squares;
use crate::parameters;

/// Sum of the gradients of one step by parameter name, flat: over the parts of a batch, and over the ranks of a run.
#[derive(Default)]
pub struct GradientSum {
    pub(super) sums: BTreeMap<String, Tensor<1>>,
    /// Count that the sums are over.
    count: f64,
    /// Square of the sums' norm, once it was read off the device.
    squared_norm: Option<f64>,
}

impl GradientSum {
    /// Adds the gradients of one part of the batch.
    pub fn add<M: Module>(&mut self, model: &M, gradients: &mut Gradients) {
        self.squared_norm = None;
        let mut visitor = TakeGradients { gradients, sum: self };
        parameters::visit(model, &mut visitor);
    }

    /// Raises the count that the sums are over: they are divided by it once, when the optimiser takes its step.
    pub fn over(&mut self, count: f64) {
        self.count += count;
    }

    /// Count that the sums are over.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Sums over the ranks of a run: of this rank's shares of the gradients, or of whole ones. `squared_norm` is that of the
    /// whole gradients.
    pub fn over_ranks(sums: BTreeMap<String, Tensor<1>>, count: f64, squared_norm: f64) -> Self {
        Self { sums, count, squared_norm: Some(squared_norm) }
    }

    /// Length of each gradient.
    pub fn lengths(&self) -> BTreeMap<String, usize> {
        self.sums.iter().map(|(name, gradient)| (name.clone(), gradient.dims()[0])).collect()
    }

    /// Takes a gradient; `None` if there is none of this name.
    pub fn take(&mut self, name: &str) -> Option<HostArray> {
        self.sums.remove(name).map(HostArray::of)
    }

    /// True if the sums are over nothing: no part of the batch had anything to learn from.
    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Global norm of the gradients.
    pub fn norm(&self) -> f64 {
        let read = || self.square().map_or(0.0, |square| f64::from(square.into_scalar::<f32>()));
        self.squared_norm.unwrap_or_else(read).sqrt() / self.count
    }

    /// Reads numbers, `[n]`, off the device together with the norm of the gradients, which [`Self::norm`] then need not read.
    pub fn read_with(&mut self, numbers: Vec<Tensor<1>>) -> Vec<f32> {
        let all: Vec<Tensor<1>> = numbers.into_iter().map(Tensor::inner).chain(self.square()).collect();
        if all.is_empty() {
            return Vec::new();
        }
        let mut values: Vec<f32> = Tensor::cat(all, 0).into_data().iter().collect();
        self.squared_norm = if self.sums.is_empty() { Some(0.0) } else { values.pop().map(f64::from) };
        values
    }

    /// Square of the global norm of the sums, `[1]`, on the device; `None` without gradients.
    fn square(&self) -> Option<Tensor<1>> {
        let squares: Vec<Tensor<1>> = self.sums.values().cloned().map(sum_of_squares).collect();
        (!squares.is_empty()).then(|| Tensor::cat(squares, 0).sum())
    }

    /// The gradient of each parameter, flat.
    pub fn by_name(&self) -> BTreeMap<String, TensorData> {
        self.sums
            .iter()
            .map(|(name, gradient)| (name.clone(), gradient.clone().div_scalar(self.count).to_data()))
            .collect()
    }
}

struct TakeGradients<'a> {
    gradients: &'a mut Gradients,
    sum: &'a mut GradientSum,
}

impl parameters::Visit for TakeGradients<'_> {
    fn parameter<const D: usize>(&mut self, name: String, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(self.gradients) else { return };
        let count = gradient.shape().num_elements();
        let gradient = gradient.reshape([count]);
        let sum = self.sum.sums.remove(&name);
        self.sum.sums.insert(name, sum.map_or(gradient.clone(), |sum| sum + gradient));
    }
}
