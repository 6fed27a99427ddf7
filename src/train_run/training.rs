//! Training on rank 0: evaluation before, the updates with what is shown and saved, evaluation and report after.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use palestra_envs::{EnvSpec, Registry};
use palestra_files::write_atomically;
use palestra_learn::collective::{Collective, of_first};
use palestra_learn::learners::Learner;
use palestra_learn::sharding;
use palestra_learn::source::Source;
use palestra_learn::train::{UpdateRange, train};
use palestra_model::optim::AdamW;
use palestra_model::{Device, Module, Policy, TensorData, checkpoint};
use palestra_report::{Observer, Options, Playback, replay};

use super::TrainOptions;
use super::baselines::Baselines;
use super::best::Best;
use super::directory::{Before, Directory, resumed, snapshot};
use super::episodes::{self, SHOWN, frames, samples};
use super::guard::Guard;
use super::held_out::{HeldOut, HeldOutScore};
use super::report::{self, LogSummary, TrainReport, page};
use super::scores::{Due, Scores};
use crate::agent::Agent;
use crate::config::RunFile;
use crate::record::{Provenance, Spans};
use crate::run_dir::RunDir;
use crate::signals::stop_by;
use crate::{Error, Result};

/// A run about to begin, without the parts that depend on its kind of data.
pub(super) struct Training<'a> {
    pub agent: Agent,
    pub logged: Option<LogSummary>,
    pub directory: Directory,
    pub registry: &'a Registry,
    pub stop: Arc<AtomicBool>,
    pub device: Device,
    pub options: TrainOptions,
    pub collective: &'a dyn Collective,
}

impl Training<'_> {
    /// Trains; returns the report on rank 0.
    pub fn train<L, S>(self, learner: L, source: S, held_out: Option<HeldOut>) -> Result<Option<TrainReport>>
    where
        L: Learner<Model = Policy>,
        S: Source<L>,
    {
        match self.collective.rank() {
            0 => self.go(learner, source, held_out).map(Some),
            _ => self.follow(learner, source, held_out).map(|()| None),
        }
    }

    /// Trains on rank 0.
    fn go<L, S>(self, mut learner: L, mut source: S, mut held_out: Option<HeldOut>) -> Result<TrainReport>
    where
        L: Learner<Model = Policy>,
        S: Source<L>,
    {
        let Self { agent: start, logged, directory, registry, stop, device, options, collective } = self;
        let mut optimizer = optimizer_of(&start.run, collective)?;
        let Directory { dir, saved } = directory;
        let (agent, before) = match &saved {
            None => {
                if start.run.env.is_some() || held_out.is_some() {
                    tracing::info!("{}: evaluating the model before training", start.run.name);
                }
                let Scores { play, played, held_out } =
                    Scores::of(&start, &start.policy, registry, held_out.as_ref(), collective)?;
                let shown = if start.rewards.is_empty() { 0 } else { SHOWN };
                let shown = samples(played, &start, shown);
                (start, Before { play: play.map(|evaluation| evaluation.score), held_out, episodes: shown })
            }
            Some(saved) => resumed(start, saved, &mut learner, &mut source, &mut optimizer, &device)?,
        };
        if let Some(text) = held_out.as_mut().and_then(HeldOut::text_mut) {
            text.take_up(&dir.samples(), agent.updates)?;
        }
        let run = agent.run.clone();
        let kept = || Spans::begin(dir.experience(), agent.updates, Provenance::of(&agent, &run.rollout.sampling));
        let mut kept = run.rollout.record.then(kept).transpose()?;
        let baselines = Baselines::measure(&agent, registry, before.play.clone(), logged)?;
        if let Some(spec) = &baselines.spec {
            tell_spec(&dir, spec)?;
        }
        let observer_options = observer_options(&run, &agent, &baselines, held_out.as_ref(), &options);
        let mut observer = Observer::create(dir.path(), observer_options).map_err(Error::io(dir.path()))?;
        stop_by(&stop)?;
        let span = UpdateRange { start: agent.updates, updates: run.train.updates, stop: &stop };
        let mut done = agent.updates;
        let mut guard = Guard::default();
        let best = |metric: &String| Best::so_far(metric, &dir.metrics(), done);
        let mut best = run.train.keep_best.as_ref().map(best).transpose()?;
        let policy = optimizer.freeze(agent.trained())?;
        let model = train(&mut learner, policy, &mut source, &mut optimizer, &span, collective, |progress| {
            done = progress.done;
            let due = Due::after(done, progress.is_new, progress.is_last, &run.train);
            if progress.is_new {
                if let Some(kept) = &mut kept {
                    kept.add(done - 1, progress.source.episodes())?;
                }
                let mut metrics = progress.metrics.clone();
                guard.check(done, &metrics).iter().for_each(|warning| tracing::warn!("{}: {warning}", run.name));
                if due.evaluation {
                    observer.during("evaluating", done, || {
                        let scores = Scores::of(&agent, progress.model, registry, held_out.as_ref(), collective)?;
                        metrics.extend(scores.play.map(|it| ("evaluation/return_mean".into(), it.score.mean_return)));
                        metrics.extend(scores.held_out.iter().flat_map(HeldOutScore::metrics));
                        if let Some(text) = held_out.as_mut().and_then(HeldOut::text_mut) {
                            text.write_samples(progress.model, done, &dir.samples())?;
                        }
                        Ok::<(), Error>(())
                    })?;
                }
                observer.update(done, &metrics).map_err(Error::io(dir.path()))?;
                if let Some(best) = &mut best
                    && of_first(collective, &best.takes(&metrics))?
                {
                    observer.during("saving the best checkpoint", done, || {
                        let state = optimizer_state(progress.optimizer, collective)?;
                        checkpoint::save(&dir.best(), &snapshot(&agent, &progress, state, &before)?)?;
                        Ok::<(), Error>(checkpoint::prune(&dir.best(), 1)?)
                    })?;
                }
            }
            if due.saving {
                kept.as_mut().map_or(Ok(()), |kept| kept.end(done))?;
                observer.during("saving a checkpoint", done, || {
                    let state = optimizer_state(progress.optimizer, collective)?;
                    checkpoint::save(&dir.checkpoints(), &snapshot(&agent, &progress, state, &before)?)?;
                    Ok::<(), Error>(checkpoint::prune(&dir.checkpoints(), run.train.keep_checkpoints)?)
                })?;
                episodes::write(&dir, progress.source.episodes().into_iter().take(10))?;
            }
            let is_first = progress.is_new && done == agent.updates + 1;
            if progress.is_last || due.checkpoint || is_first {
                observer.write_report(report::so_far(&agent, done)?).map_err(Error::io(dir.report()))?;
            }
            Ok::<(), Error>(())
        })?
        .valid();
        if done < run.train.updates {
            return Err(Error::Interrupted(format!(
                "stopped after update {done} of {}; everything is saved. Go on with: palestra train {} --out {} --resume",
                run.train.updates,
                dir.run_file().display(),
                dir.path().display()
            )));
        }

        if let Some(fault) = best.as_ref().and_then(Best::fault) {
            tracing::warn!("{}: {fault}", run.name);
        }
        let best = best.and(checkpoint::latest(&dir.best())?);
        let agent = trained_agent(agent, model, done, of_first(collective, &best)?, &device)?;
        if agent.run.env.is_some() || held_out.is_some() {
            observer.say(&format!("{}: evaluating the trained model", run.name));
        }
        let Scores { play, played, held_out: after } =
            Scores::of(&agent, &agent.policy, registry, held_out.as_ref(), collective)?;
        let samples = samples(played, &agent, 20);
        episodes::write(&dir, &samples)?;
        let frames = frames(&agent, registry)?;
        let (text, preferences) = report::held_out_scores(before.held_out, after, agent.tokenizer.vocab_size());
        let report = TrainReport {
            run_dir: dir.path().to_path_buf(),
            updates: done,
            seconds: observer.elapsed(),
            peak_memory_bytes: palestra_report::peak_memory_bytes(),
            log: baselines.logged,
            before: baselines.before,
            random: baselines.random,
            scripted: baselines.scripted,
            evaluation: play,
            text,
            preferences,
        };
        let texts = held_out.as_ref().map_or(&[][..], HeldOut::samples);
        let after = samples.into_iter().take(SHOWN).collect();
        let page = page(&agent, &report, frames.clone(), [before.episodes, after], texts, &dir)?;
        for figure in &page.figures {
            write_atomically(&dir.path().join(&figure.file), figure.to_svg().as_bytes())?;
        }
        observer.finish(page).map_err(Error::io(dir.report()))?;
        if options.replay && !frames.is_empty() {
            let mut stderr = std::io::stderr().lock();
            let playback = Playback::for_stream(&stderr, Duration::from_millis(80));
            let title = if stderr.is_terminal() { "" } else { "A game of the trained agent:\n" };
            // Everything is saved; nobody may be there to look.
            let _ = stderr.write_all(title.as_bytes()).and_then(|()| replay(&mut stderr, &frames, playback));
        }
        Ok(report)
    }
}

/// Optimiser of a run: the whole, or a rank's share of it.
pub(super) fn optimizer_of(run: &RunFile, collective: &dyn Collective) -> Result<AdamW> {
    let shard = run.train.sharding.of_optimizer(collective.shard());
    Ok(AdamW::new(run.optimizer.clone())?.with_shard(shard))
}

/// State of the optimiser over all ranks, on rank 0.
fn optimizer_state(optimizer: &AdamW, collective: &dyn Collective) -> Result<(u64, BTreeMap<String, TensorData>)> {
    Ok(sharding::state(optimizer, collective)?.expect("rank 0 gets the state"))
}

/// Agent at the end of a run: of the trained model, or of the best checkpoint.
pub(super) fn trained_agent(
    agent: Agent,
    model: Policy,
    done: u64,
    best: Option<PathBuf>,
    device: &Device,
) -> Result<Agent> {
    let Some(path) = best else { return Ok(Agent { policy: model, updates: done, ..agent }) };
    let saved = checkpoint::load(&path)?;
    tracing::info!("{}: update {} was the best, and is the one that is used", agent.run.name, saved.step);
    Ok(Agent { rewards: agent.rewards, ..Agent::from_checkpoint(agent.run, &saved, &path, device)? })
}

/// Records the spec of the run's environment, and warns where its results cannot be had again.
fn tell_spec(dir: &RunDir, spec: &EnvSpec) -> Result<()> {
    if !spec.reproducible {
        tracing::warn!("{}: reproducible = false: the same run may give other results", spec.id);
    }
    let json = serde_json::to_string_pretty(spec).expect("a spec has string keys") + "\n";
    Ok(write_atomically(&dir.env(), json.as_bytes())?)
}

fn observer_options(
    run: &RunFile,
    agent: &Agent,
    baselines: &Baselines,
    held_out: Option<&HeldOut>,
    options: &TrainOptions,
) -> Options {
    let (headline, lower_is_better) = held_out
        .map_or(("episode/return_mean", false), |held_out| held_out.headline(run.train.evaluate_every.is_some()));
    Options {
        updates: run.train.updates,
        // A run that died before its first checkpoint restarts at update 0, and overwrites the metrics that it left.
        resume_at: options.resumes().then_some(agent.updates),
        references: baselines.references(),
        display: options.display,
        headline: headline.into(),
        lower_is_better,
        ..Options::default()
    }
}
