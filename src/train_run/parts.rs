//! Parts that a run puts together for its kind of data: a learner, its source of batches, and held-out data.

use palestra_datasets::End;
use palestra_datasets::log::{Log, Outcome};
use palestra_envs::Registry;
use palestra_learn::learners::offline::OfflineLearner;
use palestra_learn::learners::{AnyConfig, LearnsFromLog, OnPolicy, TextLearner, TruncatedEpisodes};
use palestra_learn::rollout::{RolloutConfig, Schedule};
use palestra_learn::source::{
    Chunking, DataConfig, OnPolicySource, ReferencePolicy, ReplaySource, Selection, TextSource, Texts, least_of_best,
};
use palestra_model::{Device, KvCache};

use super::held_out::HeldOutText;
use super::plan;
use super::preferences::{self, OpenPreferences};
use crate::agent::{Agent, AgentSpec};
use crate::{Error, Result, reward};

/// Learner and data of a run, opened and checked.
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub(super) enum Parts {
    /// Learns from its own rollouts.
    Play(Box<dyn OnPolicy>, OnPolicySource),
    /// Learns from a log.
    Log(OfflineLearner, ReplaySource),
    /// Learns from text.
    Text(TextLearner, TextSource, HeldOutText),
    /// Learns from preferences. Its source needs the run's directory, which may keep log-probabilities.
    Preferences(OpenPreferences),
}

/// A log, and the outcomes of its episodes.
pub(super) struct LoggedData {
    pub log: Log,
    pub outcomes: Vec<Outcome>,
}

impl LoggedData {
    /// Returns of the episodes that a learner reads of this data, if it uses truncated ones in this way.
    pub fn returns(&self, data: &DataConfig, truncated: TruncatedEpisodes) -> Vec<f64> {
        let is_used = |outcome: &&Outcome| {
            (data.split.is_none() || outcome.split == data.split)
                && (truncated != TruncatedEpisodes::LeaveOut || outcome.end == Some(End::Terminated))
        };
        self.outcomes.iter().filter(is_used).map(|outcome| outcome.total_reward).collect()
    }
}

impl Parts {
    /// Opens the data of an agent's run, and reads the first of it, so that what cannot be used is refused before
    /// anything is written. `device` is that of the batches, in the autodiff context of the model.
    pub fn open(agent: &mut Agent, registry: &Registry, logged: Option<LoggedData>, device: &Device) -> Result<Self> {
        let run = agent.spec.run.clone();
        tell_chat_date(&agent.spec)?;
        match &run.learner.config {
            AnyConfig::Play(config) => {
                let learner = config.build(run.rollout.sampling.temperature, run.rollout.max_new_tokens)?;
                Ok(Self::Play(learner, rollouts(agent, registry, device)?))
            }
            AnyConfig::Log(config) => {
                let (data, logged) = run.data.clone().zip(logged).ok_or_else(|| missing("data"))?;
                let selection = selection(&agent.spec, &**config, &data, &logged)?;
                let mut source = ReplaySource::new(logged.log, selection, data, run.seed, device.clone());
                source.try_out()?;
                Ok(Self::Log(config.build(), source))
            }
            AnyConfig::Text(config) => {
                let text = run.text.clone().ok_or_else(|| missing("text"))?;
                let window = text.window_of(agent.spec.model.context)?;
                let texts = Texts::open(&text, &agent.spec.tokenizer, agent.spec.chat_template()?.as_ref(), window)?;
                if let Some(counts) = texts.counts() {
                    tracing::info!("{}: {counts}", run.name);
                }
                let held_out = HeldOutText::new(&texts, &text, window, &agent.spec)?;
                let source = || TextSource::new(&texts, text.clone(), window, run.seed, device.clone());
                let mut planned = source()?;
                agent.spec.run.train.resolve_epochs(planned.steps_per_epoch(), text.steps);
                tracing::info!("{}: the plan\n{}", run.name, plan::plan_at_start(agent, &mut planned, window)?);
                Ok(Self::Text(config.build(), source()?, held_out))
            }
            AnyConfig::Preferences(config) => {
                let section = run.preferences.clone().ok_or_else(|| missing("preferences"))?;
                Ok(Self::Preferences(preferences::open(&mut agent.spec, config, section)?))
            }
        }
    }
}

/// Tells the date that the chat template writes into every conversation, if the run has conversations.
fn tell_chat_date(agent: &AgentSpec) -> Result<()> {
    let run = &agent.run;
    let is_used = run.text.is_some() || run.preferences.is_some() || run.rollout.chat;
    if let Some(date) = agent.chat_template()?.filter(|_| is_used).and_then(|template| template.date()) {
        tracing::info!("{}: the chat template asks for today's date and is told {date} (chat_date)", run.name);
    }
    Ok(())
}

/// Rollouts that a run learns from.
fn rollouts(Agent { spec, policy }: &Agent, registry: &Registry, device: &Device) -> Result<OnPolicySource> {
    let run = &spec.run;
    let mut rollout = spec.rollout(registry, run.rollout.environments)?;
    // Reads the first state, so that a model that cannot read it is refused before anything is written.
    rollout.try_out(policy)?;
    tell_rollouts(spec, rollout.config());
    let reference = match has_reference_model(spec) {
        true => ReferencePolicy::Policy(Box::new(policy.clone().frozen())),
        false if measures_divergence(spec) => ReferencePolicy::WithoutAdapters,
        false => ReferencePolicy::None,
    };
    Ok(OnPolicySource::new(rollout, run.seed, device.clone(), reference))
}

fn measures_divergence(agent: &AgentSpec) -> bool {
    let run = &agent.run;
    let measured = run.rollout.measure_kl.unwrap_or_else(|| run.all_rewards().any(reward::is_learned));
    measured || run.learner.config.kl_coefficient() > 0.0
}

/// True if rollouts are compared with a second model: without adapters the starting policy is one.
pub(super) fn has_reference_model(agent: &AgentSpec) -> bool {
    measures_divergence(agent) && agent.run.lora.is_none()
}

/// Tells what is not as a person expects of a run: much memory, and bits that differ from run to run.
fn tell_rollouts(agent: &AgentSpec, config: &RolloutConfig) {
    /// Bytes of keys and values from which they are told.
    const MUCH: u64 = 1 << 28;
    let model = &agent.model;
    let rows = config.rows.unwrap_or(config.environments);
    let bytes = KvCache::bytes(model, rows, model.context);
    if bytes >= MUCH {
        let bytes = palestra_display::bytes(bytes);
        tracing::info!(
            "{}: keys and values of {rows} texts at once take up to {bytes}; fewer rollout.rows take less",
            agent.run.name
        );
    }
    if config.schedule == Some(Schedule::Ready) {
        tracing::info!(
            "{}: rollout.schedule = \"ready\": what is computed together depends on clocks, so that the bits of a run that \
             is repeated may differ",
            agent.run.name
        );
    }
}

/// Part of a log that a learner reads.
fn selection(
    agent: &AgentSpec,
    config: &dyn LearnsFromLog,
    data: &DataConfig,
    logged: &LoggedData,
) -> Result<Selection> {
    let truncated = config.truncated(data.truncated);
    let least_return = config.best_percent().map(|percent| least_of_best(logged.returns(data, truncated), percent));
    let DataConfig { gamma, gamma_token, .. } = *data;
    let chunking = Chunking { turns: data.chunk, gamma, gamma_token, with_next: config.bootstraps(), truncated };
    Ok(Selection { encoder: agent.encoder()?, chunking, split: data.split.clone(), least_return, resample: None })
}

/// Error of a run file that was made without [`RunFile::check`](crate::config::RunFile::check).
fn missing(section: &str) -> Error {
    Error::Config(format!("missing key `{section}`"))
}

#[cfg(test)]
mod tests {
    use palestra_datasets::log::{Columns, LogWriter, ReadOptions, WriteOptions};
    use palestra_datasets::{Episode, Turn};

    use super::*;

    #[test]
    fn the_best_are_the_best_of_the_split_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.parquet");
        let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
        let splits = [("train", 1.0, End::Terminated), ("train", 2.0, End::Truncated), ("test", 9.0, End::Terminated)];
        for (number, (split, reward, end)) in splits.into_iter().enumerate() {
            let turn = Turn { observation: "s".into(), action: "a".into(), reward, ..Turn::default() };
            let (id, split) = (format!("e{number}"), Some(split.to_string()));
            let episode = Episode { id, split, turns: vec![turn], end: Some(end), ..Episode::default() };
            writer.write(&episode).unwrap();
        }
        writer.finish().unwrap();
        let options = ReadOptions { skip_bad: false, columns: Columns::Learning };
        let log = Log::open(&[path.display().to_string()], options).unwrap();
        let logged = LoggedData { outcomes: log.outcomes().unwrap(), log };
        let returns = |split: Option<&str>, truncated| {
            logged.returns(&DataConfig { split: split.map(String::from), ..DataConfig::default() }, truncated)
        };
        assert_eq!(returns(Some("train"), TruncatedEpisodes::Bootstrap), [1.0, 2.0]);
        assert_eq!(returns(Some("train"), TruncatedEpisodes::LeaveOut), [1.0]);
        assert_eq!(returns(None, TruncatedEpisodes::Bootstrap), [1.0, 2.0, 9.0]);
    }
}
