//! The training loop, shared by all learners.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::collective::{Collective, gather};
use crate::learners::{Learner, reduced_gradients};
use crate::source::Source;
use crate::{Error, Result, sharding};
use palestra_model::optim::AdamW;
use palestra_report::Metrics;

/// Range of updates of a run.
pub struct UpdateRange<'a> {
    /// First update; above 0 in a resumed run.
    pub start: u64,
    /// Number of updates of the whole run, which schedules depend on.
    pub updates: u64,
    /// Stop flag, set on a user's request: the loop ends after the current update.
    pub stop: &'a AtomicBool,
}

/// State of the training loop after an update.
pub struct TrainProgress<'a, L: Learner, S> {
    /// Number of completed updates.
    pub done: u64,
    /// True if the loop ends here: the run is over, or the user asked to stop.
    pub is_last: bool,
    /// True if the update is reported for the first time. If the data of the next update could not be collected, the
    /// last update is reported again, so that it can be saved.
    pub is_new: bool,
    /// Means of all metrics of this update.
    pub metrics: &'a Metrics,
    /// The learner, after the update.
    pub learner: &'a L,
    /// The model, after the update, in the autodiff context.
    pub model: &'a L::Model,
    /// The optimiser, after the update.
    pub optimizer: &'a AdamW,
    /// The source, which still holds its collected data.
    pub source: &'a mut S,
}

/// Trains a model: each update collects data, then takes one optimiser step on each batch of it. A batch with nothing to learn
/// from (no token counts, or all weights are 0) changes nothing, and is counted in `update/empty_steps`.
///
/// `observe` is called after every update, and decides on logging, saving and evaluation. On several ranks, every rank calls
/// this function with a model of the same values, and takes the same steps.
///
/// # Errors
/// Errors of the source, the optimiser, the observer or another rank. If the user asked to stop, it is no error that the source
/// collected nothing more.
pub fn train<L: Learner, S: Source<L>, E: From<Error>>(
    learner: &mut L,
    mut model: L::Model,
    source: &mut S,
    optimizer: &mut AdamW,
    span: &UpdateRange,
    collective: &dyn Collective,
    mut observe: impl FnMut(TrainProgress<L, S>) -> Result<(), E>,
) -> Result<L::Model, E> {
    for update in span.start..span.updates {
        let fraction = update as f64 / span.updates as f64;
        learner.set_progress(fraction);
        let begun = source.begin(learner, &model, update, collective);
        let mut metrics = match of_all_ranks(begun, collective)? {
            Ok(metrics) => metrics,
            Err(error) => {
                // The model is as the last update left it, and is reported again so that it is not lost.
                if update > span.start {
                    let (done, metrics) = (update, &Metrics::new());
                    let model = &model;
                    observe(TrainProgress {
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
                if is_stopped(span.stop, collective)? {
                    break;
                }
                return Err(error.into());
            }
        };

        let began = Instant::now();
        let mut means = Means::default();
        let (steps, mut taken, mut empty, mut learning_rate) = (source.steps() as f64, 0.0, 0.0, 0.0);
        while let Some(parts) = source.next_batch(learner, collective)? {
            let (gradients, mut measured) = reduced_gradients(learner, &model, parts, optimizer.shard(), collective)?;
            taken += 1.0;
            // Strictly between the ends, so that no step is wasted on a rate of 0.
            let done = (update as f64 * steps + taken) / (span.updates as f64 * steps + 1.0);
            learning_rate = optimizer.config().learning_rate_at(done);
            if gradients.is_empty() {
                empty += 1.0;
                continue;
            }
            let norm;
            (model, norm) = sharding::step(optimizer, model, gradients, learning_rate, collective)?;
            measured.insert("optimizer/grad_norm".into(), norm);
            model = learner.after_step(model);
            source.observe(learner, &measured)?;
            means.add(measured);
        }
        let seconds = began.elapsed().as_secs_f64();
        metrics.insert("update/seconds".into(), seconds);
        metrics.insert("throughput/update_tokens_per_second".into(), source.tokens() as f64 / seconds.max(1e-9));
        metrics.insert("update/steps".into(), means.count);
        metrics.insert("update/empty_steps".into(), empty);
        metrics.insert("optimizer/learning_rate".into(), learning_rate);
        let mut means = means.take();
        learner.sum_up(&mut means);
        metrics.extend(means);
        metrics.extend(source.end());
        if collective.size() > 1 {
            let (traffic, steps) = (collective.take_traffic(), taken.max(1.0));
            metrics.insert("collective/seconds".into(), traffic.time.as_secs_f64() / steps);
            metrics.insert("collective/bytes".into(), traffic.bytes as f64 / steps);
        }
        // Read once, so that the update reported and saved as the last one is the last.
        let is_last = update + 1 == span.updates || is_stopped(span.stop, collective)?;
        if update + 1 == span.updates {
            model = learner.finish(model);
        }
        let (done, metrics, model_now) = (update + 1, &metrics, &model);
        observe(TrainProgress { done, is_last, is_new: true, metrics, learner, model: model_now, optimizer, source })?;
        if is_last {
            break;
        }
    }
    Ok(model)
}

/// The error of the first rank that has one, if any: on that rank as it is, on each other by its rank's name. All ranks then do
/// the same.
fn of_all_ranks<T>(own: Result<T>, collective: &dyn Collective) -> Result<Result<T>> {
    if collective.size() == 1 {
        return Ok(own);
    }
    let errors = gather(collective, &own.as_ref().err().map(Error::to_string))?;
    let failed = errors.into_iter().enumerate().find_map(|(rank, error)| Some((rank, error?)));
    Ok(match (own, failed) {
        (Ok(_), Some((rank, reason))) => Err(collective.error_of(rank, &reason)),
        (own, _) => own,
    })
}

/// True if a user asked any rank to stop. All ranks get the same answer, so that they end after the same update.
fn is_stopped(stop: &AtomicBool, collective: &dyn Collective) -> Result<bool> {
    let own = stop.load(Ordering::Relaxed);
    Ok(if collective.size() == 1 { own } else { gather(collective, &own)?.contains(&true) })
}

/// Means of metrics over the steps of an update.
#[derive(Default)]
struct Means {
    /// Sum of each metric, and the number of steps that measured it.
    sums: BTreeMap<String, (f64, f64)>,
    count: f64,
}

impl Means {
    fn add(&mut self, step: Metrics) {
        self.count += 1.0;
        for (name, value) in step {
            let (sum, count) = self.sums.entry(name).or_default();
            (*sum, *count) = (*sum + value, *count + 1.0);
        }
    }

    fn take(self) -> Metrics {
        self.sums.into_iter().map(|(name, (sum, count))| (name, sum / count)).collect()
    }
}

#[cfg(test)]
mod tests;
