//! Shared checks of every learner: [`check_learner`] runs all of them on an [`Example`].

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Learner, Loss, Sum, batch_gradients};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::optim::{AdamW, GradientSum, OptimizerConfig};
use palestra_model::parameters;
use palestra_report::Metrics;

/// A learner with a model and a batch to train on.
pub struct Example<L: Learner> {
    /// The learner before training; the same on every call.
    pub learner: fn() -> L,
    /// The model, outside autodiff; the same on every call.
    pub model: fn(&Device) -> L::Model,
    /// The one batch, split into this many parts: 1, or [`Example::rows`]. Rows must differ in length, so that the rows
    /// of the whole batch are padded and the rows of the parts are not.
    pub batch: fn(parts: usize, &Device) -> Vec<L::Batch>,
    /// The number of rows in the batch.
    pub rows: usize,
}

/// Checks on every device:
/// - The parts of a batch add up to the whole in loss, metrics and gradients, so that neither gradient accumulation nor
///   padding changes the result. A learner's own gradient computation agrees with the gradients of its loss.
/// - The loss of a fixed batch falls over 50 steps.
/// - A run that is stopped, saved and resumed is bitwise equal to an uninterrupted run.
pub fn check_learner<L: Learner>(example: &Example<L>) {
    for device in available_devices() {
        let device = open_device(device).unwrap().autodiff();
        parts_add_up(example, &device);
        loss_falls(example, &device);
        resumes_exactly(example, &device);
    }
}

/// Metrics by name, and gradients by parameter name.
pub type Measured = (BTreeMap<String, f32>, BTreeMap<String, Vec<f32>>);

/// Returns the loss, metrics and gradients of a batch that is given in parts, by the gradients of its loss alone.
pub fn measure<L: Learner>(learner: &L, model: &L::Model, parts: Vec<L::Batch>) -> Measured {
    measured(batch_gradients(&Plain(learner), model, parts))
}

/// Same as [`measure`], through the learner's own gradient computation.
pub fn own_way<L: Learner>(learner: &L, model: &L::Model, parts: Vec<L::Batch>) -> Measured {
    measured(batch_gradients(learner, model, parts))
}

fn measured((gradients, metrics): (GradientSum, Metrics)) -> Measured {
    let flat = |data: TensorData| data.try_into_vec().expect("gradients are f32");
    let metrics = metrics.into_iter().map(|(name, value)| (name, value as f32)).collect();
    (metrics, gradients.by_name().into_iter().map(|(name, data)| (name, flat(data))).collect())
}

/// A learner with the gradient computation that the trait gives it, and with its loss among the metrics.
struct Plain<'a, L>(&'a L);

impl<L: Learner> Learner for Plain<'_, L> {
    type Model = L::Model;
    type Batch = L::Batch;

    fn statistics(&self, model: &L::Model, batch: &L::Batch) -> Vec<Sum> {
        self.0.statistics(model, batch)
    }

    fn loss(&self, model: &L::Model, batch: L::Batch, statistics: &[Tensor<1>]) -> Loss {
        let Loss { total, mut metrics } = self.0.loss(model, batch, statistics);
        metrics.push(("total", total.clone().detach()));
        Loss { total, metrics }
    }
}

fn start<L: Learner>(example: &Example<L>, device: &Device) -> L::Model {
    (example.model)(&device.clone().inner()).train()
}

fn parts_add_up<L: Learner>(example: &Example<L>, device: &Device) {
    let learner = (example.learner)();
    let model = start(example, device);
    let (whole, whole_gradients) = measure(&learner, &model, (example.batch)(1, device));
    let (parts, part_gradients) = measure(&learner, &model, (example.batch)(example.rows, device));
    let (own, own_gradients) = own_way(&learner, &model, (example.batch)(example.rows, device));
    assert!(example.rows > 1 && whole["total"] != 0.0, "the example shows nothing");
    for (name, whole) in whole {
        let parts = parts[&name];
        assert!((whole - parts).abs() < 1e-6 * whole.abs().max(1.0), "{name}: {whole} whole and {parts} in parts");
        let own = own.get(&name).copied().unwrap_or(parts);
        assert!((parts - own).abs() < 1e-6 * parts.abs().max(1.0), "{name}: {parts} and {own} on the way to gradients");
    }
    for (kind, parts) in [("in parts", part_gradients), ("in parts, in its own way", own_gradients)] {
        assert!(whole_gradients.keys().eq(parts.keys()) && !whole_gradients.is_empty());
        let norm = |gradients: &BTreeMap<String, Vec<f32>>, less: &BTreeMap<String, Vec<f32>>| {
            let squares = gradients.iter().flat_map(|(name, gradient)| {
                let less = less.get(name).cloned().unwrap_or_else(|| vec![0.0; gradient.len()]);
                assert_eq!(gradient.len(), less.len(), "{name}");
                gradient.iter().zip(less).map(|(x, y)| f64::from(x - y).powi(2)).collect::<Vec<_>>()
            });
            squares.sum::<f64>().sqrt()
        };
        let (size, difference) = (norm(&whole_gradients, &BTreeMap::new()), norm(&whole_gradients, &parts));
        assert!(difference <= 1e-6 * size, "gradients of norm {size} differ by {difference} {kind}");
    }
}

/// State that is saved when a run stops and restored when it resumes.
struct Run<L: Learner> {
    learner: L,
    model: L::Model,
    optimizer: AdamW,
}

impl<L: Learner> Run<L> {
    fn new(example: &Example<L>, device: &Device) -> Self {
        let config = OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() };
        Self { learner: (example.learner)(), model: start(example, device), optimizer: AdamW::new(config).unwrap() }
    }

    /// Takes one step and returns the loss before it.
    fn step(mut self, example: &Example<L>, device: &Device) -> (Self, f64) {
        let (gradients, metrics) = batch_gradients(&Plain(&self.learner), &self.model, (example.batch)(1, device));
        (self.model, _) = self.optimizer.step(self.model, gradients, 1e-2).unwrap();
        (self, metrics["total"])
    }

    fn steps(self, count: usize, example: &Example<L>, device: &Device) -> Self {
        (0..count).fold(self, |run, _| run.step(example, device).0)
    }

    /// Returns a new run, restored from the state that a checkpoint holds.
    fn taken_up(self, example: &Example<L>, device: &Device) -> Self {
        let mut new = Self::new(example, device);
        let state = serde_json::from_str(&self.learner.state().to_string()).unwrap();
        new.learner.restore(&state).unwrap();
        let (steps, moments) = self.optimizer.state();
        new.optimizer.restore(steps, moments, &device.clone().inner()).unwrap();
        let model = parameters::replace(new.model.valid(), parameters::collect(&self.model.valid())).unwrap();
        Self { model: model.train(), ..new }
    }

    fn bits(&self) -> (BTreeMap<String, TensorData>, u64, BTreeMap<String, TensorData>) {
        let (steps, moments) = self.optimizer.state();
        (parameters::collect(&self.model), steps, moments)
    }
}

fn loss_falls<L: Learner>(example: &Example<L>, device: &Device) {
    let (mut run, before) = Run::new(example, device).step(example, device);
    let mut after = before;
    for _ in 0..50 {
        (run, after) = run.step(example, device);
    }
    assert!(after < before - 0.05 * before.abs(), "the loss goes from {before} to {after} in 50 steps");
}

fn resumes_exactly<L: Learner>(example: &Example<L>, device: &Device) {
    let whole = Run::new(example, device).steps(5, example, device);
    let stopped = Run::new(example, device).steps(3, example, device);
    let resumed = stopped.taken_up(example, device).steps(2, example, device);
    assert_eq!(whole.bits(), resumed.bits());
}
