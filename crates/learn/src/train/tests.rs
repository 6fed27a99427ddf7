use std::cell::RefCell;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use palestra_testing::assert_close;

use super::*;
use crate::collective::Alone;
use crate::learners::{Loss, Sum, batch_gradients};
use palestra_model::optim::OptimizerConfig;

/// One number, pulled towards the target of each batch.
#[derive(Module, Debug)]
struct Number {
    value: Param<Tensor<1>>,
}

struct Pull {
    progress: Vec<f64>,
}

impl Learner for Pull {
    type Model = Number;
    type Batch = f32;

    fn set_progress(&mut self, fraction: f64) {
        self.progress.push(fraction);
    }

    fn loss(&self, model: &Number, target: f32, _: &[Tensor<1>]) -> Loss {
        let total = model.value.val().sub_scalar(target).square();
        let target = Tensor::from_data([target], &total.device());
        Loss { metrics: vec![("target", Sum { sum: target, count: 1.0 })], total: Sum { sum: total, count: 1.0 } }
    }
}

/// Two steps per update, on batches of two parts and of one.
#[derive(Default)]
struct Targets {
    begun: Vec<u64>,
    left: Vec<Vec<f32>>,
    told: Vec<f64>,
}

impl Source<Pull> for Targets {
    fn begin(&mut self, _: &mut Pull, _: &Number, update: u64, _: &dyn Collective) -> Result<Metrics> {
        self.begun.push(update);
        self.left = vec![vec![6.0], vec![1.0, 2.0]];
        Ok(Metrics::from([("begun".to_string(), update as f64)]))
    }

    fn steps(&self) -> usize {
        2
    }

    fn next_batch(&mut self, _: &Pull, _: &dyn Collective) -> Result<Option<Vec<f32>>> {
        Ok(self.left.pop())
    }

    fn tokens(&self) -> usize {
        0
    }

    fn observe(&mut self, _: &Pull, step: &Metrics) -> Result<()> {
        self.told.push(step["target"]);
        Ok(())
    }
}

fn run(span: &UpdateRange, observe: impl FnMut(TrainProgress<Pull, Targets>) -> Result<()>) -> (Number, Pull, Targets) {
    let (mut learner, mut source) = (Pull { progress: Vec::new() }, Targets::default());
    let value = Tensor::from_data([0.0], &Device::flex().autodiff());
    let model = Number { value: Param::from_tensor(value) };
    let config = OptimizerConfig { learning_rate: 0.1, warmup: 0.5, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(config).unwrap();
    let model = train(&mut learner, model, &mut source, &mut optimizer, span, &Alone, observe).unwrap();
    (model, learner, source)
}

#[test]
fn each_update_collects_and_takes_a_step_on_each_batch() {
    let mut rates = Vec::new();
    let span = UpdateRange { start: 1, updates: 4, stop: &AtomicBool::new(false) };
    let (model, learner, source) = run(&span, |progress| {
        let metrics = progress.metrics;
        assert_eq!(metrics["begun"], (progress.done - 1) as f64);
        // The mean over the parts of a batch is 1.5; the result is the mean with the batch of 6.
        assert_eq!((metrics["target"], metrics["update/steps"]), (3.75, 2.0));
        assert_eq!(progress.is_last, progress.done == 4);
        rates.push(metrics["optimizer/learning_rate"]);
        Ok(())
    });
    assert_eq!((source.begun, source.told), (vec![1, 2, 3], vec![1.5, 6.0, 1.5, 6.0, 1.5, 6.0]));
    assert_eq!(learner.progress, [0.25, 0.5, 0.75], "of the whole run, where it is resumed too");
    // Steps 3 to 8 of a run of 8, whose warm-up is half of it; the last step of each update is told.
    assert_eq!(rates, [0.1 * (4.0 / 9.0) / 0.5, 0.1, 0.1], "still warming up at four ninths");
    assert!(model.value.val().into_scalar::<f32>() > 0.3, "six steps towards positive numbers");
}

#[test]
fn a_metric_is_a_mean_over_the_steps_that_measured_it() {
    let mut means = Means::default();
    means.add(Metrics::from([("always".to_string(), 1.0), ("sometimes".to_string(), 6.0)]));
    means.add(Metrics::from([("always".to_string(), 3.0)]));
    let expected = [("always".to_string(), 2.0), ("sometimes".to_string(), 6.0)];
    assert_eq!((means.count, means.take()), (2.0, Metrics::from(expected)));
}

#[test]
fn a_run_ends_with_the_update_that_was_told_to_be_its_last() {
    let stop = AtomicBool::new(false);
    let mut told = Vec::new();
    let span = UpdateRange { start: 0, updates: 9, stop: &stop };
    run(&span, |progress| {
        told.push((progress.done, progress.is_last));
        // Simulates a stop request while the second update is saved.
        stop.fetch_or(progress.done == 2, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(told, [(1, false), (2, false), (3, true)]);
}

/// The same number with a slope of 1 everywhere. A batch is the count that each of its parts is over.
#[derive(Default)]
struct Slope {
    /// The number after each step.
    after: RefCell<Vec<f64>>,
}

impl Learner for Slope {
    type Model = Number;
    type Batch = f64;

    fn loss(&self, model: &Number, count: f64, _: &[Tensor<1>]) -> Loss {
        let total = Sum { sum: model.value.val().mul_scalar(count), count };
        Loss { metrics: vec![("loss", total.clone().detach())], total }
    }

    fn after_step(&self, model: Number) -> Number {
        self.after.borrow_mut().push(model.value.val().into_scalar::<f32>().into());
        model
    }
}

/// The same batches in each update.
struct Batches {
    all: Vec<Vec<f64>>,
    left: Vec<Vec<f64>>,
}

impl Source<Slope> for Batches {
    fn begin(&mut self, _: &mut Slope, _: &Number, _: u64, _: &dyn Collective) -> Result<Metrics> {
        self.left = self.all.iter().rev().cloned().collect();
        Ok(Metrics::new())
    }

    fn steps(&self) -> usize {
        self.all.len()
    }

    fn next_batch(&mut self, _: &Slope, _: &dyn Collective) -> Result<Option<Vec<f64>>> {
        Ok(self.left.pop())
    }

    fn tokens(&self) -> usize {
        0
    }
}

/// Change of the number by each step of two updates, and the metrics of each update.
fn descend(batches: &[Vec<f64>], config: OptimizerConfig) -> (Vec<f64>, Vec<Metrics>) {
    let (mut learner, mut source) = (Slope::default(), Batches { all: batches.to_vec(), left: Vec::new() });
    let model = Number { value: Param::from_tensor(Tensor::from_data([0.0], &Device::flex().autodiff())) };
    let mut optimizer = AdamW::new(config).unwrap();
    let mut metrics = Vec::new();
    let span = UpdateRange { start: 0, updates: 2, stop: &AtomicBool::new(false) };
    let observe = |progress: TrainProgress<Slope, Batches>| -> Result<()> {
        metrics.push(progress.metrics.clone());
        Ok(())
    };
    train(&mut learner, model, &mut source, &mut optimizer, &span, &Alone, observe).unwrap();
    let after = learner.after.into_inner();
    let before = [0.0].into_iter().chain(after.iter().copied());
    (before.zip(&after).map(|(before, after)| before - after).collect(), metrics)
}

#[test]
fn the_learning_rate_warms_up_by_optimiser_step() {
    // AdamW's steps on a constant gradient are as long as the learning rate, up to eps.
    let config = OptimizerConfig { learning_rate: 0.1, warmup: 1.0, eps: 1e-9, ..OptimizerConfig::default() };
    let (changes, metrics) = descend(&vec![vec![1.0]; 10], config);
    let stairs: Vec<f64> = (1..=20).map(|step| 0.1 * f64::from(step) / 21.0).collect();
    assert_close!(changes, stairs, 1e-6);
    let rates: Vec<f64> = metrics.iter().map(|metrics| metrics["optimizer/learning_rate"]).collect();
    assert_close!(rates, [stairs[9], stairs[19]], 1e-12, "the rate of the last step of each update");
}

#[test]
fn a_batch_with_nothing_to_learn_from_is_left_out_and_counted() {
    let config = OptimizerConfig { learning_rate: 0.1, eps: 1e-9, ..OptimizerConfig::default() };
    let (changes, metrics) = descend(&[vec![1.0], vec![0.0, 0.0], vec![0.0, 2.0]], config.clone());
    assert_close!(changes, [0.1; 4], 1e-6);
    for metrics in metrics {
        assert_eq!(
            (metrics["update/steps"], metrics["update/empty_steps"], metrics["loss"].is_finite()),
            (2.0, 1.0, true)
        );
    }
    let (changes, metrics) = descend(&[vec![0.0]], config);
    assert_eq!((changes.len(), metrics[1]["update/steps"], metrics[1].get("loss")), (0, 0.0, None));
}

#[test]
fn an_optimiser_refuses_gradients_of_nothing_by_name() {
    let device = Device::flex().autodiff();
    let model = Number { value: Param::from_tensor(Tensor::from_data([0.0], &device)) };
    let (gradients, metrics) = batch_gradients(&Slope::default(), &model, vec![0.0]);
    assert!(metrics.is_empty());
    let error = AdamW::new(OptimizerConfig::default()).unwrap().step(model, gradients, 0.1).unwrap_err();
    assert_eq!(error.to_string(), "step 1: the batch has nothing to learn from");
}
