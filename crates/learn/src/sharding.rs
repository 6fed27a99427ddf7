//! Optimiser whose moments are divided among the ranks of a run: ZeRO stage 1
//! ([Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054)).
//!
//! Each rank has the moments of its share of every parameter. It gets the sums of its share of the gradients, updates its share
//! of the parameters, and all ranks gather the whole ones. The numbers are those of an optimiser that is not divided.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::collective::{Collective, all_gather, gather};
use palestra_model::optim::{AdamW, GradientSum, Shard, assign};

/// Takes a step on all ranks, with the gradients of the optimiser's shard; returns the norm before clipping too.
///
/// # Errors
/// As [`AdamW::step`]; a rank that takes no part.
pub fn step<M: Module>(
    optimizer: &mut AdamW,
    model: M,
    gradients: GradientSum,
    learning_rate: f64,
    collective: &dyn Collective,
) -> Result<(M, f64)> {
    if optimizer.shard() == Shard::WHOLE {
        return Ok(optimizer.step(model, gradients, learning_rate)?);
    }
    let (mut parameters, norm) = optimizer.step_share(&model, gradients, learning_rate)?;
    all_gather(parameters.values_mut().map(|values| &mut values[..]).collect(), collective)?;
    let whole = parameters.into_iter().map(|(name, values)| (name, values.into_tensor())).collect();
    Ok((assign(model, whole), norm))
}

/// Number of an optimiser's steps, and the names of what it holds.
#[derive(PartialEq, Serialize, Deserialize)]
struct Held {
    steps: u64,
    names: BTreeSet<String>,
}

/// State of the whole optimiser, as [`AdamW::state`] has it on one rank, or gathered in memory of the host; `None` on the ranks other
/// than 0. All ranks call it.
///
/// # Errors
/// A rank that takes no part, or has taken another number of steps.
pub fn state(optimizer: &AdamW, collective: &dyn Collective) -> Result<Option<(u64, BTreeMap<String, Tensor<1>>)>> {
    let is_first = collective.rank() == 0;
    if optimizer.shard() == Shard::WHOLE {
        return Ok(is_first.then(|| optimizer.state()));
    }
    let (steps, own) = optimizer.state();
    // A rank has nothing of a parameter that is shorter than there are ranks.
    let mut names = BTreeSet::new();
    for (rank, held) in
        gather(collective, &Held { steps, names: own.keys().cloned().collect() })?.into_iter().enumerate()
    {
        if held.steps != steps {
            return Err(collective.wrong(rank, &format!("it has taken {} steps, and this rank {steps}", held.steps)));
        }
        names.extend(held.names);
    }
    let mut whole = BTreeMap::new();
    for name in names {
        let share = own.get(&name).map(Tensor::to_data);
        let share = share.as_ref().map_or(&[][..], TensorData::as_bytes);
        let parts: Vec<&[u8]> = (0..collective.size()).map(|to| if to == 0 { share } else { &[] }).collect();
        let bytes = collective.exchange(&parts)?.concat();
        if is_first {
            let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
            let length = values.len();
            whole.insert(name, Tensor::from_data(TensorData::new(values, [length]), &Device::flex()));
        }
    }
    Ok(is_first.then_some((steps, whole)))
}

#[cfg(test)]
mod tests;
