//! Training: evaluation before, the updates with what is saved, evaluation after. All ranks go through it together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use palestra_envs::Registry;
use palestra_learn::collective::{Collective, of_first};
use palestra_learn::learners::Learner;
use palestra_learn::sharding;
use palestra_learn::source::Source;
use palestra_learn::train::{UpdateRange, train};
use palestra_model::optim::AdamW;
use palestra_model::{Device, Module, Policy, checkpoint};

use super::TrainOptions;
use super::directory::{Before, Directory, resumed, snapshot};
use super::episodes::{self, SHOWN, samples};
use super::held_out::{HeldOut, HeldOutScore};
use super::recorder::Recorder;
use super::report::{LogSummary, TrainReport};
use super::scores::{Due, Scores};
use crate::agent::{Agent, AgentSpec};
use crate::config::RunFile;
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
    /// Trains. All ranks compute the same things in the same order; rank 0 also shows and writes, and returns the report.
    pub fn train<L, S>(
        self,
        mut learner: L,
        mut source: S,
        mut held_out: Option<HeldOut>,
    ) -> Result<Option<TrainReport>>
    where
        L: Learner<Model = Policy>,
        S: Source<L>,
    {
        let Self { agent: start, logged, directory, registry, stop, device, options, collective } = self;
        let is_first = collective.rank() == 0;
        let mut optimizer = optimizer_of(&start.spec.run, collective)?;
        let Directory { dir, mut mirror, saved } = directory;
        let (agent, before) = match saved {
            None => {
                let spec = &start.spec;
                if is_first && (spec.run.env.is_some() || held_out.is_some()) {
                    tracing::info!("{}: evaluating the model before training", spec.run.name);
                }
                let Scores { play, played, held_out } =
                    Scores::of(spec, &start.policy, registry, held_out.as_ref(), collective)?;
                let shown = samples(played, spec, if spec.rewards.is_empty() { 0 } else { SHOWN });
                (start, Before { play: play.map(|evaluation| evaluation.score), held_out, episodes: shown })
            }
            Some(saved) => resumed(start, saved, &mut learner, &mut source, &mut optimizer, &device)?,
        };
        // The weights that training begins with are nowhere else: they are in memory once.
        let Agent { spec: agent, policy } = agent;
        let mut recorder = match is_first {
            true => Some(Recorder::begin(&agent, &dir, &before, registry, logged, held_out.as_mut(), &options)?),
            false => None,
        };
        stop_by(&stop)?;
        let run = agent.run.clone();
        let span = UpdateRange { start: agent.updates, updates: run.train.updates, stop: &stop };
        let mut done = agent.updates;
        let policy = optimizer.freeze(agent.trained(policy))?;
        optimizer.prepare(&policy);
        let model = train(&mut learner, policy, &mut source, &mut optimizer, &span, collective, |progress| {
            done = progress.done;
            let due = Due::after(done, progress.is_new, progress.is_last, &run.train);
            let save = |recorder: &mut Option<Recorder>, checkpoints: &Path, keep: usize, what: &str| {
                during(recorder, what, done, || {
                    if let Some(state) = sharding::state(progress.optimizer, collective)? {
                        checkpoint::save(checkpoints, &snapshot(&agent, &progress, state, &before)?)?;
                        checkpoint::prune(checkpoints, keep)?;
                    }
                    Ok::<(), Error>(())
                })
            };
            if progress.is_new {
                let mut metrics = progress.metrics.clone();
                tracing::debug!("{}: update {done}: {metrics:?}", run.name);
                if let Some(recorder) = &mut recorder {
                    recorder.take(done, progress.source.episodes(), &metrics)?;
                }
                if due.evaluation {
                    during(&mut recorder, "evaluating", done, || {
                        let scores = Scores::of(&agent, progress.model, registry, held_out.as_ref(), collective)?;
                        metrics.extend(scores.play.map(|it| ("evaluation/return_mean".into(), it.score.mean_return)));
                        metrics.extend(scores.held_out.iter().flat_map(HeldOutScore::metrics));
                        match held_out.as_mut().and_then(HeldOut::text_mut).filter(|_| is_first) {
                            Some(text) => text.write_samples(progress.model, done, &dir.samples()),
                            None => Ok(()),
                        }
                    })?;
                }
                let mut is_best = false;
                if let Some(recorder) = &mut recorder {
                    is_best = recorder.update(done, &metrics)?;
                }
                if run.train.keep_best.is_some() && of_first(collective, &is_best)? {
                    save(&mut recorder, &dir.best(), 1, "saving the best checkpoint")?;
                }
            }
            if due.saving {
                if let Some(recorder) = &mut recorder {
                    recorder.end_span(done)?;
                }
                save(&mut recorder, &dir.checkpoints(), run.train.keep_checkpoints, "saving a checkpoint")?;
                if is_first {
                    episodes::write(&dir, progress.source.episodes().into_iter().take(10))?;
                }
                // The last one is sent with the report.
                if let Some(mirror) = mirror.as_mut().filter(|_| !progress.is_last) {
                    during(&mut recorder, "sending a checkpoint", done, || mirror.send(&dir));
                }
            }
            let is_start = progress.is_new && done == agent.updates + 1;
            match &recorder {
                Some(recorder) if progress.is_last || due.checkpoint || is_start => recorder.report(&agent, done),
                _ => Ok(()),
            }
        })?
        .valid();
        if done < run.train.updates {
            // Rank 0 tells.
            let interrupted = || {
                Error::Interrupted(format!(
                    "stopped after update {done} of {}; everything is saved. Go on with: palestra train {} --out {} --resume",
                    run.train.updates,
                    dir.run_file().display(),
                    dir.path().display()
                ))
            };
            if let Some(mirror) = &mut mirror {
                mirror.send(&dir);
            }
            return if is_first { Err(interrupted()) } else { Ok(None) };
        }
        let best = recorder.as_ref().map(Recorder::best).transpose()?.flatten();
        // The path of the directory may be another one on each machine.
        let best = of_first(collective, &best)?.and_then(|path| Some(dir.best().join(path.file_name()?)));
        drop(optimizer);
        let agent = trained_agent(agent, model, done, best, &device)?;
        if let Some(recorder) = recorder.as_ref().filter(|_| run.env.is_some() || held_out.is_some()) {
            recorder.say("evaluating the trained model");
        }
        let scores = Scores::of(&agent.spec, &agent.policy, registry, held_out.as_ref(), collective)?;
        let finish = |recorder: Recorder| recorder.finish(&agent, scores, before, held_out.as_ref(), &options, done);
        let report = recorder.map(finish).transpose()?;
        if let Some(mut mirror) = mirror {
            mirror.send(&dir);
            mirror.finish(&dir)?;
        }
        Ok(report)
    }
}

/// Does work that all ranks do together, and shows on rank 0 that it is done.
fn during<T>(recorder: &mut Option<Recorder<'_>>, what: &str, done: u64, work: impl FnOnce() -> T) -> T {
    match recorder {
        Some(recorder) => recorder.during(what, done, work),
        None => work(),
    }
}

/// Optimiser of a run: the whole, or a rank's share of it.
fn optimizer_of(run: &RunFile, collective: &dyn Collective) -> Result<AdamW> {
    let shard = run.train.sharding.of_optimizer(collective.shard());
    Ok(AdamW::new(run.optimizer.clone())?.with_shard(shard))
}

/// Agent at the end of a run: of the trained model, or of the best checkpoint.
fn trained_agent(spec: AgentSpec, policy: Policy, done: u64, best: Option<PathBuf>, device: &Device) -> Result<Agent> {
    let Some(path) = best else { return Ok(Agent { spec: AgentSpec { updates: done, ..spec }, policy }) };
    drop(policy);
    let saved = checkpoint::load(&path)?;
    tracing::info!("{}: update {} was the best, and is the one that is used", spec.run.name, saved.step);
    Ok(Agent::from_checkpoint(spec.run, saved, &path, device)?.with_rewards(spec.rewards))
}
