use std::sync::atomic::AtomicBool;

use palestra_datasets::log::{Columns, EpisodePlace, Log, ReadOptions};
use palestra_envs::episode_seed;
use palestra_learn::collective::Alone;
use palestra_model::Module;

use super::recorded::{FirstState, Recorded};
use super::student::replicate_interval;
use super::{EstimateConfig, FqeConfig, Outcome, Value, mean_of};
use crate::agent::EvaluationPolicy;
use crate::{Error, Result};
use palestra_learn::batch::{Chunk, Next, TransitionBatch};
use palestra_learn::learners::TruncatedEpisodes;
use palestra_learn::learners::offline::Fqe;
use palestra_learn::source::{Chunking, DataConfig, ReplaySource, Selection, resampled_times};
use palestra_learn::train::{UpdateRange, train};
use palestra_model::optim::{AdamW, OptimizerConfig, Schedule};
use palestra_model::{Heads, Policy};

/// Number of updates of a critic. The learning rate falls after each.
const UPDATES: usize = 50;
/// States per forward pass.
const ROWS: usize = 256;

/// Outcome of fitted Q evaluation: the mean of the critics, with an interval from their spread.
pub fn fitted(
    policy: &EvaluationPolicy,
    files: &[String],
    recorded: &Recorded,
    config: &EstimateConfig,
) -> Result<Outcome> {
    if let Some(reason) = &recorded.no_values {
        return Ok(Outcome::refused(reason));
    }
    let mut means = Vec::with_capacity(config.fqe.critics);
    for critic in 0..config.fqe.critics {
        let seed = episode_seed(config.seed, critic as u64);
        let resample = (config.fqe.critics > 1).then_some(seed);
        let times = |place: EpisodePlace| resample.map_or(1, |seed| resampled_times(seed, place)) as f64;
        let drawn: f64 = recorded.begins.iter().map(|&(place, _)| times(place)).sum();
        if drawn == 0.0 {
            let count = recorded.begins.len();
            return Ok(Outcome::refused(format!(
                "{count} episodes are too few to resample; one critic alone needs none"
            )));
        }
        let values = match first_values(policy, files, recorded, config, seed, resample) {
            Err(Error::Training(reason)) => return Ok(Outcome::refused(reason)),
            values => values?,
        };
        if resample.is_none() {
            let values: Vec<f64> = recorded.begins.iter().map(|&(_, state)| values[state]).collect();
            return Ok(Outcome::Estimated(mean_of(&values, config).expect("there are episodes")));
        }
        let sum: f64 = recorded.begins.iter().map(|&(place, state)| times(place) * values[state]).sum();
        tracing::info!("critic {} of {}: {:.4}", critic + 1, config.fqe.critics, sum / drawn);
        means.push(sum / drawn);
    }
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let interval = replicate_interval(&means, config.confidence).expect("there is more than one critic");
    Ok(Outcome::Estimated(Value::new(mean, interval)))
}

/// Values of the first states under one critic.
fn first_values(
    policy: &EvaluationPolicy,
    files: &[String],
    recorded: &Recorded,
    config: &EstimateConfig,
    seed: u64,
    resample: Option<u64>,
) -> Result<Vec<f64>> {
    let FqeConfig { steps, batch, learning_rate, polyak, .. } = config.fqe;
    let evaluated = &policy.tokens.policy;
    let device = evaluated.transformer.device();
    let data = DataConfig { batch, steps: steps.div_ceil(UPDATES), ..DataConfig::default() };
    let chunking = Chunking {
        turns: data.chunk,
        gamma: config.gamma as f32,
        gamma_token: 1.0,
        with_next: true,
        truncated: TruncatedEpisodes::Whole,
    };
    let selection = Selection { encoder: policy.encoder.clone(), chunking, split: None, least_return: None, resample };
    let log = Log::open(files, ReadOptions { skip_bad: false, columns: Columns::Learning })?;
    let mut source = ReplaySource::new(log, selection, data, seed, device.clone().autodiff());
    let schedule = OptimizerConfig { learning_rate, schedule: Schedule::Linear, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(schedule)?;

    let mut learner = Fqe { evaluated: policy.tokens.clone(), polyak };
    let heads = Heads { value: false, critic: Some(Fqe::critic()) };
    let mut model = Policy::new(evaluated.transformer.config(), heads, seed, &device);
    model.transformer = evaluated.transformer.clone(); // it reads as the policy does, until it knows better
    let stop = AtomicBool::new(false);
    let updates = steps.min(UPDATES) as u64;
    let span = UpdateRange { start: 0, updates, stop: &stop };
    let model = train(&mut learner, model.train(), &mut source, &mut optimizer, &span, &Alone, |progress| {
        tracing::debug!("update {} of {updates}: {:?}", progress.done, progress.metrics);
        Ok::<(), Error>(())
    })?;

    let model = model.valid();
    let mut values = Vec::with_capacity(recorded.first_states.len());
    for states in recorded.first_states.chunks(ROWS) {
        let alone = |(prompt, allowed): &FirstState| Chunk {
            segments: Vec::new(),
            discounts: Vec::new(),
            returns: Vec::new(),
            return_discounts: Vec::new(),
            next: Next::State(prompt.clone(), allowed.clone()),
        };
        let chunks: Vec<Chunk> = states.iter().map(alone).collect();
        let batch = TransitionBatch::new(&chunks, &device);
        values.extend(learner.values(&model, &batch).into_data().iter::<f32>().map(f64::from));
    }
    Ok(values)
}
