//! Directory of a run: opened, and resumed from its last checkpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use palestra_envs::Episode;
use palestra_envs::baseline::Baseline;
use palestra_model::{Device, Tensor};
use serde_json::{Value, json};

use super::held_out::HeldOutScore;
use super::mirror::Mirror;
use super::{TrainOptions, data_files};
use crate::agent::{Agent, AgentSpec, TRAINED};
use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result};
use palestra_files::write_atomically;
use palestra_learn::learners::Learner;
use palestra_learn::source::Source;
use palestra_learn::train::TrainProgress;
use palestra_model::Policy;
use palestra_model::checkpoint::{self, Checkpoint, DeferredTensor, Tensors};
use palestra_model::optim::AdamW;
use palestra_model::parameters::data_of;
use palestra_report::History;

/// Directory to train in.
pub(super) struct Directory {
    pub dir: RunDir,
    /// Folder that checkpoints are sent to, on rank 0.
    pub mirror: Option<Mirror>,
    /// Checkpoint to resume from, with its path.
    pub saved: Option<(PathBuf, Checkpoint)>,
}

impl Directory {
    /// Opens the directory of a run after all checks have passed, and writes the resolved run file.
    pub fn open(agent: &Agent, options: &TrainOptions) -> Result<Self> {
        let run = &agent.spec.run;
        AdamW::new(run.optimizer.clone())?.freeze(agent.spec.trained(agent.policy.clone()))?;
        let mirror = Mirror::open(run, options)?;
        let (dir, saved) = open_directory(run, options)?;
        write_atomically(&dir.run_file(), run.to_toml()?.as_bytes())?;
        // After the run file, which makes a directory that can be resumed.
        data_files::keep(&dir.data(), run)?;
        if let Some((_, saved)) = saved.as_ref().filter(|_| options.resume_from.is_some()) {
            for path in checkpoint::set_aside_after(&dir.checkpoints(), saved.step)? {
                tracing::info!("set aside a later checkpoint: {}", path.display());
            }
        }
        Ok(Self { dir, mirror, saved })
    }
}

fn open_directory(run: &RunFile, options: &TrainOptions) -> Result<(RunDir, Option<(PathBuf, Checkpoint)>)> {
    let runs = Path::new("runs");
    if !options.resumes() {
        let dir = match &options.out {
            Some(path) => RunDir::create(path)?,
            None if options.again => RunDir::create_numbered(runs, &run.name)?,
            None => RunDir::create(runs.join(&run.name)).map_err(|error| or_again(error, &run.name))?,
        };
        return Ok((dir, None));
    }
    let dir = RunDir::resume(options.directory(run))?;
    let earlier = RunFile::load(&dir.run_file(), &[] as &[&str])?;
    if let Some(section) = run.first_difference(&earlier) {
        return Err(Error::Config(format!(
            "{section} is not as in {}, which this run was started with; a resumed run can change only [train] and \
             [evaluation]",
            dir.run_file().display()
        )));
    }
    if !options.accept_changed_data {
        data_files::check(&dir.data(), run)?;
    }
    let path = match &options.resume_from {
        Some(named) => Some(checkpoint_of(&dir, named)?),
        None => checkpoint::latest_of_run(&dir.checkpoints())?,
    };
    let Some(path) = path else {
        refuse_lost_checkpoints(&dir, &earlier)?;
        return Ok((dir, None));
    };
    let saved = checkpoint::load(&path).map_err(|error| match Error::from(error) {
        Error::Checkpoint { path, reason } => {
            Error::Checkpoint { path, reason: format!("{reason}; --resume-from CHECKPOINT resumes from another one") }
        }
        error => error,
    })?;
    Ok((dir, Some((path, saved))))
}

/// Adds the choice that a run without `--out` has where an earlier one is.
fn or_again(error: Error, name: &str) -> Error {
    match error {
        Error::Config(reason) => {
            Error::Config(format!("{reason}, or --again for the next free one of runs/{name}-2, ..."))
        }
        error => error,
    }
}

/// Path of a checkpoint that a person named.
fn checkpoint_of(dir: &RunDir, named: &Path) -> Result<PathBuf> {
    let inside = dir.checkpoints().join(named);
    [named.to_owned(), inside].into_iter().find(|path| path.is_dir()).ok_or_else(|| {
        Error::Config(format!(
            "--resume-from {}: there is no such checkpoint; give a directory like {}",
            named.display(),
            dir.checkpoints().join("step-00000100").display()
        ))
    })
}

/// Refuses to start a run anew whose checkpoints are gone. A run that was killed before its first one starts anew.
fn refuse_lost_checkpoints(dir: &RunDir, earlier: &RunFile) -> Result<()> {
    let metrics = dir.metrics();
    if !metrics.exists() {
        return Ok(());
    }
    let history = History::read(&metrics).map_err(Error::io(&metrics))?;
    match history.last_step().filter(|last| *last > earlier.train.checkpoint_every) {
        Some(last) => Err(Error::Checkpoint {
            path: dir.checkpoints().display().to_string(),
            reason: format!(
                "there is no checkpoint, and the metrics reach update {last}; bring the checkpoints back, name one with \
                 --resume-from, or start anew in another --out"
            ),
        }),
        None => Ok(()),
    }
}

/// Restores the learner, its source and the optimiser from the state and the moments of a checkpoint. Returns the scores from
/// before training.
fn resume_into<L: Learner, S: Source<L>>(
    state: &Value,
    moments: Tensors,
    path: &Path,
    learner: &mut L,
    source: &mut S,
    optimizer: &mut AdamW,
    device: &Device,
) -> Result<Before> {
    let wrong = |reason: &dyn fmt::Display| Error::Checkpoint {
        path: path.join("trainer_state.json").display().to_string(),
        reason: reason.to_string(),
    };
    learner.restore(&state["learner"])?;
    source.restore(&state["source"])?;
    let steps = state["optimizer_steps"].as_u64().ok_or_else(|| wrong(&"it has no optimizer_steps"))?;
    optimizer.restore(steps, data_of(moments), device)?;
    serde_json::from_value(state["before"].clone()).map_err(|error| wrong(&error))
}

/// Restores a run from a checkpoint: its agent, and the learner, source and optimiser. Returns the agent, and the scores from
/// before training.
pub(super) fn resumed<L: Learner, S: Source<L>>(
    start: Agent,
    (path, mut saved): (PathBuf, Checkpoint),
    learner: &mut L,
    source: &mut S,
    optimizer: &mut AdamW,
    device: &Device,
) -> Result<(Agent, Before)> {
    let Agent { spec: AgentSpec { run, rewards, .. }, policy } = start;
    drop(policy);
    let (state, moments) =
        (saved.state.take(), saved.optimizer.extract_if(.., |name, _| !name.ends_with(TRAINED)).collect());
    let agent = Agent::from_checkpoint(run, saved, &path, device)?.with_rewards(rewards);
    let before = resume_into(&state, moments, &path, learner, source, optimizer, device)?;
    Ok((agent, before))
}

/// Checkpoint of a run, with the optimiser's state over all ranks ([`sharding::state`](palestra_learn::sharding::state)).
pub(super) fn snapshot<L: Learner<Model = Policy>, S: Source<L>>(
    agent: &AgentSpec,
    progress: &TrainProgress<L, S>,
    (steps, moments): (u64, BTreeMap<String, Tensor<1>>),
    before: &Before,
) -> Result<Checkpoint<DeferredTensor>> {
    let state = json!({
        "optimizer_steps": steps,
        "learner": progress.learner.state(),
        "source": progress.source.state(),
        "before": before,
    });
    agent.checkpoint(progress.model, progress.done, moments, state)
}

/// Scores of the agent before training.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Before {
    /// Score in its environment.
    pub play: Option<Baseline>,
    /// Score on held-out data.
    pub held_out: Option<HeldOutScore>,
    /// Episodes that it played, if rewards score them: the same prompts are answered again at the end.
    #[serde(default)]
    pub episodes: Vec<Episode>,
}
