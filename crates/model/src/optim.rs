//! AdamW with parameter groups, global-norm clipping and a learning-rate schedule.

mod gradients;
mod host_array;
mod shard;

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use crate::ops::{self, adamw_step};
use crate::parameters;
use crate::{Error, Result};
pub use gradients::GradientSum;
pub use host_array::HostArray;
pub use shard::Shard;

/// Learning-rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Keeps the peak learning rate.
    Constant,
    /// Decays linearly to the final fraction.
    Linear,
    /// Decays to the final fraction along half a cosine ([Loshchilov and Hutter
    /// 2017](https://arxiv.org/abs/1608.03983)).
    Cosine,
}

/// Settings of the optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate, above 0.
    pub learning_rate: f64,
    /// Fraction of the run over which the learning rate rises to its peak, 0 to 1.
    pub warmup: f64,
    /// Schedule after the warm-up.
    pub schedule: Schedule,
    /// Final learning rate as a fraction of the peak, 0 to 1.
    pub final_fraction: f64,
    /// Decay rates of the running means of gradients and of their squares, each from 0 to below 1.
    pub betas: (f64, f64),
    /// Added to the denominator, above 0.
    pub eps: f64,
    /// Decoupled weight decay, at least 0, for parameters of two or more dimensions.
    pub weight_decay: f64,
    /// Global gradient norm to clip to, at least 0; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Parameter groups with settings of their own; a parameter belongs to the first group whose pattern matches.
    #[serde(rename = "group")]
    pub groups: Vec<ParameterGroup>,
}

/// A group of parameters by a pattern on their names, such as `value_head.*` or `blocks.0.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Pattern of the names, with `*` for any text.
    pub pattern: String,
    /// Factor of the learning rate, at least 0; 0 freezes.
    #[serde(default = "one")]
    pub learning_rate_scale: f64,
    /// Weight decay of the group, at least 0, in place of the general one.
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            warmup: 0.0,
            schedule: Schedule::Constant,
            final_fraction: 0.0,
            betas: (0.9, 0.999),
            eps: 1e-5,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// Learning rate after `fraction` of the run, 0 to 1.
    pub fn learning_rate_at(&self, fraction: f64) -> f64 {
        if fraction < self.warmup {
            return self.learning_rate * fraction / self.warmup;
        }
        let left = (1.0 - fraction) / (1.0 - self.warmup).max(f64::MIN_POSITIVE);
        let shape = match self.schedule {
            Schedule::Constant => return self.learning_rate,
            Schedule::Linear => left,
            Schedule::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
        };
        self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * shape.clamp(0.0, 1.0))
    }

    /// Checks that the values are possible.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        check_ranges(
            "optimizer",
            &[
                ("learning_rate", &self.learning_rate, Range::POSITIVE),
                ("warmup", &self.warmup, Range::UNIT),
                ("final_fraction", &self.final_fraction, Range::UNIT),
                ("betas[0]", &self.betas.0, Range::from_below(0.0, 1.0)),
                ("betas[1]", &self.betas.1, Range::from_below(0.0, 1.0)),
                ("eps", &self.eps, Range::POSITIVE),
                ("weight_decay", &self.weight_decay, Range::AT_LEAST_ZERO),
                ("max_grad_norm", &self.max_grad_norm, Range::AT_LEAST_ZERO),
            ],
        )?;
        for group in &self.groups {
            check_ranges(
                "optimizer.group",
                &[
                    ("learning_rate_scale", &group.learning_rate_scale, Range::AT_LEAST_ZERO),
                    ("weight_decay", &group.weight_decay, Range::AT_LEAST_ZERO),
                ],
            )?;
            glob::Pattern::new(&group.pattern)
                .map_err(|error| Error::Config(format!("optimizer.group.pattern: {:?}: {error}", group.pattern)))?;
        }
        Ok(())
    }
}

/// AdamW ([Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101)), of all parameters or of a rank's share of each.
pub struct AdamW {
    config: OptimizerConfig,
    groups: Vec<(glob::Pattern, ParameterGroup)>,
    shard: Shard,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

/// Running means of a parameter's gradient and of its square, flat.
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
}

impl Moments {
    fn zeros(length: usize, device: &Device) -> Self {
        Self { mean: Tensor::zeros([length], device), square: Tensor::zeros([length], device) }
    }
}

impl AdamW {
    /// A new optimiser without moments.
    ///
    /// # Errors
    /// A value that is not possible.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.check()?;
        let pattern = |group: &ParameterGroup| glob::Pattern::new(&group.pattern).expect("checked above");
        let groups = config.groups.iter().map(|group| (pattern(group), group.clone())).collect();
        Ok(Self { config, groups, shard: Shard::WHOLE, moments: BTreeMap::new(), steps: 0 })
    }

    /// The optimiser of a rank's share of each parameter.
    #[must_use]
    pub fn with_shard(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// Share of each parameter that has moments here.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// Turns off gradients for the parameters that the groups freeze, of a model in the autodiff context. They need no
    /// memory for gradients or moments, and their values stay bit-identical.
    ///
    /// # Errors
    /// A pattern that freezes nothing, or groups that leave nothing to train.
    pub fn freeze<M: Module>(&self, model: M) -> Result<M> {
        let frozen = self.frozen(&parameters::names(&model))?;
        let model = parameters::set_trained(model, &|name, was| was && !frozen.contains(name));
        match parameters::count_trained(&model) {
            0 => Err(Error::Config("optimizer.group: all parameters are frozen; leave some to train".into())),
            _ => Ok(model),
        }
    }

    /// Makes the moments of a model that is about to be trained, as far as they are not there: each parameter's, or this rank's
    /// share of it. [`AdamW::step`] makes those that it misses; they stay in pieces of the memory that the first passes gave back, and
    /// divide it.
    pub fn prepare<M: Module>(&mut self, model: &M) {
        parameters::visit(model, &mut Prepare(self));
    }

    /// The subset of `names` that the groups freeze.
    ///
    /// # Errors
    /// A pattern that freezes nothing.
    pub fn frozen(&self, names: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let freezes = |group: &ParameterGroup| group.learning_rate_scale == 0.0;
        for (pattern, _) in self.groups.iter().filter(|(_, group)| freezes(group)) {
            if !names.iter().any(|name| pattern.matches(name)) {
                let example = names.first().map(String::as_str).unwrap_or_default();
                return Err(Error::Config(format!(
                    "optimizer.group.pattern: {:?} freezes nothing; parameters are named like {example:?}",
                    pattern.as_str()
                )));
            }
        }
        Ok(names.iter().filter(|name| self.group(name).is_some_and(freezes)).cloned().collect())
    }

    /// The settings.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Updates the parameters with the gradients, clipped to the global norm; returns the norm before clipping.
    ///
    /// # Errors
    /// Gradients that are not finite, or over nothing; no parameter is changed.
    pub fn step<M: Module>(&mut self, model: M, gradients: GradientSum, learning_rate: f64) -> Result<(M, f64)> {
        let (update, norm) = self.begin(gradients, learning_rate)?;
        Ok((parameters::map(model, &mut Apply { optimizer: self, update }), norm))
    }

    /// As [`AdamW::step`], of this rank's share alone, with its share of the gradients. Returns arrays for the new values of each
    /// trained parameter by name, of which this rank's share is there. The values in the model are the old ones until [`assign`]
    /// replaces them.
    ///
    /// # Errors
    /// As [`AdamW::step`].
    pub fn step_share<M: Module>(
        &mut self,
        model: &M,
        gradients: GradientSum,
        learning_rate: f64,
    ) -> Result<(BTreeMap<String, HostArray>, f64)> {
        let (update, norm) = self.begin(gradients, learning_rate)?;
        let mut visitor = ApplyShare { optimizer: self, update, arrays: BTreeMap::new() };
        parameters::visit(model, &mut visitor);
        Ok((visitor.arrays, norm))
    }

    /// Begins a step; returns it with the norm of the gradients.
    fn begin(&mut self, gradients: GradientSum, learning_rate: f64) -> Result<(Update, f64)> {
        if gradients.is_empty() {
            return Err(Error::Training(format!("step {}: the batch has nothing to learn from", self.steps + 1)));
        }
        let (norm, count) = (gradients.norm(), gradients.count());
        if !norm.is_finite() {
            return Err(Error::Training(format!(
                "the gradients' norm is {norm} at step {}; lower optimizer.learning_rate or look at the rewards",
                self.steps + 1
            )));
        }
        let limit = self.config.max_grad_norm;
        let scale = if limit > 0.0 && norm > limit { limit / (norm + 1e-6) } else { 1.0 } / count;
        self.steps += 1;
        Ok((Update { gradients: gradients.sums, scale, learning_rate }, norm))
    }

    /// The number of steps, and the state by name for a checkpoint: `{name}.mean` and `{name}.square`, flat, which are the
    /// optimiser's own memory until its next step. A shard has its share of each; one after the other, the shares of all ranks
    /// are the state of the whole.
    pub fn state(&self) -> (u64, BTreeMap<String, Tensor<1>>) {
        let tensors = self.moments.iter().flat_map(|(name, moments)| {
            [(format!("{name}.mean"), moments.mean.clone()), (format!("{name}.square"), moments.square.clone())]
        });
        (self.steps, tensors.collect())
    }

    /// Restores a state of the whole; a shard keeps its share of it.
    ///
    /// # Errors
    /// A mean without its square.
    pub fn restore(&mut self, steps: u64, mut state: BTreeMap<String, TensorData>, device: &Device) -> Result<()> {
        self.steps = steps;
        self.moments.clear();
        while let Some((name, mean)) = state.pop_first() {
            let other = |suffix: &str| format!("{}.{suffix}", name.trim_end_matches(".mean"));
            let square = state
                .remove(&other("square"))
                .filter(|_| name.ends_with(".mean"))
                .ok_or_else(|| Error::Training(format!("the optimiser's state {name} has no counterpart")))?;
            // Cut before it goes to the device, where a slice would keep the whole.
            let share = |data: TensorData| {
                let values: Vec<f32> = data.try_into_vec().expect("moments are of 32 bits");
                let own = self.shard.range(values.len());
                (!own.is_empty()).then(|| Tensor::from_data(&values[own], device))
            };
            let Some((mean, square)) = share(mean).zip(share(square)) else { continue };
            self.moments.insert(name.trim_end_matches(".mean").to_string(), Moments { mean, square });
        }
        Ok(())
    }

    fn group(&self, name: &str) -> Option<&ParameterGroup> {
        self.groups.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, group)| group)
    }
}

/// A step that has begun.
struct Update {
    gradients: BTreeMap<String, Tensor<1>>,
    /// Factor of the gradients.
    scale: f64,
    learning_rate: f64,
}

impl Update {
    /// True if the step changes a parameter: it has a gradient, and its group learns.
    fn changes(&self, optimizer: &AdamW, name: &str) -> bool {
        self.gradients.contains_key(name) && self.learning_rate_of(optimizer.group(name)) != 0.0
    }

    fn learning_rate_of(&self, group: Option<&ParameterGroup>) -> f64 {
        self.learning_rate * group.map_or(1.0, |group| group.learning_rate_scale)
    }

    /// New values of a parameter of `dimensions` dimensions that the step changes, from its flat values or a share of them.
    fn values(&mut self, optimizer: &mut AdamW, name: &str, dimensions: usize, flat: Tensor<1>) -> Tensor<1> {
        let gradient = self.gradients.remove(name).expect("a parameter that the step changes has a gradient");
        let group = optimizer.group(name);
        let config = &optimizer.config;
        let decay = if dimensions >= 2 { config.weight_decay } else { 0.0 };
        let step = ops::AdamWStep {
            lr: self.learning_rate_of(group),
            beta1: config.betas.0,
            beta2: config.betas.1,
            eps: config.eps,
            weight_decay: group.and_then(|group| group.weight_decay).unwrap_or(decay),
            step: optimizer.steps,
            gradient_scale: self.scale,
        };
        let zeros = || Moments::zeros(gradient.dims()[0], &gradient.device());
        let moments = optimizer.moments.remove(name).unwrap_or_else(zeros);
        let (values, mean, square) = adamw_step(flat, gradient, moments.mean, moments.square, &step);
        optimizer.moments.insert(name.to_string(), Moments { mean, square });
        values
    }
}

struct Prepare<'a>(&'a mut AdamW);

impl parameters::Visit for Prepare<'_> {
    fn parameter<const D: usize>(&mut self, name: String, param: &Param<Tensor<D>>) {
        let Self(optimizer) = self;
        let value = param.val();
        let own = optimizer.shard.range(value.shape().num_elements());
        if value.is_require_grad() && !own.is_empty() {
            let zeros = || Moments::zeros(own.len(), &value.device().inner());
            optimizer.moments.entry(name).or_insert_with(zeros);
        }
    }
}

struct Apply<'a> {
    optimizer: &'a mut AdamW,
    update: Update,
}

impl parameters::Map for Apply<'_> {
    fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.update.changes(self.optimizer, &name) {
            return param;
        }
        parameters::map_flat(param, |flat| self.update.values(self.optimizer, &name, D, flat))
    }
}

struct ApplyShare<'a> {
    optimizer: &'a mut AdamW,
    update: Update,
    arrays: BTreeMap<String, HostArray>,
}

impl parameters::Visit for ApplyShare<'_> {
    fn parameter<const D: usize>(&mut self, name: String, param: &Param<Tensor<D>>) {
        let value = param.val();
        if !value.is_require_grad() {
            return;
        }
        let (length, device) = (value.shape().num_elements(), value.device().inner());
        let mut array = HostArray::new(length, &device);
        let own = self.optimizer.shard.range(length);
        if !own.is_empty() {
            let mut values = value.inner().reshape([length]).slice(own.clone());
            if self.update.changes(self.optimizer, &name) {
                values = self.update.values(self.optimizer, &name, D, values);
            }
            array[own].copy_from_slice(&HostArray::of(values));
        }
        self.arrays.insert(name, array);
    }
}

/// Replaces the values of parameters by flat ones of the same lengths.
#[must_use]
pub fn assign<M: Module>(model: M, values: BTreeMap<String, Tensor<1>>) -> M {
    struct Assign(BTreeMap<String, Tensor<1>>);
    impl parameters::Map for Assign {
        fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0.remove(&name) {
                Some(values) => parameters::map_flat(param, |_| values),
                None => param,
            }
        }
    }
    parameters::map(model, &mut Assign(values))
}
