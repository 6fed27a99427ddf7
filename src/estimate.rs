//! Off-policy evaluation: the value of a policy, estimated from a log of other policies, without playing.
//!
//! Importance sampling weights the log's episodes by how much likelier the evaluated policy is to play them. Fitted Q
//! evaluation learns the values of its actions. An estimate that the log does not support is refused, with the reason.
//! No game is played: if one is small enough, its exact value is computed in addition to an estimate.

mod critics;
pub mod importance;
mod recorded;
mod student;

use std::fmt;

use palestra_datasets::log::{Columns, Log, ReadOptions};
use palestra_envs::{Definition, Registry};
use palestra_settings::{Range, check_ranges};
use serde::Serialize;

use crate::Result;
use crate::agent::{Agent, EvaluationPolicy};
use crate::config::RunFile;
use importance::{
    Interval, OffPolicyEpisode, bootstrap, discounted_return, effective_sample_size, per_decision,
    weighted_importance_sampling, weighted_per_decision,
};
use palestra_display::decimals4;
use recorded::Recorded;

/// Method of estimation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Fitted Q evaluation ([`Fqe`](palestra_learn::learners::offline::Fqe)). It needs no log-probabilities. Its value is that of
    /// the game without a limit of turns. Its interval says how far the critics of other such logs would differ, and
    /// not what errors they share: the values of actions that are rare in the log are guessed from those of others.
    Fqe,
    /// [Weighted importance sampling](weighted_importance_sampling).
    Wis,
    /// [Per-decision importance sampling](per_decision).
    Pdis,
    /// [Consistent weighted per-decision importance sampling](weighted_per_decision).
    Cwpdis,
}

/// Settings of an off-policy evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EstimateConfig {
    /// Methods to use.
    pub methods: Vec<Method>,
    /// Discount from turn to turn, 0 to 1.
    pub gamma: f64,
    /// Temperature of the policy, which divides its logits; 0 is greedy.
    pub temperature: f32,
    /// Probability that the evaluated policy plays a random legal action instead.
    pub epsilon: f64,
    /// Number of bootstrap resamples, at least 1.
    pub resamples: usize,
    /// Confidence level of the intervals, between 0 and 1.
    pub confidence: f64,
    /// Seed of the resamples, and of the critics of fitted Q evaluation.
    pub seed: u64,
    /// Least effective sample size of importance sampling; `None`: 10, or a hundredth of the episodes if that is more.
    pub least_effective: Option<f64>,
    /// Training of the critics.
    pub fqe: FqeConfig,
}

/// Training of the critics of fitted Q evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct FqeConfig {
    /// Number of critics, at least 1. Each learns from a resample of the log's episodes, so that they differ as much as
    /// estimates from other logs would ([Hao et al. 2021](https://arxiv.org/abs/2102.03607)). A single critic learns
    /// from the log itself, and its interval is only that of the first states.
    pub critics: usize,
    /// Optimiser steps of each critic, at least 1.
    pub steps: usize,
    /// Turns per step, at least 1.
    pub batch: usize,
    /// Initial learning rate, which falls linearly to 0.
    pub learning_rate: f64,
    /// Polyak coefficient: how far the target head moves toward the head at each step.
    pub polyak: f64,
}

/// Report of an off-policy evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimateReport {
    /// Name of the run whose policy is evaluated.
    pub policy: String,
    /// Temperature of the policy, which divides its logits.
    pub temperature: f32,
    /// Probability that it plays a random legal action.
    pub epsilon: f64,
    /// Discount from turn to turn.
    pub gamma: f64,
    /// Confidence level of the intervals.
    pub confidence: f64,
    /// Number of finished episodes in the log.
    pub episodes: usize,
    /// Number of their turns.
    pub turns: usize,
    /// Number of episodes that were cut off while they ran, and are left out.
    pub cut: usize,
    /// Mean discounted return of the log: the value of the policies that played.
    pub logged: Value,
    /// Estimates, one for each requested method.
    pub estimates: Vec<Estimate>,
    /// Exact value of the evaluated policy, if the log's environment is known and small enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<f64>,
}

/// Result of one method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The method.
    pub method: Method,
    /// Estimate, or the reason why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Outcome of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// An estimate.
    Estimated(Value),
    /// No estimate: the log does not support one.
    Refused {
        /// Reason for the refusal.
        refused: String,
    },
}

/// An estimated value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Value {
    /// The estimate.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Number of resamples that the interval is based on.
    pub resamples: usize,
    /// Effective sample size: how many episodes of the evaluated policy's own the log is worth
    /// ([`effective_sample_size`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_sample_size: Option<f64>,
}

impl Default for EstimateConfig {
    fn default() -> Self {
        Self {
            methods: Method::ALL.to_vec(),
            gamma: 0.99,
            temperature: 1.0,
            epsilon: 0.0,
            resamples: 1000,
            confidence: 0.95,
            seed: 0,
            least_effective: None,
            fqe: FqeConfig::default(),
        }
    }
}

impl Default for FqeConfig {
    fn default() -> Self {
        Self { critics: 5, steps: 1500, batch: 128, learning_rate: 2e-3, polyak: 0.05 }
    }
}

/// Evaluates an agent's policy on a log: Parquet files, directories of them, or patterns.
///
/// # Errors
/// An invalid configuration, a log that cannot be read or has no finished episode, or episodes that the model cannot
/// read. The failure of a single method is told in its [`Outcome`].
pub fn estimate(
    agent: &Agent,
    registry: &Registry,
    files: &[String],
    config: &EstimateConfig,
) -> Result<EstimateReport> {
    config.check()?;
    let mut policy = agent.spec.evaluation_policy(&agent.policy, config.temperature, config.epsilon)?;
    let log = Log::open(files, ReadOptions { skip_bad: false, columns: Columns::All })?;
    let recorded = Recorded::read(&log, &mut policy, config)?;
    let mut estimates = Vec::with_capacity(config.methods.len());
    for &method in &config.methods {
        let outcome = match method {
            Method::Fqe => critics::fitted(&policy, files, &recorded, config)?,
            _ => importance(method, &recorded, config),
        };
        estimates.push(Estimate { method, outcome });
    }
    let returns: Vec<f64> =
        recorded.episodes.iter().map(|episode| discounted_return(&episode.rewards, config.gamma)).collect();
    Ok(EstimateReport {
        policy: agent.spec.run.name.clone(),
        temperature: config.temperature,
        epsilon: config.epsilon,
        gamma: config.gamma,
        confidence: config.confidence,
        episodes: recorded.episodes.len(),
        turns: recorded.episodes.iter().map(|episode| episode.rewards.len()).sum(),
        cut: recorded.cut,
        logged: mean_of(&returns, config).expect("a log without episodes was refused"),
        estimates,
        exact: exact_value(&agent.spec.run, registry, &recorded, &mut policy, config.gamma)?,
    })
}

/// Outcome of a method of importance sampling.
fn importance<'a>(method: Method, recorded: &'a Recorded, config: &EstimateConfig) -> Outcome {
    if let Some(reason) = &recorded.no_ratios {
        return Outcome::refused(reason);
    }
    let episodes: Vec<&'a OffPolicyEpisode> = recorded.episodes.iter().collect();
    let count = episodes.len();
    let effective = effective_sample_size(&episodes);
    if effective == 0.0 {
        return Outcome::refused(format!("the policy would have played none of the {count} episodes"));
    }
    let least = config.least_effective.unwrap_or((0.01 * count as f64).max(10.0));
    if effective < least {
        return Outcome::refused(format!(
            "the {count} episodes are worth {effective:.1} of the policy's own (effective sample size), of at least \
             {least:.1}: it plays too differently from what was logged"
        ));
    }
    let gamma = config.gamma;
    let resample = |estimate: fn(&[&'a OffPolicyEpisode], f64) -> Option<f64>| {
        let interval =
            bootstrap(&episodes, config.resamples, config.confidence, config.seed, |sample| estimate(sample, gamma));
        Some(Value::new(estimate(&episodes, gamma)?, interval?))
    };
    let value = match method {
        Method::Wis => resample(weighted_importance_sampling),
        Method::Cwpdis => resample(weighted_per_decision),
        // A mean over episodes, so that each is read only once.
        Method::Pdis => {
            let single = |episode: &&OffPolicyEpisode| per_decision(&[*episode], gamma).expect("there is an episode");
            mean_of(&episodes.iter().map(single).collect::<Vec<_>>(), config)
        }
        Method::Fqe => unreachable!("it is no importance sampling"),
    };
    let value = value.expect("an effective sample size above 0 has an estimate");
    Outcome::Estimated(Value { effective_sample_size: Some(effective), ..value })
}

/// Mean of one number per episode, with its bootstrap interval.
fn mean_of(values: &[f64], config: &EstimateConfig) -> Option<Value> {
    let mean = |sample: &[f64]| Some(sample.iter().sum::<f64>() / sample.len() as f64);
    let interval = bootstrap(values, config.resamples, config.confidence, config.seed, mean)?;
    Some(Value::new(mean(values)?, interval))
}

/// Exact value in the environment that the log names, or in the run's if that is the log's.
fn exact_value(
    run: &RunFile,
    registry: &Registry,
    recorded: &Recorded,
    policy: &mut EvaluationPolicy,
    gamma: f64,
) -> Result<Option<f64>> {
    let Some((env_id, spec)) = &recorded.environment else { return Ok(None) };
    let told = spec.as_ref().and_then(|spec| serde_json::from_str::<Definition>(spec).ok());
    let Some(definition) = told.or_else(|| run.env.clone()) else { return Ok(None) };
    let is_the_logs = registry.build(&definition).is_ok_and(|env| env.spec().id == *env_id);
    if !is_the_logs {
        return Ok(None);
    }
    Ok(policy.exact_value(registry, &definition, gamma)?.map(|exact| exact.expected_return))
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 4] = [Self::Fqe, Self::Wis, Self::Pdis, Self::Cwpdis];

    /// Name of the method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fqe => "fqe",
            Self::Wis => "wis",
            Self::Pdis => "pdis",
            Self::Cwpdis => "cwpdis",
        }
    }
}

impl EstimateConfig {
    /// Checks the values that estimates are made with.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let FqeConfig { critics, steps, batch, learning_rate, polyak } = &self.fqe;
        Ok(check_ranges(
            "",
            &[
                ("gamma", &self.gamma, Range::UNIT),
                ("confidence", &self.confidence, Range::OPEN_UNIT),
                ("bootstrap", &self.resamples, Range::AT_LEAST_ONE),
                ("critics", critics, Range::AT_LEAST_ONE),
                ("steps", steps, Range::AT_LEAST_ONE),
                ("batch", batch, Range::AT_LEAST_ONE),
                ("learning_rate", learning_rate, Range::POSITIVE),
                ("polyak", polyak, Range::above_to(0.0, 1.0)),
            ],
        )?)
    }
}

impl EstimateReport {
    /// True if every method was refused.
    pub fn is_refused(&self) -> bool {
        self.estimates.iter().all(|estimate| matches!(estimate.outcome, Outcome::Refused { .. }))
    }
}

impl Outcome {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { refused: reason.into() }
    }
}

impl Value {
    fn new(value: f64, Interval { low, high, resamples }: Interval) -> Self {
        Self { value, low, high, resamples, effective_sample_size: None }
    }
}

impl fmt::Display for EstimateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, temperature, epsilon, gamma, episodes, turns, .. } = self;
        let manner = if *temperature == 0.0 { "greedy".to_string() } else { format!("temperature {temperature}") };
        write!(f, "{policy} ({manner}, epsilon {epsilon}) by {episodes} logged episodes of {turns} turns")?;
        if self.cut > 0 {
            write!(f, "; {} that were cut off are left out", self.cut)?;
        }
        writeln!(f, "\ndiscounted return, gamma {gamma}\n")?;
        let interval = format!("{} % interval", decimals4(100.0 * self.confidence));
        write!(f, "{:<8}{:>10}  {interval:^22}{:>9}", "method", "estimate", "ESS")?;
        let exact = self.exact.map_or(String::new(), |exact| format!("{exact:>10.4}"));
        writeln!(f, "{}", if exact.is_empty() { "" } else { "     exact" })?;
        for Estimate { method, outcome } in &self.estimates {
            match outcome {
                Outcome::Estimated(value) => writeln!(f, "{:<8}{value}{exact}", method.name())?,
                Outcome::Refused { refused } => writeln!(f, "{:<8}refused: {refused}", method.name())?,
            }
        }
        write!(f, "{:<8}{}", "(log)", self.logged)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, low, high, effective_sample_size, .. } = self;
        let effective = effective_sample_size.map_or("-".to_string(), |effective| format!("{effective:.1}"));
        write!(f, "{value:>10.4}  {low:>9.4} .. {high:>8.4}{effective:>9}")
    }
}
