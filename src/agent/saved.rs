//! An agent as checkpoints hold it: read from one, and written to one.

use std::collections::BTreeMap;
use std::path::Path;

use palestra_envs::Registry;
use serde_json::Value;

use super::{Agent, AgentSpec, scorer};
use crate::config::RunFile;
use crate::model_dir::{checkpoint_of_run, output_vocabulary};
use crate::reward::with_models;
use crate::{Error, Result};
use palestra_model::checkpoint::{self, Checkpoint, Contents, DeferredTensor, Tensors};
use palestra_model::huggingface::{from_hugging_face, is_own, to_hugging_face};
use palestra_model::ops::open_device;
use palestra_model::parameters::{self, tensors_of};
use palestra_model::{Device, ModelConfig, Policy, Tensor, TensorData, classifier, config_json, lora};
use palestra_text::Tokenizer;

/// Suffix of the names, among the optimiser's tensors, of adapters' own matrices and of the heads trained with them.
pub const TRAINED: &str = ".value";

impl Agent {
    /// Loads the agent of a run's checkpoint: the one that the path names, or that of a run's directory which
    /// [`checkpoint_of_run`] chooses. `overrides` such as `ilql.beta=0` are applied to its run file.
    ///
    /// # Errors
    /// A directory that is not a run or has no checkpoint, a damaged checkpoint, or a device that is not there.
    pub fn load(run_dir: &Path, registry: &Registry, overrides: &[impl AsRef<str>]) -> Result<Self> {
        let (dir, path) = checkpoint_of_run(run_dir)?;
        let run = RunFile::load(&dir.run_file(), overrides)?.resolve(registry)?;
        let device = open_device(&run.device).map_err(Error::Device)?;
        let checkpoint = checkpoint::load(&path)?;
        let rewards = with_models(registry, &device).rewards(run.all_rewards())?;
        Ok(Self::from_checkpoint(run, checkpoint, &path, &device)?.with_rewards(rewards))
    }

    /// Creates the agent of a checkpoint that was read from `path`, without rewards.
    ///
    /// # Errors
    /// Weights or a tokenizer that do not fit.
    pub fn from_checkpoint(run: RunFile, saved: Checkpoint, path: &Path, device: &Device) -> Result<Self> {
        let Checkpoint { step, contents, config: shape, model, optimizer, companions, .. } = saved;
        let later = |agent: Self| Self { spec: AgentSpec { updates: step, companions, ..agent.spec }, ..agent };
        if contents == Contents::Adapters {
            let base = run.start_from.clone().ok_or_else(|| {
                let reason = "it holds adapters, and the run file names no model in start_from".to_string();
                Error::Checkpoint { path: path.display().to_string(), reason }
            })?;
            let agent = Self::starting_from(run, &base, device)?;
            let trained = optimizer.into_iter().filter_map(|(name, tensor)| {
                Some((name.strip_suffix(TRAINED)?.to_string(), TensorData::new(tensor.data, tensor.shape)))
            });
            let policy = parameters::replace_some(agent.policy, trained.collect())
                .map_err(|wrong| Error::Checkpoint { path: path.display().to_string(), reason: wrong.join("; ") })?;
            return Ok(later(Self { policy, ..agent }));
        }
        drop(optimizer);
        if run.lora.is_some() {
            let reason =
                "its adapters were merged when the run ended; start another run from it in start_from".to_string();
            return Err(Error::Checkpoint { path: path.display().to_string(), reason });
        }
        let config = config_json::read(&shape, &path.join("config.json"))?;
        let file = path.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&file)?
            .for_rows(config.vocab_size)
            .map_err(|reason| Error::Checkpoint { path: file.display().to_string(), reason })?;
        let (mut tensors, origin) = (model, path.join("model.safetensors"));
        if classifier::is_classifier(&shape) {
            classifier::from_classifier(&shape, &mut tensors, &origin)?;
        }
        let tensors = from_hugging_face(&config, tensors, &origin)?;
        let policy = policy_of(&run, &config, tensors, device, path)?;
        let policy = policy.with_score_scale(classifier::score_settings(&shape).scale);
        let policy = policy.with_vocabulary(output_vocabulary(&tokenizer));
        Ok(later(Self::of(run, policy, tokenizer, BTreeMap::new())))
    }
}

impl AgentSpec {
    /// Checkpoint of a model in training, in the autodiff context or out of it, with the moments of its optimiser.
    ///
    /// For adapters it also keeps their own matrices with the optimiser's state, and the heads that were trained with
    /// them: PEFT's format merges matrices that are trained apart here, and has no heads but that of a reward model.
    ///
    /// # Errors
    /// A tokenizer that cannot be written.
    pub fn checkpoint(
        &self,
        policy: &Policy,
        step: u64,
        moments: BTreeMap<String, Tensor<1>>,
        state: Value,
    ) -> Result<Checkpoint<DeferredTensor>> {
        let mut optimizer: BTreeMap<String, DeferredTensor> =
            moments.into_iter().map(|(name, values)| (name, deferred(values))).collect();
        let base = self.run.start_from.as_deref().unwrap_or(Path::new("")).display().to_string();
        let (contents, config, model) = match lora::adapter_files(&policy.transformer, &base) {
            Some((mut config, mut tensors)) => {
                let trained = tensors_of(parameters::collect_some(policy, &is_own));
                if self.run.learner.config.score_head().is_some() {
                    let settings = scorer::settings(policy, &self.tokenizer);
                    lora::to_classifier_adapters(&mut config, &mut tensors, trained.clone(), &settings);
                }
                optimizer.extend(trained.into_iter().map(|(name, tensor)| (name + TRAINED, tensor.into())));
                (Contents::Adapters, config, tensors)
            }
            None => {
                let shape = policy.transformer.config();
                let (mut config, mut model) = (config_json::write(shape), to_hugging_face(shape, named(policy)));
                if self.run.learner.config.score_head().is_some() {
                    let settings = scorer::settings(policy, &self.tokenizer);
                    classifier::to_classifier(&mut config, &mut model, &settings);
                }
                (Contents::Model, config, model)
            }
        };
        let (tokenizer_json, companions) = (self.tokenizer.to_json()?, self.companions.clone());
        Ok(Checkpoint { step, contents, config, model, optimizer, state, tokenizer_json, companions })
    }
}

/// Creates a policy with these weights, under the project's own names.
fn policy_of(run: &RunFile, config: &ModelConfig, tensors: Tensors, device: &Device, path: &Path) -> Result<Policy> {
    let learner = run.learner.config.shared();
    Policy::from_tensors(config, learner.heads(), tensors, device)
        .map(|policy| policy.with_decoding(learner.decoding()).with_precision(run.train.precision))
        .map_err(|wrong| Error::Checkpoint { path: path.display().to_string(), reason: wrong.join("; ") })
}

fn deferred(values: Tensor<1>) -> DeferredTensor {
    DeferredTensor::new(values.dims(), move || values.to_data().try_into_vec().expect("moments are of 32 bits"))
}

fn named(policy: &Policy) -> Tensors {
    tensors_of(parameters::collect(policy))
}
