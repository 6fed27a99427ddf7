//! Opening of a run: its settings, log, agent and data, read and checked before anything is written.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use palestra_datasets::log::{Columns, Log, ReadOptions};
use palestra_envs::Registry;
use palestra_learn::collective::Collective;
use palestra_learn::learners::AnyConfig;
use palestra_learn::source::DataConfig;
use palestra_model::ops::{multiplies_bf16, open_device, set_threads};
use palestra_model::{Device, ModelConfig, Precision};

use super::parts::{LoggedData, Parts};
use super::report::LogSummary;
use super::{TrainOptions, ranks};
use crate::agent::Agent;
use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result, reward};

/// A run of which everything is read and checked, and nothing is written.
pub(super) struct OpenRun {
    pub agent: Agent,
    pub parts: Parts,
    pub logged: Option<LogSummary>,
    /// Environments and rewards, with those that need the run's device.
    pub registry: Registry,
    pub stop: Arc<AtomicBool>,
    pub device: Device,
}

/// Reads and checks everything that a run needs.
///
/// # Errors
/// What cannot be used, by its name.
pub(super) fn open_run(
    run: RunFile,
    registry: &Registry,
    options: &TrainOptions,
    collective: &dyn Collective,
) -> Result<OpenRun> {
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
    tell_of_experts(&agent.spec.model);
    tell_of_precision(&agent.spec.run);
    let parts = Parts::open(&mut agent, &registry, logged, &device.clone().autodiff())?;
    tracing::info!(
        "{}: the settings (* differs from the default)\n{}",
        agent.spec.run.name,
        agent.spec.run.settings()?
    );
    Ok(OpenRun { agent, parts, logged: summary, registry, stop, device })
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
fn tell_of_experts(model: &ModelConfig) {
    let experts = model.experts.as_ref();
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
             rounded, which saves no time, and of memory that of frozen weights alone",
            run.device
        );
    }
}

/// Number of threads, which affects the bits of a run: that of the resumed run, or one per core, which the ranks on a machine
/// share.
fn threads_of(options: &TrainOptions, collective: &dyn Collective) -> usize {
    let earlier = options.out.as_ref().filter(|_| options.resumes()).and_then(|out| RunDir::open(out).ok());
    let earlier = earlier.and_then(|dir| RunFile::load(&dir.run_file(), &[] as &[&str]).ok());
    earlier.and_then(|run| run.train.threads).unwrap_or_else(|| (cores() / collective.local_size()).max(1))
}

/// Number of cores of the machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
