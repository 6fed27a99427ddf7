//! The training loop: the one loop of every learner.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Tensor;

use crate::Result;
use crate::learners::Learner;
use palestra_report::Metrics;
use palestra_model::optim::{AdamW, GradientSum};
use crate::source::Source;

/// How far a run goes.
pub struct Span<'a> {
    /// The update to begin with; above 0 in a resumed run.
    pub start: u64,
    /// The number of updates of the whole run: what schedules go by.
    pub updates: u64,
    /// Set when a person asks to stop: the loop ends after the update at hand.
    pub stop: &'a AtomicBool,
}

/// What the loop tells after each update.
pub struct Progress<'a, L: Learner, S> {
    /// Updates done.
    pub done: u64,
    /// Whether the loop ends here: the run is over, or a person asked to stop.
    pub is_last: bool,
    /// Whether the update has not been told before. Where the next one could not be collected, the last is told again, so that
    /// it can be saved.
    pub is_new: bool,
    /// The means of everything measured in this update.
    pub metrics: &'a Metrics,
    /// The learner, after the update.
    pub learner: &'a L,
    /// The model, after the update, in the autodiff context.
    pub model: &'a L::Model,
    /// The optimiser, after the update.
    pub optimizer: &'a AdamW,
    /// The source, which still has what it collected.
    pub source: &'a mut S,
}

/// Trains: each update collects, then takes one optimiser step on each batch of what was collected.
///
/// `observe` is called after every update, and decides what is logged, saved and evaluated.
///
/// # Errors
/// What the source, the optimiser or the observer could not do; but where a person asked to stop, a source that collected
/// nothing more has done so.
pub fn train<L: Learner, S: Source<L>>(
    learner: &mut L,
    mut model: L::Model,
    source: &mut S,
    optimizer: &mut AdamW,
    span: &Span,
    mut observe: impl FnMut(Progress<L, S>) -> Result<()>,
) -> Result<L::Model> {
    for update in span.start..span.updates {
        let fraction = update as f64 / span.updates as f64;
        // Strictly between the ends, so that no update is wasted on a rate of 0.
        let learning_rate = optimizer.config().learning_rate_at((update + 1) as f64 / (span.updates + 1) as f64);
        learner.set_progress(fraction);
        let mut metrics = match source.begin(learner, &model, update) {
            Ok(metrics) => metrics,
            Err(error) => {
                // The model is as the last update left it: what it learned is not lost with what could not be collected.
                if update > span.start {
                    let (done, metrics) = (update, &Metrics::new());
                    let model = &model;
                    observe(Progress {
                        done,
                        is_last: true,
                        is_new: false,
                        metrics,
                        learner,
                        model,
                        optimizer,
                        source,
                    })?;
                }
                if span.stop.load(Ordering::Relaxed) {
                    break;
                }
                return Err(error);
            }
        };

        let began = Instant::now();
        let mut means = Means::default();
        while let Some(parts) = source.next_batch(learner)? {
            let mut gradients = GradientSum::default();
            let mut measured = Metrics::new();
            for part in parts {
                read_into(&mut measured, learner.gradients(&model, part, &mut gradients));
            }
            let norm;
            (model, norm) = optimizer.step(model, gradients, learning_rate)?;
            measured.insert("optimizer/grad_norm".into(), norm);
            model = learner.after_step(model);
            source.observe(learner, &measured)?;
            means.add(measured);
        }
        let seconds = began.elapsed().as_secs_f64();
        metrics.insert("update/seconds".into(), seconds);
        metrics.insert("throughput/update_tokens_per_second".into(), source.tokens() as f64 / seconds.max(1e-9));
        metrics.insert("update/steps".into(), means.count);
        metrics.insert("optimizer/learning_rate".into(), learning_rate);
        let mut means = means.take();
        learner.sum_up(&mut means);
        metrics.extend(means);
        metrics.extend(source.end());
        // Asked once, so that what is told to be the last update, and is saved as that, is the last.
        let is_last = update + 1 == span.updates || span.stop.load(Ordering::Relaxed);
        if update + 1 == span.updates {
            model = learner.finish(model);
        }
        let (done, metrics, model_now) = (update + 1, &metrics, &model);
        observe(Progress { done, is_last, is_new: true, metrics, learner, model: model_now, optimizer, source })?;
        if is_last {
            break;
        }
    }
    Ok(model)
}

/// Reads a part's measurements off the device at once and adds them to those of the other parts.
fn read_into(measured: &mut Metrics, metrics: Vec<(&'static str, Tensor<1>)>) {
    let (names, values): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
    if values.is_empty() {
        return;
    }
    let values = Tensor::cat(values, 0).into_data();
    for (name, value) in names.into_iter().zip(values.iter::<f32>()) {
        *measured.entry(name.to_string()).or_insert(0.0) += f64::from(value);
    }
}

/// The means of measurements over the steps of an update.
#[derive(Default)]
struct Means {
    sums: Metrics,
    count: f64,
}

impl Means {
    fn add(&mut self, step: Metrics) {
        self.count += 1.0;
        step.into_iter().for_each(|(name, value)| *self.sums.entry(name).or_insert(0.0) += value);
    }

    fn take(self) -> Metrics {
        self.sums.into_iter().map(|(name, sum)| (name, sum / self.count)).collect()
    }
}

#[cfg(test)]
mod tests;
