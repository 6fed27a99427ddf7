//! Gradients and metrics of one optimiser step: what the parts of a batch give, and the ranks of a run, is added, then divided
//! once.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Learner, Loss, Sum};
use crate::Result;
use crate::collective::{Collective, all_reduce, gather, reduce_scatter};
use palestra_model::optim::{GradientSum, HostArray, Shard};
use palestra_report::Metrics;

/// Gradients and metrics of one optimiser step on a batch that comes in parts: what the parts give is added, then divided
/// once, so that any split of a batch gives the step of the whole. All metrics and the gradients' norm are read off the device
/// together.
pub fn batch_gradients<L: Learner>(learner: &L, model: &L::Model, parts: Vec<L::Batch>) -> (GradientSum, Metrics) {
    let statistics: Vec<Tensor<1>> = statistics(learner, model, &parts).into_iter().map(Sum::mean).collect();
    let (mut gradients, measured) = add_parts(learner, model, parts, &statistics);
    // What no part measured has no mean.
    let measured: BTreeMap<_, _> = measured.into_iter().filter(|(_, sum)| sum.count > 0.0).collect();
    let (names, sums): (Vec<_>, Vec<Sum>) = measured.into_iter().unzip();
    let counts: Vec<f64> = sums.iter().map(|sum| sum.count).collect();
    let values = gradients.read_with(sums.into_iter().map(|sum| sum.sum).collect());
    let means = values.into_iter().zip(counts).map(|(value, count)| f64::from(value) / count);
    let metrics = names.into_iter().map(String::from).zip(means).collect();
    (gradients, metrics)
}

/// As [`batch_gradients`], of a batch whose parts are on all ranks. Every rank gets the same metrics and norm, and this shard of
/// the gradients of the whole batch: all of them, or the rank's share of each.
///
/// # Errors
/// A rank that takes no part.
pub fn reduced_gradients<L: Learner>(
    learner: &L,
    model: &L::Model,
    parts: Vec<L::Batch>,
    shard: Shard,
    collective: &dyn Collective,
) -> Result<(GradientSum, Metrics)> {
    if collective.size() == 1 {
        return Ok(batch_gradients(learner, model, parts));
    }
    let device = model.devices().first().expect("a model to train has parameters").clone().inner();
    let statistics = reduced_statistics(statistics(learner, model, &parts), &device, collective)?;
    let (mut gradients, measured) = add_parts(learner, model, parts, &statistics);
    let own = RankSums {
        count: gradients.count(),
        metrics: measured.into_iter().map(|(name, sum)| (name.to_string(), Number::of(sum))).collect(),
        lengths: gradients.lengths(),
    };
    let mut all = RankSums::default();
    gather(collective, &own)?.into_iter().for_each(|rank| all.add(rank));
    // A rank without a share of the batch adds zeros.
    let array = |(name, &length): (&String, &usize)| {
        (name.clone(), gradients.take(name).unwrap_or_else(|| HostArray::zeros(length, &device)))
    };
    let mut arrays: BTreeMap<String, HostArray> = all.lengths.iter().map(array).collect();
    let slices = arrays.values_mut().map(|array| &mut array[..]).collect();
    let (sums, square) = if shard == Shard::WHOLE {
        let square = all_reduce(slices, collective)?;
        (arrays.into_iter().map(|(name, array)| (name, array.into_tensor())).collect(), square)
    } else {
        let square = reduce_scatter(slices, collective)?;
        let share = |(name, array): (String, HostArray)| {
            let own = &array[shard.range(array.len())];
            (!own.is_empty()).then(|| (name, Tensor::from_data(own, &device)))
        };
        (arrays.into_iter().filter_map(share).collect(), square)
    };
    let squares = gather(collective, &square.to_bits())?.into_iter().map(f64::from_bits);
    let gradients = GradientSum::over_ranks(sums, all.count, squares.sum());
    let metrics = all.metrics.into_iter().filter(|(_, sum)| sum.count > 0.0);
    Ok((gradients, metrics.map(|(name, sum)| (name, sum.sum() / sum.count)).collect()))
}

/// Statistics of the parts of a batch, added.
fn statistics<L: Learner>(learner: &L, model: &L::Model, parts: &[L::Batch]) -> Vec<Sum> {
    let mut statistics: Vec<Sum> = Vec::new();
    for found in parts.iter().map(|part| learner.statistics(model, part)) {
        match statistics.is_empty() {
            true => statistics = found,
            false => statistics.iter_mut().zip(found).for_each(|(sum, part)| add_part(sum, part)),
        }
    }
    statistics
}

/// Means of statistics over all ranks. A rank without parts has none to add.
fn reduced_statistics(own: Vec<Sum>, device: &Device, collective: &dyn Collective) -> Result<Vec<Tensor<1>>> {
    let autodiff = device.clone().autodiff();
    let mut all: Vec<Number> = Vec::new();
    for rank in gather(collective, &own.into_iter().map(Number::of).collect::<Vec<_>>())? {
        match all.is_empty() {
            true => all = rank,
            false => all.iter_mut().zip(rank).for_each(|(sum, own)| sum.add(&own)),
        }
    }
    Ok(all.into_iter().map(|sum| Tensor::from_data([(sum.sum() / sum.count) as f32], &autodiff)).collect())
}

/// Gradients and metrics of the parts of a batch, added.
fn add_parts<L: Learner>(
    learner: &L,
    model: &L::Model,
    parts: Vec<L::Batch>,
    statistics: &[Tensor<1>],
) -> (GradientSum, BTreeMap<&'static str, Sum>) {
    let mut gradients = GradientSum::default();
    let mut measured: BTreeMap<&'static str, Sum> = BTreeMap::new();
    for part in parts {
        let Loss { total, metrics } = learner.gradients(model, part, statistics, &mut gradients);
        gradients.over(total.count);
        for (name, part) in metrics {
            match measured.get_mut(name) {
                Some(sum) => add_part(sum, part),
                None => _ = measured.insert(name, part),
            }
        }
    }
    (gradients, measured)
}

fn add_part(sum: &mut Sum, part: Sum) {
    *sum = Sum { sum: sum.sum.clone() + part.sum, count: sum.count + part.count };
}

/// Numbers of a rank's gradients, told before they are added.
#[derive(Default, Serialize, Deserialize)]
struct RankSums {
    /// Count that its gradients are over.
    count: f64,
    metrics: BTreeMap<String, Number>,
    /// Length of each gradient that it has; a rank without a share of the batch has none.
    lengths: BTreeMap<String, usize>,
}

impl RankSums {
    fn add(&mut self, rank: Self) {
        self.count += rank.count;
        for (name, sum) in rank.metrics {
            self.metrics.entry(name).or_default().add(&sum);
        }
        self.lengths.extend(rank.lengths);
    }
}

/// A [`Sum`] off the device. JSON has no numbers that are not finite, so that the sum is kept as its bits.
#[derive(Default, Serialize, Deserialize)]
struct Number {
    bits: u64,
    count: f64,
}

impl Number {
    fn of(sum: Sum) -> Self {
        Self { bits: f64::from(sum.sum.into_scalar::<f32>()).to_bits(), count: sum.count }
    }

    fn sum(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    fn add(&mut self, other: &Self) {
        self.bits = (self.sum() + other.sum()).to_bits();
        self.count += other.count;
    }
}
