//! Training run, from its file to its directory. The only place that puts all the parts together.

mod directory;
mod held_out;
mod plan;
mod preferences;
mod reference;
mod report;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use palestra_datasets::log::{Columns, Log, ReadOptions};
use palestra_envs::baseline::{self, Baseline};
use palestra_envs::player::{Player, Random, Scripted};
use palestra_envs::{Env, Episode, Registry};
use palestra_model::Device;
use palestra_model::Module;

use crate::agent::{Agent, Evaluation};
use crate::config::{Algorithm, RunFile};
use crate::record::{Provenance, Spans};
use crate::run_dir::{RunDir, write_atomically};
use crate::{Error, Result, reward};
use directory::{Before, Directory, resume_into, snapshot};
use held_out::{HeldOut, HeldOutText};
use palestra_learn::learners::Learner;
use palestra_learn::learners::group::Group;
use palestra_learn::learners::ppo::Ppo;
use palestra_learn::learners::supervised::supervised_learner;
use palestra_learn::rollout::RolloutResult;
use palestra_learn::source::{
    Chunking, DataConfig, OnPolicySource, ReferencePolicy, ReplaySource, Selection, Source, TextSource, Texts,
    least_of_best,
};
use palestra_learn::train::{Span, train};
use palestra_model::Policy;
use palestra_model::checkpoint;
use palestra_model::ops::{open_device, set_threads};
use palestra_model::optim::AdamW;
use palestra_report::{Display, Observer, Options, Playback, Reference, replay};
pub use plan::{Hardware, plan_run, rows_of_run};
use report::page;
pub use report::{HeldOutScores, LogSummary, PreferenceScores, TrainReport};

/// Output of a run, and its display.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Directory to write; if absent, the first free one of `runs/<name>`, `runs/<name>-2`, ...
    pub out: Option<PathBuf>,
    /// True to resume from the directory's last checkpoint.
    pub resume: bool,
    /// Display of progress.
    pub display: Display,
    /// True to show a game of the finished agent on standard error.
    pub replay: bool,
}

/// Trains a model as a run file describes.
///
/// # Errors
/// An environment, log, device or directory that cannot be used, before anything is written; any error of training.
/// [`Error::Interrupted`] if a person stopped the run; everything is then saved.
pub fn train_run(run: RunFile, registry: &Registry, options: TrainOptions) -> Result<TrainReport> {
    let mut run = run.resolve(registry)?;
    let device = open_device(&run.device).map_err(Error::Device)?;
    let stop = Arc::new(AtomicBool::new(false));
    let registry = &reward::with_kinds(registry, &device, Arc::clone(&stop));
    set_threads(*run.train.threads.get_or_insert_with(|| threads_of(&options)));
    let algorithm = run.algorithm()?;
    let log = run.data.as_ref().map(open_log).transpose()?;
    let returns = log.as_ref().map(Log::returns).transpose()?;
    let logged = returns.as_deref().map(LogSummary::of).transpose()?;
    if let (Some(config), Some(logged)) = (&mut run.decision_transformer, &logged) {
        config.target_return.get_or_insert(logged.best_return as f32);
    }
    let agent = Agent::new(run, registry, log.as_ref(), &device)?;
    let batches_on = device.clone().autodiff();
    match (&algorithm, algorithm.offline_learner(), log.zip(returns)) {
        (Algorithm::Ppo(config), ..) => {
            let source = play(&agent, registry, batches_on)?;
            let learner = Ppo::new(config.clone(), agent.run.rollout.sampling.temperature)?;
            let directory = Directory::open(&agent, &options)?;
            Training { agent, learner, source, logged, held_out: None, directory, registry, stop, device, options }.go()
        }
        (Algorithm::Grpo(config), ..) => {
            let source = play(&agent, registry, batches_on)?;
            let rollout = &agent.run.rollout;
            let learner = Group::new(config.clone(), rollout.sampling.temperature, rollout.max_new_tokens)?;
            let directory = Directory::open(&agent, &options)?;
            Training { agent, learner, source, logged, held_out: None, directory, registry, stop, device, options }.go()
        }
        (Algorithm::Supervised(_), ..) => {
            let config = agent.run.text.clone().expect("a supervised learner has text");
            let window = config.window_of(agent.policy.transformer.config().context)?;
            let texts = Texts::open(&config, &agent.tokenizer, agent.chat_template()?.as_ref(), window)?;
            if let Some(counts) = texts.counts() {
                tracing::info!("{}: {counts}", agent.run.name);
            }
            let held_out = Some(HeldOut::Text(HeldOutText::new(&texts, &config, window, &agent)?));
            let source = || TextSource::new(&texts, config.clone(), window, agent.run.seed, batches_on.clone());
            tracing::info!("{}: the plan\n{}", agent.run.name, plan::plan_at_start(&agent, &mut source()?, window)?);
            let source = source()?;
            let learner = supervised_learner(agent.run.train.gradient_checkpointing);
            let directory = Directory::open(&agent, &options)?;
            Training { agent, learner, source, logged, held_out, directory, registry, stop, device, options }.go()
        }
        (_, Some(learner), Some((log, returns))) => {
            let selection = selection(&agent, &algorithm, returns)?;
            let config = agent.run.data.clone().expect("a learner of logs has data");
            let mut source = ReplaySource::new(log, selection, config, agent.run.seed, batches_on);
            source.try_out()?;
            let directory = Directory::open(&agent, &options)?;
            Training { agent, learner, source, logged, held_out: None, directory, registry, stop, device, options }.go()
        }
        _ if algorithm.kinds().is_some() => {
            let judgements = preferences::open(&agent, &algorithm)?;
            let directory = Directory::open(&agent, &options)?;
            let parts = preferences::parts(&agent, &algorithm, judgements, &directory.dir, &batches_on)?;
            let preferences::Parts { learner, source, held_out } = parts;
            let held_out = Some(HeldOut::Preferences(held_out));
            Training { agent, learner, source, logged, held_out, directory, registry, stop, device, options }.go()
        }
        _ => unreachable!("the run file was checked: a learner of logs has data"),
    }
}

/// Parts of a run.
struct Training<'a, L, S> {
    agent: Agent,
    learner: L,
    source: S,
    logged: Option<LogSummary>,
    held_out: Option<HeldOut>,
    directory: Directory,
    registry: &'a Registry,
    stop: Arc<AtomicBool>,
    device: Device,
    options: TrainOptions,
}

impl<L: Learner<Model = Policy>, S: Source<L>> Training<'_, L, S> {
    fn go(self) -> Result<TrainReport> {
        let Self { agent: start, mut learner, mut source, logged, mut held_out, directory, .. } = self;
        let Self { registry, stop, device, options, .. } = self;
        let mut optimizer = AdamW::new(start.run.optimizer.clone())?;
        let Directory { dir, saved } = directory;
        let episodes = start.run.evaluation.episodes as u64;
        let (agent, before) = match &saved {
            None => {
                let (play, played) = start.try_evaluate(&start.policy, registry, episodes, start.run.seed)?.unzip();
                let held_out = held_out.as_ref().map(|held_out| held_out.score(&start.policy));
                let shown = if start.rewards.is_empty() { 0 } else { SHOWN };
                let episodes = samples(played.unwrap_or_default(), &start, shown);
                (start, Before { play: play.map(|evaluation| evaluation.score), held_out, episodes })
            }
            Some((path, saved)) => {
                let rewards = start.rewards;
                let agent = Agent { rewards, ..Agent::from_checkpoint(start.run, saved, path, &device)? };
                let before = resume_into(saved, path, &mut learner, &mut source, &mut optimizer, &device)?;
                (agent, before)
            }
        };
        if let Some(text) = held_out.as_mut().and_then(HeldOut::text_mut) {
            text.take_up(&dir.samples(), agent.updates)?;
        }
        let run = agent.run.clone();
        let kept = || Spans::begin(dir.experience(), agent.updates, Provenance::of(&agent, &run.rollout.sampling));
        let mut kept = run.rollout.record.then(kept).transpose()?;
        let players = Players::measure(&agent, registry, before.play.clone(), logged)?;
        let observer_options = observer_options(&run, &agent, &players, held_out.as_ref(), &options);
        let mut observer = Observer::create(dir.path(), observer_options).map_err(Error::io(dir.path()))?;
        stop_by(&stop)?;
        let span = Span { start: agent.updates, updates: run.train.updates, stop: &stop };
        let mut done = agent.updates;
        let policy = optimizer.freeze(agent.policy.clone().train())?;
        let model = train(&mut learner, policy, &mut source, &mut optimizer, &span, |progress| {
            done = progress.done;
            if progress.is_new {
                if let Some(kept) = &mut kept {
                    kept.add(done - 1, progress.source.episodes())?;
                }
                let mut metrics = progress.metrics.clone();
                if run.train.evaluate_every.is_some_and(|every| done.is_multiple_of(every)) {
                    let judged = agent.try_evaluate(progress.model, registry, episodes, run.seed)?;
                    metrics
                        .extend(judged.map(|(judged, _)| ("evaluation/return_mean".into(), judged.score.mean_return)));
                    if let Some(held_out) = &mut held_out {
                        metrics.extend(held_out.score(progress.model).metrics());
                        if let Some(text) = held_out.text_mut() {
                            text.write_samples(progress.model, done, &dir.samples())?;
                        }
                    }
                }
                observer.update(done, &metrics).map_err(Error::io(dir.path()))?;
            }
            let is_due = done.is_multiple_of(run.train.checkpoint_every);
            let is_saved = is_due && !progress.is_new;
            if (progress.is_last || is_due) && !is_saved {
                kept.as_mut().map_or(Ok(()), |kept| kept.end(done))?;
                checkpoint::save(&dir.checkpoints(), &snapshot(&agent, &progress, &before)?)?;
                checkpoint::prune(&dir.checkpoints(), run.train.keep_checkpoints)?;
                write_episodes(&dir, progress.source.episodes().into_iter().take(10))?;
                observer.draw_plots().map_err(Error::io(dir.path()))?;
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

        let agent = Agent { policy: model, updates: done, ..agent };
        let (evaluation, played) = agent.try_evaluate(&agent.policy, registry, episodes, run.seed)?.unzip();
        let samples = samples(played.unwrap_or_default(), &agent, 20);
        write_episodes(&dir, &samples)?;
        let frames = if run.env.is_some() { frames(&agent, registry)? } else { Vec::new() };
        let after = held_out.as_ref().map(|held_out| held_out.score(&agent.policy));
        let (text, preferences) = report::held_out_scores(before.held_out, after, agent.tokenizer.vocab_size());
        let report = TrainReport {
            run_dir: dir.path().to_path_buf(),
            updates: done,
            seconds: observer.elapsed(),
            peak_memory_bytes: palestra_report::peak_memory_bytes(),
            log: players.logged,
            before: players.before,
            random: players.random,
            scripted: players.scripted,
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
            std::io::Write::write_all(&mut stderr, title.as_bytes())
                .and_then(|()| replay(&mut stderr, &frames, playback))
                .map_err(Error::io("standard error"))?;
        }
        Ok(report)
    }
}

/// Rollouts that a run learns from. If rewards are learned or written by hand, the divergence from the starting policy
/// is measured even if it is not penalised.
fn play(agent: &Agent, registry: &Registry, batches_on: Device) -> Result<OnPolicySource> {
    let mut rollout = agent.rollout(registry, agent.run.rollout.environments)?;
    // Reads the first state, so that a model that cannot read it is refused before anything is written.
    rollout.try_out(&agent.policy)?;
    let reference = match agent.run.algorithm()?.kl_coefficient() > 0.0 || !agent.rewards.is_empty() {
        true if agent.run.lora.is_some() => ReferencePolicy::WithoutAdapters,
        true => ReferencePolicy::Policy(Box::new(agent.policy.clone())),
        false => ReferencePolicy::None,
    };
    Ok(OnPolicySource::new(rollout, agent.run.seed, batches_on, reference))
}

fn open_log(data: &DataConfig) -> Result<Log> {
    let options = ReadOptions { skip_bad: data.skip_bad, columns: Columns::Learning };
    Ok(Log::open(&data.files, options)?)
}

/// Part of a log that a learner reads, for a log whose episodes have these returns.
fn selection(agent: &Agent, algorithm: &Algorithm, returns: Vec<f64>) -> Result<Selection> {
    let data = agent.run.data.as_ref().expect("a learner of logs has data");
    let least_return = match algorithm {
        Algorithm::FilteredBc(config) => Some(least_of_best(returns, config.percent)),
        _ => None,
    };
    let DataConfig { gamma, gamma_token, .. } = *data;
    let chunking = Chunking { turns: data.chunk, gamma, gamma_token, with_next: algorithm.bootstraps() };
    Ok(Selection { encoder: agent.encoder()?, chunking, split: data.split.clone(), least_return, resample: None })
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

/// Number of threads, which affects the bits of a run: that of the resumed run, or one per core.
fn threads_of(options: &TrainOptions) -> usize {
    let earlier = options.out.as_ref().filter(|_| options.resume).and_then(|out| RunDir::open(out).ok());
    let earlier = earlier.and_then(|dir| RunFile::load(&dir.run_file(), &[] as &[&str]).ok());
    earlier.and_then(|run| run.train.threads).unwrap_or_else(cores)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Scores that the agent is compared with.
struct Players {
    logged: Option<LogSummary>,
    before: Option<Baseline>,
    random: Option<Baseline>,
    scripted: Option<Baseline>,
    optimal_return: Option<f64>,
}

impl Players {
    fn measure(
        agent: &Agent,
        registry: &Registry,
        before: Option<Baseline>,
        logged: Option<LogSummary>,
    ) -> Result<Self> {
        let run = &agent.run;
        let Some(env) = &run.env else {
            return Ok(Self { logged, before, random: None, scripted: None, optimal_return: None });
        };
        let mut env = registry.build(env)?;
        let lists_actions = env.reset(0)?.legal_actions.is_some();
        let has_script = env.scripted_action().is_some();
        Ok(Self {
            logged,
            before,
            random: lists_actions.then(|| played_by(&mut *env, &mut Random, agent)).transpose()?,
            scripted: has_script.then(|| played_by(&mut *env, &mut Scripted, agent)).transpose()?,
            optimal_return: env.spec().optimal_return,
        })
    }
}

/// Score of a player, evaluated as the agent is.
fn played_by(env: &mut dyn Env, player: &mut dyn Player, agent: &Agent) -> Result<Baseline> {
    let RunFile { evaluation, seed, .. } = &agent.run;
    Ok(baseline::play_many(env, evaluation.episodes as u64, *seed, player, &agent.rewards)?)
}

fn observer_options(
    run: &RunFile,
    agent: &Agent,
    players: &Players,
    held_out: Option<&HeldOut>,
    options: &TrainOptions,
) -> Options {
    let reference = |name: &str, value: f64| Reference { name: name.to_string(), value };
    let references = [
        players.random.as_ref().map(|random| reference("random", random.mean_return)),
        players.logged.as_ref().map(|logged| reference("log", logged.mean_return)),
        players.optimal_return.map(|optimum| reference("optimum", optimum)),
    ];
    let (headline, lower_is_better) = held_out.map_or(("episode/return_mean", false), HeldOut::headline);
    Options {
        updates: run.train.updates,
        // A run that died before its first checkpoint restarts at update 0, and overwrites the metrics that it left.
        resume_at: options.resume.then_some(agent.updates),
        references: references.into_iter().flatten().collect(),
        display: options.display,
        headline: headline.into(),
        lower_is_better,
        ..Options::default()
    }
}

/// Returns a flag that the first Ctrl-C or termination sets. The second ends the process at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_by(&stop).map(|()| stop)
}

fn stop_by(stop: &Arc<AtomicBool>) -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(stop)))
            .map_err(Error::io("signal handler"))?;
    }
    Ok(())
}

/// Number of episodes on the report page.
const SHOWN: usize = 5;

/// First episodes of an agent, with its name, and without timestamps.
fn samples(played: Vec<RolloutResult>, agent: &Agent, count: usize) -> Vec<Episode> {
    let sample = |played: RolloutResult| {
        let mut episode = played.episode;
        episode.turns.iter_mut().for_each(|turn| turn.timestamp = None);
        Episode { policy_id: agent.run.name.clone(), policy_step: agent.updates, ..episode }
    };
    played.into_iter().take(count).map(sample).collect()
}

fn write_episodes<'a>(dir: &RunDir, episodes: impl IntoIterator<Item = &'a Episode>) -> Result<()> {
    let line = |episode| serde_json::to_string(episode).expect("an episode has string keys") + "\n";
    let lines: String = episodes.into_iter().map(line).collect();
    write_atomically(&dir.episodes(), lines.as_bytes())
}

/// Pictures of one game of the agent.
fn frames(agent: &Agent, registry: &Registry) -> Result<Vec<String>> {
    let mut frames = Vec::new();
    agent.watch(registry, agent.run.seed, 1, &mut |_, _, env| {
        frames.push(env.render());
        Ok(())
    })?;
    Ok(frames)
}
