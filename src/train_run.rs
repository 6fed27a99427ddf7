//! Training run, from its file to its directory. The only place that puts all the parts together.

mod baselines;
mod best;
mod data_files;
mod directory;
mod episodes;
mod guard;
mod held_out;
mod parts;
mod plan;
mod preferences;
mod ranks;
mod reference;
mod report;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use palestra_datasets::log::{Columns, Log, ReadOptions};
use palestra_envs::{EnvSpec, Registry};
use palestra_model::{Device, Module, Policy, Precision};

use crate::agent::{Agent, Evaluation};
use crate::config::RunFile;
use crate::record::{Provenance, Spans};
use crate::run_dir::RunDir;
use crate::signals::stop_by;
use crate::{Error, Result, reward};
use baselines::Baselines;
use best::Best;
use directory::{Before, Directory, resumed, snapshot};
use episodes::{SHOWN, frames, samples};
use held_out::HeldOut;
use palestra_files::write_atomically;
use palestra_learn::collective::{Alone, Collective};
use palestra_learn::learners::{AnyConfig, Learner};
use palestra_learn::source::{DataConfig, Source};
use palestra_learn::train::{UpdateRange, train};
use palestra_model::checkpoint;
use palestra_model::ops::{multiplies_bf16, open_device, set_threads};
use palestra_model::optim::AdamW;
use palestra_report::{Display, Observer, Options, Playback, replay};
use parts::{LoggedData, Parts};
pub use plan::{Hardware, RunPlan, dry_run, plan_run, rows_of_run};
use report::page;
pub use report::{HeldOutScores, LogSummary, PreferenceScores, TrainReport};

/// Output of a run, and its display.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Directory to write; if absent, `runs/<name>`.
    pub out: Option<PathBuf>,
    /// True to write the first free one of `runs/<name>-2`, `runs/<name>-3`, ... if `runs/<name>` holds a run.
    pub again: bool,
    /// True to resume from the directory's last checkpoint.
    pub resume: bool,
    /// Checkpoint to resume from instead of the last one: a path, or its name in the directory's checkpoints. Later ones
    /// are set aside.
    pub resume_from: Option<PathBuf>,
    /// True to resume although the data is not as it was when the run began.
    pub accept_changed_data: bool,
    /// Display of progress.
    pub display: Display,
    /// True to show a game of the finished agent on standard error.
    pub replay: bool,
}

impl TrainOptions {
    /// True if the run is the continuation of an earlier one.
    fn resumes(&self) -> bool {
        self.resume || self.resume_from.is_some()
    }
}

/// Trains a model as a run file describes.
///
/// # Errors
/// An environment, log, device or directory that cannot be used, before anything is written; any error of training.
/// [`Error::Interrupted`] if a person stopped the run; everything is then saved.
pub fn train_run(run: RunFile, registry: &Registry, options: TrainOptions) -> Result<TrainReport> {
    let report = train_on_ranks(run, registry, options, &Alone, &mut |_| Ok(()))?;
    Ok(report.expect("the only rank reports"))
}

/// As [`train_run`], on this rank of several that call it together. Rank 0 shows, writes and returns the report. Each other rank
/// returns `None`, and gives `log_to` the path of its log in the run's directory.
///
/// # Errors
/// As [`train_run`]; a rank that takes no part, or has another run file or other data.
pub fn train_on_ranks(
    run: RunFile,
    registry: &Registry,
    options: TrainOptions,
    collective: &dyn Collective,
    log_to: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Option<TrainReport>> {
    let OpenRun { agent, parts, logged, registry, stop, device } = open_run(run, registry, &options, collective)?;
    let batches_on = device.clone().autodiff();
    let directory = if collective.rank() == 0 {
        let directory = Directory::open(&agent, &options)?;
        directory.tell(collective)?;
        directory
    } else {
        let directory = Directory::follow(collective)?;
        log_to(&directory.dir.rank_log(collective.rank()))?;
        directory
    };
    let training = Training { agent, logged, directory, registry: &registry, stop, device, options, collective };
    match parts {
        Parts::Play(learner, source) => training.train(learner, source, None),
        Parts::Log(learner, source) => training.train(learner, source, None),
        Parts::Text(learner, source, held_out) => training.train(learner, source, Some(HeldOut::Text(held_out))),
        Parts::Preferences(data) => {
            // The log-probabilities of the reference are computed and written by rank 0; the others read them.
            if collective.rank() > 0 {
                collective.barrier()?;
            }
            let (agent, dir) = (&training.agent, &training.directory.dir);
            let (learner, source, held_out) = data.into_parts(agent, dir, &batches_on)?;
            if collective.rank() == 0 {
                collective.barrier()?;
            }
            training.train(learner, source, Some(HeldOut::Preferences(held_out)))
        }
    }
}

/// A run of which everything is read and checked, and nothing is written.
struct OpenRun {
    agent: Agent,
    parts: Parts,
    logged: Option<LogSummary>,
    /// Environments and rewards, with those that need the run's device.
    registry: Registry,
    stop: Arc<AtomicBool>,
    device: Device,
}

fn open_run(run: RunFile, registry: &Registry, options: &TrainOptions, collective: &dyn Collective) -> Result<OpenRun> {
    let mut run = run.resolve(registry)?;
    ranks::check_same(&run, collective)?;
    let device = open_device(&run.device).map_err(Error::Device)?;
    let stop = Arc::new(AtomicBool::new(false));
    let registry = reward::with_kinds(registry, &device, Arc::clone(&stop));
    set_threads(*run.train.threads.get_or_insert_with(|| threads_of(options, collective)));
    let logged = run.data.as_ref().map(open_log).transpose()?;
    let summary = logged.as_ref().map(|logged| LogSummary::of(&logged.outcomes)).transpose()?;
    if let (AnyConfig::Log(config), Some(logged), Some(data)) = (&mut run.learner.config, &logged, &run.data) {
        let best_return = logged.returns(data, config.truncated(data.truncated)).into_iter().max_by(f64::total_cmp);
        if let Some(completed) = best_return.and_then(|best_return| config.completed(best_return)) {
            *config = completed;
        }
    }
    let mut agent = Agent::new(run, &registry, logged.as_ref().map(|logged| &logged.log), &device)?;
    tell_of_experts(&agent);
    tell_of_precision(&agent.run);
    let parts = Parts::open(&mut agent, &registry, logged, &device.clone().autodiff())?;
    tracing::info!("{}: the settings (* differs from the default)\n{}", agent.run.name, agent.run.settings()?);
    Ok(OpenRun { agent, parts, logged: summary, registry, stop, device })
}

/// A run about to begin, without the parts that depend on its kind of data.
struct Training<'a> {
    agent: Agent,
    logged: Option<LogSummary>,
    directory: Directory,
    registry: &'a Registry,
    stop: Arc<AtomicBool>,
    device: Device,
    options: TrainOptions,
    collective: &'a dyn Collective,
}

impl Training<'_> {
    /// Trains; returns the report on rank 0.
    fn train<L, S>(self, learner: L, source: S, held_out: Option<HeldOut>) -> Result<Option<TrainReport>>
    where
        L: Learner<Model = Policy>,
        S: Source<L>,
    {
        match self.collective.rank() {
            0 => self.go(learner, source, held_out).map(Some),
            _ => self.follow(learner, source).map(|()| None),
        }
    }

    /// Trains on rank 0.
    fn go<L, S>(self, mut learner: L, mut source: S, mut held_out: Option<HeldOut>) -> Result<TrainReport>
    where
        L: Learner<Model = Policy>,
        S: Source<L>,
    {
        let Self { agent: start, logged, directory, registry, stop, device, options, collective } = self;
        let mut optimizer = AdamW::new(start.run.optimizer.clone())?;
        let Directory { dir, saved } = directory;
        let episodes = start.run.evaluation.episodes as u64;
        let (agent, before) = match &saved {
            None => {
                if start.run.env.is_some() || held_out.is_some() {
                    tracing::info!("{}: evaluating the model before training", start.run.name);
                }
                let (play, played) = start.try_evaluate(&start.policy, registry, episodes, start.run.seed)?.unzip();
                let held_out = held_out.as_ref().map(|held_out| held_out.score(&start.policy));
                let shown = if start.rewards.is_empty() { 0 } else { SHOWN };
                let shown = samples(played.unwrap_or_default(), &start, shown);
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
        let mut guard = guard::Guard::default();
        let best = |metric: &String| Best::so_far(metric, &dir.metrics(), done);
        let mut best = run.train.keep_best.as_ref().map(best).transpose()?;
        let policy = optimizer.freeze(agent.trained())?;
        let model = train(&mut learner, policy, &mut source, &mut optimizer, &span, collective, |progress| {
            done = progress.done;
            if progress.is_new {
                if let Some(kept) = &mut kept {
                    kept.add(done - 1, progress.source.episodes())?;
                }
                let mut metrics = progress.metrics.clone();
                guard.check(done, &metrics).iter().for_each(|warning| tracing::warn!("{}: {warning}", run.name));
                if run.train.evaluate_every.is_some_and(|every| done.is_multiple_of(every)) {
                    observer.during("evaluating", done, || {
                        let evaluated = agent.try_evaluate(progress.model, registry, episodes, run.seed)?;
                        let mean = |(evaluated, _): (Evaluation, _)| evaluated.score.mean_return;
                        metrics.extend(evaluated.map(|it| ("evaluation/return_mean".into(), mean(it))));
                        if let Some(held_out) = &mut held_out {
                            metrics.extend(held_out.score(progress.model).metrics());
                            if let Some(text) = held_out.text_mut() {
                                text.write_samples(progress.model, done, &dir.samples())?;
                            }
                        }
                        Ok::<(), Error>(())
                    })?;
                }
                observer.update(done, &metrics).map_err(Error::io(dir.path()))?;
                if best.as_mut().is_some_and(|best| best.takes(&metrics)) {
                    observer.during("saving the best checkpoint", done, || {
                        checkpoint::save(&dir.best(), &snapshot(&agent, &progress, &before)?)?;
                        Ok::<(), Error>(checkpoint::prune(&dir.best(), 1)?)
                    })?;
                }
            }
            let is_due = done.is_multiple_of(run.train.checkpoint_every);
            let is_saved = is_due && !progress.is_new;
            if (progress.is_last || is_due) && !is_saved {
                kept.as_mut().map_or(Ok(()), |kept| kept.end(done))?;
                observer.during("saving a checkpoint", done, || {
                    checkpoint::save(&dir.checkpoints(), &snapshot(&agent, &progress, &before)?)?;
                    Ok::<(), Error>(checkpoint::prune(&dir.checkpoints(), run.train.keep_checkpoints)?)
                })?;
                episodes::write(&dir, progress.source.episodes().into_iter().take(10))?;
            }
            let is_first = progress.is_new && done == agent.updates + 1;
            if progress.is_last || is_due || is_first {
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
        let agent = match best.and(checkpoint::latest(&dir.best())?) {
            Some(path) => {
                let saved = checkpoint::load(&path)?;
                tracing::info!("{}: update {} was the best, and is the one that is used", run.name, saved.step);
                Agent { rewards: agent.rewards, ..Agent::from_checkpoint(agent.run, &saved, &path, &device)? }
            }
            None => Agent { policy: model, updates: done, ..agent },
        };
        if agent.run.env.is_some() || held_out.is_some() {
            observer.say(&format!("{}: evaluating the trained model", run.name));
        }
        let (evaluation, played) = agent.try_evaluate(&agent.policy, registry, episodes, run.seed)?.unzip();
        let samples = samples(played.unwrap_or_default(), &agent, 20);
        episodes::write(&dir, &samples)?;
        let frames = frames(&agent, registry)?;
        let after = held_out.as_ref().map(|held_out| held_out.score(&agent.policy));
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
            evaluation,
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

/// Records the spec of the run's environment, and warns where its results cannot be had again.
fn tell_spec(dir: &RunDir, spec: &EnvSpec) -> Result<()> {
    if !spec.reproducible {
        tracing::warn!("{}: reproducible = false: the same run may give other results", spec.id);
    }
    let json = serde_json::to_string_pretty(spec).expect("a spec has string keys") + "\n";
    Ok(write_atomically(&dir.env(), json.as_bytes())?)
}

fn open_log(data: &DataConfig) -> Result<LoggedData> {
    let options = ReadOptions { skip_bad: data.skip_bad, columns: Columns::Learning };
    let log = Log::open(&data.files, options)?;
    for info in (0..log.files().len()).map(|file| log.info(file)).filter(|info| info.is_cut) {
        tracing::warn!(
            "{}: has no end, as its writer was killed; the run learns from its {} whole rows, and any others are lost",
            info.path.display(),
            info.rows
        );
    }
    Ok(LoggedData { outcomes: log.outcomes()?, log })
}

/// Says that the loss which balances the use of experts is no part of a run's loss, where `config.json` has a weight for it.
fn tell_of_experts(agent: &Agent) {
    let experts = agent.policy.transformer.config().experts.as_ref();
    if let Some(experts) = experts.filter(|experts| experts.router_aux_loss_coef > 0.0) {
        tracing::warn!(
            "router_aux_loss_coef = {}: the loss that balances the use of the {} experts is not computed; the router \
             learns from the run's own loss alone, as in transformers without output_router_logits",
            experts.router_aux_loss_coef,
            experts.count
        );
    }
}

/// Says that 16 bits save memory and no time, where it is so.
fn tell_of_precision(run: &RunFile) {
    if run.train.precision == Precision::Bf16 && !multiplies_bf16(&run.device) {
        tracing::info!(
            "train.precision = \"bf16\": {} has no instructions for 16-bit products here; they are computed in 32 bits and \
             rounded, which saves memory and no time",
            run.device
        );
    }
}

/// Evaluates the last checkpoint of a run. `overrides` are applied to its run file; if `episodes` is absent, the run's
/// number is used.
///
/// # Errors
/// A directory that is not a run, or a device that this program or machine does not have.
pub fn evaluate_run(
    run_dir: &Path,
    registry: &Registry,
    episodes: Option<u64>,
    seed: u64,
    overrides: &[impl AsRef<str>],
) -> Result<Evaluation> {
    let agent = Agent::load(run_dir, registry, overrides)?;
    let episodes = episodes.unwrap_or(agent.run.evaluation.episodes as u64);
    Ok(agent.evaluate(&agent.policy, registry, episodes, seed)?.0)
}

/// Number of threads, which affects the bits of a run: that of the resumed run, or one per core, which the ranks on a machine
/// share.
fn threads_of(options: &TrainOptions, collective: &dyn Collective) -> usize {
    let earlier = options.out.as_ref().filter(|_| options.resumes()).and_then(|out| RunDir::open(out).ok());
    let earlier = earlier.and_then(|dir| RunFile::load(&dir.run_file(), &[] as &[&str]).ok());
    earlier.and_then(|run| run.train.threads).unwrap_or_else(|| (cores() / collective.local_size()).max(1))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn observer_options(
    run: &RunFile,
    agent: &Agent,
    baselines: &Baselines,
    held_out: Option<&HeldOut>,
    options: &TrainOptions,
) -> Options {
    let (headline, lower_is_better) = held_out.map_or(("episode/return_mean", false), HeldOut::headline);
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
