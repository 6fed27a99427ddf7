//! AdamW with parameter groups, global-norm clipping and a learning-rate schedule.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use crate::ops::{self, adamw_step};
use crate::parameters;
use crate::{Error, Result};

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

/// Sum of the gradients of one step by parameter name, flat: over the parts of a batch, and over the ranks of a run.
#[derive(Default)]
pub struct GradientSum {
    sums: BTreeMap<String, Tensor<1>>,
    /// Count that the sums are over.
    count: f64,
    /// Square of the sums' norm, once it was read off the device.
    squared_norm: Option<f32>,
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

    /// Length of each gradient.
    pub fn lengths(&self) -> BTreeMap<String, usize> {
        self.sums.iter().map(|(name, gradient)| (name.clone(), gradient.dims()[0])).collect()
    }

    /// Replaces the sums by what `reduce` makes of them, and the count by `count`. `reduce` gets the gradients of these
    /// names and lengths one after the other, zeros for those that there are none of, in buckets of at most `bucket` values
    /// or one gradient.
    ///
    /// # Errors
    /// As `reduce`.
    pub fn reduce<E>(
        &mut self,
        lengths: &BTreeMap<String, usize>,
        count: f64,
        bucket: usize,
        device: &Device,
        reduce: &mut dyn FnMut(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        (self.squared_norm, self.count) = (None, count);
        let mut left = lengths.iter().peekable();
        while left.peek().is_some() {
            let mut names = Vec::new();
            let mut values: Vec<f32> = Vec::new();
            while let Some((name, &length)) =
                left.next_if(|(_, length)| values.is_empty() || values.len() + **length <= bucket)
            {
                match self.sums.remove(name) {
                    Some(gradient) => {
                        let own: Vec<f32> = gradient.into_data().try_into_vec().expect("gradients are of 32 bits");
                        values.extend(own);
                    }
                    None => values.resize(values.len() + length, 0.0),
                }
                names.push((name, length));
            }
            reduce(&mut values)?;
            let mut rest = &values[..];
            for (name, length) in names {
                let (own, after) = rest.split_at(length);
                self.sums.insert(name.clone(), Tensor::from_data(TensorData::new(own.to_vec(), [length]), device));
                rest = after;
            }
        }
        Ok(())
    }

    /// True if the sums are over nothing: no part of the batch had anything to learn from.
    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Global norm of the gradients.
    pub fn norm(&self) -> f64 {
        let square =
            self.squared_norm.unwrap_or_else(|| self.square().into_iter().map(Tensor::into_scalar::<f32>).sum());
        f64::from(square).sqrt() / self.count
    }

    /// Reads numbers, `[n]`, off the device together with the norm of the gradients, which [`Self::norm`] then need not read.
    pub fn read_with(&mut self, numbers: Vec<Tensor<1>>) -> Vec<f32> {
        let all: Vec<Tensor<1>> = numbers.into_iter().map(Tensor::inner).chain(self.square()).collect();
        if all.is_empty() {
            return Vec::new();
        }
        let mut values: Vec<f32> = Tensor::cat(all, 0).into_data().iter().collect();
        self.squared_norm = if self.sums.is_empty() { Some(0.0) } else { values.pop() };
        values
    }

    /// Square of the global norm of the sums, `[1]`, on the device; `None` without gradients.
    fn square(&self) -> Option<Tensor<1>> {
        let squares: Vec<Tensor<1>> = self.sums.values().map(|gradient| gradient.clone().square().sum()).collect();
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

/// AdamW ([Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101)).
pub struct AdamW {
    config: OptimizerConfig,
    groups: Vec<(glob::Pattern, ParameterGroup)>,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

/// Running means of a parameter's gradient and of its square, flat.
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
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
        Ok(Self { config, groups, moments: BTreeMap::new(), steps: 0 })
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
        if gradients.is_empty() {
            return Err(Error::Training(format!("step {}: the batch has nothing to learn from", self.steps + 1)));
        }
        let (norm, count) = (gradients.norm(), gradients.count);
        if !norm.is_finite() {
            return Err(Error::Training(format!(
                "the gradients' norm is {norm} at step {}; lower optimizer.learning_rate or look at the rewards",
                self.steps + 1
            )));
        }
        let limit = self.config.max_grad_norm;
        let scale = if limit > 0.0 && norm > limit { limit / (norm + 1e-6) } else { 1.0 } / count;
        self.steps += 1;
        let mut mapper = Apply { optimizer: self, gradients: gradients.sums, scale, learning_rate };
        Ok((parameters::map(model, &mut mapper), norm))
    }

    /// The number of steps, and the state by name for a checkpoint: `{name}.mean` and `{name}.square`.
    pub fn state(&self) -> (u64, BTreeMap<String, TensorData>) {
        let tensors = self.moments.iter().flat_map(|(name, moments)| {
            [(format!("{name}.mean"), moments.mean.to_data()), (format!("{name}.square"), moments.square.to_data())]
        });
        (self.steps, tensors.collect())
    }

    /// Restores a state of [`AdamW::state`].
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
            let [mean, square] = [mean, square].map(|data| Tensor::from_data(data, device));
            self.moments.insert(name.trim_end_matches(".mean").to_string(), Moments { mean, square });
        }
        Ok(())
    }

    fn group(&self, name: &str) -> Option<&ParameterGroup> {
        self.groups.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, group)| group)
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

struct Apply<'a> {
    optimizer: &'a mut AdamW,
    gradients: BTreeMap<String, Tensor<1>>,
    scale: f64,
    learning_rate: f64,
}

impl parameters::Map for Apply<'_> {
    fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mut gradient) = self.gradients.remove(&name) else { return param };
        let group = self.optimizer.group(&name);
        let learning_rate = self.learning_rate * group.map_or(1.0, |group| group.learning_rate_scale);
        if learning_rate == 0.0 {
            return param;
        }
        if self.scale != 1.0 {
            gradient = gradient.mul_scalar(self.scale);
        }
        let decay = if D >= 2 { self.optimizer.config.weight_decay } else { 0.0 };
        let config = &self.optimizer.config;
        let step = ops::AdamWStep {
            lr: learning_rate,
            beta1: config.betas.0,
            beta2: config.betas.1,
            eps: config.eps,
            weight_decay: group.and_then(|group| group.weight_decay).unwrap_or(decay),
            step: self.optimizer.steps,
        };
        let moments = self
            .optimizer
            .moments
            .remove(&name)
            .unwrap_or_else(|| Moments { mean: gradient.zeros_like(), square: gradient.zeros_like() });
        let (id, value, mapper) = param.consume();
        let (shape, trains) = (value.dims(), value.is_require_grad());
        let flat = value.inner().reshape([shape.iter().product::<usize>()]);
        let (flat, mean, square) = adamw_step(flat, gradient, moments.mean, moments.square, &step);
        self.optimizer.moments.insert(name, Moments { mean, square });
        let value = Tensor::from_inner(flat.reshape(shape)).set_require_grad(trains);
        Param::from_mapped_value(id, value, mapper)
    }
}
