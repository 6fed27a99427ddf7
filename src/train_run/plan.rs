//! Preview of a run: its plan, from formulae and for text from a few measured steps, and its rows.

use std::fmt;
use std::time::{Duration, Instant};

use palestra_envs::Registry;
use serde::Serialize;

use super::TrainOptions;
use super::open::{OpenRun, cores, open_run};
use super::parts::{self, Parts};
use crate::agent::{Agent, AgentSpec};
use crate::config::{RunFile, TrainConfig};
use crate::model_dir::base_directory;
use crate::plan::{Extent, Network, Outline, Parameters, Plan};
use crate::{Error, Result};
use palestra_learn::batch::TextRow;
use palestra_learn::collective::Alone;
use palestra_learn::learners::{AnyConfig, batch_gradients};
use palestra_learn::source::{TextConfig, TextSource, Texts};
use palestra_model::ops::{open_device, set_threads};
use palestra_model::optim::{AdamW, OptimizerConfig};
use palestra_model::{KvCache, ModelConfig, read_config};
use palestra_text::Tokenizer;

/// Maximum number of measured steps, after one warm-up step.
const STEPS: u32 = 5;
/// Time after which no further step is measured.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// Runs of fewer steps begin without measuring: they end soon.
const SHORT: u64 = 100;

/// Devices to plan for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hardware {
    /// Number of devices.
    pub devices: u64,
    /// FLOP/s that each device achieves in training.
    pub flops_per_second: f64,
    /// Network between the devices, if its time is to be counted.
    pub network: Option<Network>,
}

/// Plan of a run of any kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RunPlan {
    /// A run on text, whose tokens are known.
    Text(Plan),
    /// Another run.
    Other(Outline),
}

impl fmt::Display for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(plan) => plan.fmt(f),
            Self::Other(outline) => outline.fmt(f),
        }
    }
}

/// Plans a run: for some hardware if it learns from text, or on the run's own device, where the speed of a run on text is
/// measured.
///
/// # Errors
/// Hardware for a run that does not learn from text; an unknown vocabulary size; any reason to refuse the run itself.
pub fn plan_run(run: RunFile, registry: &Registry, hardware: Option<Hardware>) -> Result<RunPlan> {
    match hardware {
        Some(hardware) => Ok(RunPlan::Text(plan_for(&run.resolve(registry)?, hardware)?)),
        None if run.text.is_some() => {
            let (agent, mut source, window) = text_source(run.resolve(registry)?, registry)?;
            Ok(RunPlan::Text(plan(&agent, &mut source, window)?))
        }
        None => Ok(RunPlan::Other(outline(&open_run(run, registry, &TrainOptions::default(), &Alone)?.agent.spec)?)),
    }
}

/// Plans a run on text for hardware that need not be there. The model is not read, but for its configuration.
fn plan_for(run: &RunFile, hardware: Hardware) -> Result<Plan> {
    let Hardware { devices, flops_per_second, network } = hardware;
    let text = text_of(run)?;
    let shape = match &run.start_from {
        Some(directory) => read_config(&base_directory(directory)?)?,
        None => run.model.clone().unwrap_or_default(),
    };
    let vocab_size = match (shape.vocab_size, &text.tokenizer) {
        (0, Some(tokenizer)) => Tokenizer::from_file(tokenizer)?.vocab_size(),
        (0, None) => {
            return Err(Error::Config(
                "model.vocab_size: 0 is taken from a tokenizer, and text.tokenizer names none; \
                                      write how many tokens there are"
                    .into(),
            ));
        }
        (size, _) => size,
    };
    let config = shape.resolve(vocab_size)?;
    let window = text.window_of(config.context)?;
    // Each device computes its part of a step's windows.
    let part = text.batch.div_ceil(devices as usize);
    let micro_batch = if text.micro_batch == 0 { part } else { text.micro_batch.min(part) };
    let steps = run.train.updates * text.steps as u64;
    let extent = Extent { devices, ..extent_of(&run.train, steps, window, text.batch, micro_batch) };
    let plan = Plan::new(&config, counted(run, &config)?, extent, Some(flops_per_second));
    Ok(match network {
        Some(network) => plan.over(network),
        None => plan,
    })
}

/// Outline of a run that does not learn from text.
fn outline(agent: &AgentSpec) -> Result<Outline> {
    let (run, config) = (&agent.run, &agent.model);
    let whole = |micro_batch: usize, batch: usize| if micro_batch == 0 { batch } else { micro_batch };
    let (rows, window) = match &run.learner.config {
        AnyConfig::Play(learner) => {
            let learner = learner.build(run.rollout.sampling.temperature, run.rollout.max_new_tokens)?;
            (learner.passes().micro_batch, config.context)
        }
        AnyConfig::Log(_) => {
            let data = run.data.clone().unwrap_or_default();
            (whole(data.micro_batch, data.batch), config.context)
        }
        AnyConfig::Preferences(_) => {
            let preferences = run.preferences.clone().unwrap_or_default();
            (preferences.answers_per_pass(), preferences.window_of(config.context)?)
        }
        AnyConfig::Text(_) => return Err(Error::Config(format!("{}: it learns from text", run.name))),
    };
    let extent = extent_of(&run.train, 0, window, rows, rows);
    let counted = counted(run, config)?;
    let mut outline = Outline::new(run.learner.name, config, counted, run.train.updates, extent);
    if let AnyConfig::Play(_) = &run.learner.config {
        let texts = run.rollout.rows.unwrap_or(run.rollout.environments);
        outline.episodes_per_update = run.rollout.episodes as u64;
        outline.keys_and_values = KvCache::bytes(config, texts, config.context);
        outline.reference = if parts::has_reference_model(agent) { outline.memory.weights } else { 0 };
    }
    Ok(outline)
}

/// Checks a run as if it began: everything is read, and nothing is learned or written.
///
/// # Errors
/// As [`train_run`](super::train_run) before its first update.
pub fn dry_run(run: RunFile, registry: &Registry, options: &TrainOptions) -> Result<RunPlan> {
    let OpenRun { agent, parts, .. } = open_run(run, registry, options, &Alone)?;
    match parts {
        Parts::Text(_, mut source, _) => {
            let text = text_of(&agent.spec.run)?;
            let window = text.window_of(agent.spec.model.context)?;
            Ok(RunPlan::Text(plan_at_start(&agent, &mut source, window)?))
        }
        _ => Ok(RunPlan::Other(outline(&agent.spec)?)),
    }
}

/// Rows of the first steps of a run on text, step by step, and the tokenizer that they were encoded by.
///
/// # Errors
/// A run that learns from other data; any reason to refuse the run itself.
pub fn rows_of_run(run: RunFile, registry: &Registry, steps: u64) -> Result<(Vec<Vec<TextRow>>, Tokenizer)> {
    let (agent, mut source, _) = text_source(run.resolve(registry)?, registry)?;
    let steps = (0..steps).map(|_| source.next_rows()).collect::<Result<_, palestra_learn::Error>>()?;
    Ok((steps, agent.spec.tokenizer))
}

/// Text section of a resolved run.
fn text_of(run: &RunFile) -> Result<TextConfig> {
    run.text.clone().ok_or_else(|| not_of_text(run))
}

fn not_of_text(run: &RunFile) -> Error {
    let reason = format!("this needs a run on [text], and this is one of [{}]", run.learner.name);
    Error::Config(format!("{}: {reason}", run.name))
}

/// Agent, source and tokens per window of a run on text.
fn text_source(mut run: RunFile, registry: &Registry) -> Result<(Agent, TextSource, usize)> {
    let text = text_of(&run)?;
    let device = open_device(&run.device).map_err(Error::Device)?;
    set_threads(*run.train.threads.get_or_insert_with(cores));
    let mut agent = Agent::new(run, registry, None, &device)?;
    let window = text.window_of(agent.spec.model.context)?;
    let texts = Texts::open(&text, &agent.spec.tokenizer, agent.spec.chat_template()?.as_ref(), window)?;
    let steps = text.steps;
    let source = TextSource::new(&texts, text, window, agent.spec.run.seed, device.autodiff())?;
    agent.spec.run.train.resolve_epochs(source.steps_per_epoch(), steps);
    Ok((agent, source, window))
}

/// Plans a run at its beginning. A few steps of a long run are computed to measure them, and discarded.
pub(super) fn plan_at_start(agent: &Agent, source: &mut TextSource, window: usize) -> Result<Plan> {
    let extent = extent(&agent.spec.run, window);
    match extent.steps < SHORT {
        true => {
            let config = &agent.spec.model;
            Ok(Plan::new(config, counted(&agent.spec.run, config)?, extent, None))
        }
        false => plan(agent, source, window),
    }
}

/// Parameters of a run's model, and those that it trains.
fn counted(run: &RunFile, config: &ModelConfig) -> Result<Parameters> {
    let optimizer = AdamW::new(run.optimizer.clone())?;
    Parameters::count(config, run.lora.as_ref(), run.train.precision, |names| Ok(optimizer.frozen(names)?))
}

fn extent(run: &RunFile, window: usize) -> Extent {
    let text = run.text.as_ref().expect("a run on text");
    let micro_batch = if text.micro_batch == 0 { text.batch } else { text.micro_batch };
    let steps = run.train.updates * text.steps as u64;
    extent_of(&run.train, steps, window, text.batch, micro_batch)
}

/// Extent of training on one device.
fn extent_of(train: &TrainConfig, steps: u64, window: usize, batch: usize, micro_batch: usize) -> Extent {
    let TrainConfig { gradient_checkpointing, precision, sharding, .. } = *train;
    Extent { steps, window, batch, micro_batch, gradient_checkpointing, precision, devices: 1, sharding }
}

fn plan(agent: &Agent, source: &mut TextSource, window: usize) -> Result<Plan> {
    let (config, extent) = (&agent.spec.model, extent(&agent.spec.run, window));
    let counted = counted(&agent.spec.run, config)?;
    let unmeasured = Plan::new(config, counted, extent, None);
    let seconds = seconds_of_a_step(agent, source)?;
    let flops_per_second = unmeasured.flops_per_token * unmeasured.tokens_per_step as f64 / seconds;
    Ok(Plan::new(config, counted, extent, Some(flops_per_second)))
}

fn seconds_of_a_step(Agent { spec, policy }: &Agent, source: &mut TextSource) -> Result<f64> {
    let AnyConfig::Text(config) = &spec.run.learner.config else { return Err(not_of_text(&spec.run)) };
    let learner = config.build();
    let mut model = AdamW::new(spec.run.optimizer.clone())?.freeze(spec.trained(policy.clone()))?;
    let mut optimizer = AdamW::new(OptimizerConfig::default())?;
    let (mut began, mut measured) = (Instant::now(), 0);
    for step in 0..=STEPS {
        let (gradients, _) = batch_gradients(&learner, &model, source.next_parts(&Alone)?);
        // The norm of the gradients is read from the device, so the step is complete when the call returns.
        (model, _) = optimizer.step(model, gradients, 1e-9)?;
        if step == 0 {
            began = Instant::now();
        } else {
            measured += 1;
            if began.elapsed() > LONG_ENOUGH {
                break;
            }
        }
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(measured))
}
