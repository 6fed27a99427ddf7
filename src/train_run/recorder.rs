//! The part of a run that rank 0 shows and writes beside its checkpoints: play, metrics, the best update, the report.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use palestra_datasets::Episode;
use palestra_envs::{EnvSpec, Registry};
use palestra_files::write_atomically;
use palestra_model::checkpoint;
use palestra_report::{Metrics, Observer, Options, Playback, replay};

use super::TrainOptions;
use super::baselines::Baselines;
use super::best::Best;
use super::directory::Before;
use super::episodes::{self, SHOWN, frames, samples};
use super::guard::Guard;
use super::held_out::HeldOut;
use super::report::{self, LogSummary, TrainReport, page};
use super::scores::Scores;
use crate::agent::{Agent, AgentSpec};
use crate::config::RunFile;
use crate::record::{Provenance, Spans};
use crate::run_dir::RunDir;
use crate::{Error, Result};

/// Records of a run.
pub(super) struct Recorder<'a> {
    dir: &'a RunDir,
    registry: &'a Registry,
    name: String,
    observer: Observer,
    /// Record of what is played, if it is kept.
    kept: Option<Spans>,
    guard: Guard,
    best: Option<Best>,
    baselines: Baselines,
}

impl<'a> Recorder<'a> {
    /// Begins the records of a run, or goes on with them behind the updates of its agent.
    pub fn begin(
        agent: &AgentSpec,
        dir: &'a RunDir,
        before: &Before,
        registry: &'a Registry,
        logged: Option<LogSummary>,
        mut held_out: Option<&mut HeldOut>,
        options: &TrainOptions,
    ) -> Result<Self> {
        if let Some(text) = held_out.as_mut().and_then(|held_out| held_out.text_mut()) {
            text.take_up(&dir.samples(), agent.updates)?;
        }
        let run = &agent.run;
        let kept = || Spans::begin(dir.experience(), agent.updates, Provenance::of(agent, &run.rollout.sampling));
        let kept = run.rollout.record.then(kept).transpose()?;
        let baselines = Baselines::measure(agent, registry, before.play.clone(), logged)?;
        if let Some(spec) = &baselines.spec {
            tell_spec(dir, spec)?;
        }
        let observer_options = observer_options(run, agent, &baselines, held_out.as_deref(), options);
        let observer = Observer::create(dir.path(), observer_options).map_err(Error::io(dir.path()))?;
        let best = |metric: &String| Best::so_far(metric, &dir.metrics(), agent.updates);
        let best = run.train.keep_best.as_ref().map(best).transpose()?;
        Ok(Self { dir, registry, name: run.name.clone(), observer, kept, guard: Guard::default(), best, baselines })
    }

    /// Keeps the episodes of an update, and warns of metrics that are far from the usual.
    pub fn take(&mut self, done: u64, episodes: Vec<&Episode>, metrics: &Metrics) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.add(done - 1, episodes)?;
        }
        let warnings = self.guard.check(done, metrics);
        warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", self.name));
        Ok(())
    }

    /// Writes the metrics of an update; returns true if it is the best so far.
    pub fn update(&mut self, done: u64, metrics: &Metrics) -> Result<bool> {
        self.observer.update(done, metrics).map_err(Error::io(self.dir.path()))?;
        Ok(self.best.as_mut().is_some_and(|best| best.takes(metrics)))
    }

    /// Ends the file of what is played, before the checkpoint that knows it.
    pub fn end_span(&mut self, done: u64) -> Result<()> {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.end(done))
    }

    /// Does work, and shows meanwhile what it is.
    pub fn during<T>(&mut self, what: &str, done: u64, work: impl FnOnce() -> T) -> T {
        self.observer.during(what, done, work)
    }

    pub fn say(&self, what: &str) {
        self.observer.say(&format!("{}: {what}", self.name));
    }

    /// Writes the report so far.
    pub fn report(&self, agent: &AgentSpec, done: u64) -> Result<()> {
        let report = report::so_far(agent, done)?;
        self.observer.write_report(report).map(drop).map_err(Error::io(self.dir.report()))
    }

    /// Checkpoint of the best update, if it is kept.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        let Some(best) = &self.best else { return Ok(None) };
        if let Some(fault) = best.fault() {
            tracing::warn!("{}: {fault}", self.name);
        }
        Ok(checkpoint::latest(&self.dir.best())?)
    }

    /// Writes the report of the trained agent, and shows a game of it.
    pub fn finish(
        self,
        agent: &Agent,
        scores: Scores,
        before: Before,
        held_out: Option<&HeldOut>,
        options: &TrainOptions,
        done: u64,
    ) -> Result<TrainReport> {
        let Self { dir, registry, observer, baselines, .. } = self;
        let Scores { play, played, held_out: after } = scores;
        let samples = samples(played, &agent.spec, 20);
        episodes::write(dir, &samples)?;
        let frames = frames(agent, registry)?;
        let agent = &agent.spec;
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
        let texts = held_out.map_or(&[][..], HeldOut::samples);
        let after = samples.into_iter().take(SHOWN).collect();
        let page = page(agent, &report, frames.clone(), [before.episodes, after], texts, dir)?;
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
    agent: &AgentSpec,
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
