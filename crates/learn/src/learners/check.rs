//! Shared checks of every learner: [`check_learner`] runs all of them on an [`Example`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use palestra_testing::{Tolerance, assert_close};

use super::{Learner, Loss, Sum, batch_gradients, reduced_gradients};
use crate::collective::{Collective, Threads};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::optim::{AdamW, GradientSum, OptimizerConfig, Shard};
use palestra_model::{Policy, parameters};
use palestra_report::Metrics;

/// A learner with a model and a batch to train on.
pub struct Example<L: Learner> {
    /// The learner before training; the same on every call.
    pub learner: fn() -> L,
    /// The model, outside autodiff; the same on every call.
    pub model: fn(&Device) -> L::Model,
    /// The one batch, split into this many parts by [`uneven_parts`]. Rows must differ in length, so that the rows of the
    /// whole batch are padded and those of a part of one row are not.
    pub batch: fn(parts: usize, &Device) -> Vec<L::Batch>,
    /// The number of rows in the batch.
    pub rows: usize,
}

/// Checks on every device:
/// - The parts of a batch add up to the whole in loss, metrics and gradients, so that neither gradient accumulation nor
///   padding changes the result: two and three parts of unequal size, and parts of one row. A learner's own gradient
///   computation agrees with the gradients of its loss. So do parts on two and four ranks, some of which may have none.
/// - Gradient checkpointing changes neither loss nor gradients.
/// - The loss of a fixed batch falls over 50 steps.
/// - A run that is stopped, saved and resumed is bitwise equal to an uninterrupted run.
pub fn check_learner<L: Learner<Model = Policy>>(example: &Example<L>) {
    for device in available_devices() {
        let device = open_device(device).unwrap().autodiff();
        parts_add_up(example, &device);
        ranks_add_up(example, &device);
        blocks_are_computed_again(example, &device);
        loss_falls(example, &device);
        let learner_and_model = || ((example.learner)(), start(example, &device));
        resumes_exactly(learner_and_model, || (example.batch)(1, &device), [3, 5], &device);
    }
}

/// Splits rows into `count` parts of unequal size: the last has what the first ones leave. As many parts as rows have one row
/// each.
pub fn uneven_parts<T>(rows: &[T], count: usize) -> Vec<&[T]> {
    let size = (rows.len() / (2 * count)).max(1);
    let (first, last) = rows.split_at(size * (count - 1));
    first.chunks(size).chain([last]).collect()
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
    let whole = measure(&learner, &model, (example.batch)(1, device));
    assert!(example.rows > 1 && whole.0["total"] != 0.0, "the example shows nothing");
    for count in BTreeSet::from([2, 3.min(example.rows), example.rows]) {
        let parts = measure(&learner, &model, (example.batch)(count, device));
        assert_same(&parts, &whole, &format!("{count} parts"));
    }
    for count in BTreeSet::from([1, 2, example.rows]) {
        let mut own = own_way(&learner, &model, (example.batch)(count, device));
        own.0.insert("total".into(), whole.0["total"]); // a metric of the loss alone
        assert_same(&own, &whole, &format!("{count} parts, gradients computed in the learner's own way"));
    }
}

fn ranks_add_up<L: Learner<Model = Policy>>(example: &Example<L>, device: &Device) {
    let whole = own_way(&(example.learner)(), &start(example, device), (example.batch)(1, device));
    for size in [2, 4] {
        let found = Threads::run(size, Duration::from_secs(60), |collective| {
            let (learner, model) = ((example.learner)(), start(example, device));
            let mut parts = (example.batch)(example.rows.min(3), device);
            let own = collective.share(parts.len());
            let own = parts.drain(own).collect();
            measured(reduced_gradients(&learner, &model, own, Shard::WHOLE, collective).unwrap())
        });
        for of_rank in &found {
            assert_same(of_rank, &whole, &format!("{size} ranks"));
            assert!(*of_rank == found[0], "all ranks have the same bits");
        }
    }
}

fn blocks_are_computed_again<L: Learner<Model = Policy>>(example: &Example<L>, device: &Device) {
    let learner = (example.learner)();
    let model = start(example, device);
    let expected = own_way(&learner, &model, (example.batch)(1, device));
    let found = own_way(&learner, &model.with_gradient_checkpointing(true), (example.batch)(1, device));
    assert_same(&found, &expected, "gradient checkpointing");
}

/// Checks that metrics and gradients are the same but for rounding: each metric to 1e-6 of its size, or to 1e-6 below 1, and
/// the gradients of all parameters together to 1e-6 of their norm.
pub fn assert_same(found: &Measured, expected: &Measured, about: &str) {
    assert!(found.0.keys().eq(expected.0.keys()), "{about}: {:?} instead of {:?}", found.0.keys(), expected.0.keys());
    for (name, expected) in &expected.0 {
        assert_close!(found.0[name], *expected, Tolerance { absolute: 1e-6, relative: 1e-6 }, "{about}: {name}");
    }
    assert!(!expected.1.is_empty() && found.1.keys().eq(expected.1.keys()), "{about}: {:?}", found.1.keys());
    let (mut size, mut difference) = (0.0, 0.0);
    for (name, expected) in &expected.1 {
        let found = &found.1[name];
        assert_eq!(found.len(), expected.len(), "{about}: {name}");
        size += expected.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        difference += found.iter().zip(expected).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
    }
    let (size, difference) = (size.sqrt(), difference.sqrt());
    assert!(difference <= 1e-6 * size, "{about}: gradients of norm {size} differ by {difference}");
}

/// State that is saved when a run stops and restored when it resumes.
struct Run<L: Learner> {
    learner: L,
    model: L::Model,
    optimizer: AdamW,
}

impl<L: Learner> Run<L> {
    fn new((learner, model): (L, L::Model)) -> Self {
        let config = OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() };
        Self { learner, model, optimizer: AdamW::new(config).unwrap() }
    }

    /// Takes one step and returns the loss before it.
    fn step(mut self, batch: Vec<L::Batch>) -> (Self, f64) {
        let (gradients, metrics) = batch_gradients(&Plain(&self.learner), &self.model, batch);
        (self.model, _) = self.optimizer.step(self.model, gradients, 1e-2).unwrap();
        (self, metrics["total"])
    }

    fn steps(self, count: usize, batch: impl Fn() -> Vec<L::Batch>) -> Self {
        (0..count).fold(self, |run, _| run.step(batch()).0)
    }

    /// Returns a new run, restored from the state that a checkpoint holds.
    fn taken_up(self, start: (L, L::Model), device: &Device) -> Self {
        let mut new = Self::new(start);
        let state = serde_json::from_str(&self.learner.state().to_string()).unwrap();
        new.learner.restore(&state).unwrap();
        let (_, steps, moments) = self.bits();
        new.optimizer.restore(steps, moments, &device.clone().inner()).unwrap();
        let model = parameters::replace(new.model.valid(), parameters::collect(&self.model.valid())).unwrap();
        Self { model: model.train(), ..new }
    }

    fn bits(&self) -> (BTreeMap<String, TensorData>, u64, BTreeMap<String, TensorData>) {
        let (steps, moments) = self.optimizer.state();
        let moments = moments.into_iter().map(|(name, values)| (name, values.into_data())).collect();
        (parameters::collect(&self.model), steps, moments)
    }
}

fn loss_falls<L: Learner>(example: &Example<L>, device: &Device) {
    let batch = || (example.batch)(1, device);
    let (mut run, before) = Run::new(((example.learner)(), start(example, device))).step(batch());
    let mut after = before;
    for _ in 0..50 {
        (run, after) = run.step(batch());
    }
    assert!(after < before - 0.05 * before.abs(), "the loss goes from {before} to {after} in 50 steps");
}

/// Checks that a run which is stopped, saved and resumed after the first number of steps has the bits of one that takes the
/// second number without a stop. `start` gives the learner and the model before training, the same on every call.
pub fn resumes_exactly<L: Learner>(
    start: impl Fn() -> (L, L::Model),
    batch: impl Fn() -> Vec<L::Batch>,
    [stop, total]: [usize; 2],
    device: &Device,
) {
    let whole = Run::new(start()).steps(total, &batch);
    let stopped = Run::new(start()).steps(stop, &batch);
    let resumed = stopped.taken_up(start(), device).steps(total - stop, &batch);
    assert_eq!(whole.bits(), resumed.bits());
}
