//! Agent: a policy with its tokenizer, created from a run file or read from a run's directory; and its evaluation.

mod evaluation_policy;
mod scorer;

use std::collections::BTreeMap;
use std::path::Path;

use palestra_datasets::log::Log;
use palestra_envs::baseline::{Baseline, score};
use palestra_envs::exact::ExactValue;
use palestra_envs::{Definition, Env, Pool, Registry, Rewards};
use palestra_model::Module;
use palestra_model::{Device, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;

use crate::config::RunFile;
use crate::model_dir::ModelDir;
use crate::reward::with_models;
use crate::run_dir::RunDir;
use crate::{Error, Result};
pub use evaluation_policy::EvaluationPolicy;
use palestra_learn::encoder::{Encoder, RETURN_ALPHABET};
use palestra_learn::rollout::{Rollout, RolloutConfig, RolloutEvent, RolloutResult, reward_means};
use palestra_learn::source::{alphabet, template_of, tokenizer_of};
use palestra_model::checkpoint::{self, Checkpoint, Contents, Tensors};
use palestra_model::huggingface::{from_hugging_face, is_own, to_hugging_face};
use palestra_model::math::Sampling;
use palestra_model::ops::open_device;
use palestra_model::parameters::{self, tensors_of};
use palestra_model::{
    EndTokens, GenerationConfig, ModelConfig, Policy, classifier, config_json, generation_config_of, lora,
    read_companions, read_generation_config,
};
use palestra_text::{ChatTemplate, Tokenizer};

/// Suffix of the names, among the optimiser's tensors, of adapters' own matrices and of the heads trained with them.
pub const TRAINED: &str = ".value";

/// File of a model's generation settings.
const GENERATION_CONFIG: &str = "generation_config.json";

/// Number of the first episode of evaluation, so that none of them is one of training.
pub const FIRST_EVALUATION: u64 = 1 << 62;

/// A policy that reads and writes text.
pub struct Agent {
    /// Run file that it was, or will be, trained by; its environment is resolved.
    pub run: RunFile,
    /// The model, outside autodiff.
    pub policy: Policy,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Other files of the model, by name: its chat template, and its tokenizer's special tokens.
    pub companions: BTreeMap<String, String>,
    /// Number of updates that it has learned from.
    pub updates: u64,
    /// Rewards of its episodes, in addition to the environment's.
    pub rewards: Rewards,
}

/// Result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The environment's id.
    pub env_id: String,
    /// Scores of the policy; `policy` is its name.
    #[serde(flatten)]
    pub score: Baseline,
    /// Exact value of the policy, if the game is small enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactValue>,
    /// Mean return of the best policy, if known.
    pub optimal_return: Option<f64>,
}

impl Agent {
    /// Creates the agent that a resolved run file starts from: random weights, or a model on disk.
    ///
    /// # Errors
    /// A model that cannot be read, or an environment (or log) without a small alphabet for a model with random
    /// weights.
    pub fn new(run: RunFile, registry: &Registry, log: Option<&Log>, device: &Device) -> Result<Self> {
        let rewards = registry.rewards(run.all_rewards())?;
        if let Some(directory) = run.start_from.clone() {
            return Ok(Self { rewards, ..Self::starting_from(run, &directory, device)? });
        }
        let learner = run.learner.config.clone();
        let tokenizer = match (run.tokenizer(), &run.text) {
            (Some(path), _) => Tokenizer::from_file(path)?,
            (None, Some(text)) => tokenizer_of(text)?,
            (None, None) => Tokenizer::from_alphabet(&Self::alphabet(&run, registry, log)?)?,
        };
        let config = run.model.clone().unwrap_or_default().resolve(tokenizer.vocab_size())?;
        let policy =
            Policy::new(&config, learner.shared().heads(), run.seed, device).with_decoding(learner.shared().decoding());
        let companions = companions_of(&run, &tokenizer)?;
        let policy =
            scorer::with_head_started(policy, learner.score_head(), run.seed).with_vocabulary(tokenizer.vocab_size());
        let run = RunFile { model: Some(config), ..run };
        Ok(Self { run, policy, tokenizer, companions, updates: 0, rewards })
    }

    /// Creates the agent that starts from a model on disk, with the adapters that the run asks for.
    fn starting_from(run: RunFile, directory: &Path, device: &Device) -> Result<Self> {
        let directory = ModelDir::open(directory)?;
        let learner = run.learner.config.clone();
        let policy = directory.policy(|mut config, mut tensors| {
            if learner.score_head().is_some() {
                // A reward model writes nothing, so it has no output layer.
                config.tie_embeddings = true;
                tensors.remove("head.weight");
            }
            Policy::starting_from(&config, learner.shared().heads(), tensors, run.seed, device)
        })?;
        let mut policy = policy.with_decoding(learner.shared().decoding());
        if let Some(config) = &run.lora {
            policy.transformer = lora::attach(policy.transformer, config, &mut ChaCha8Rng::seed_from_u64(run.seed))?;
        }
        let policy = scorer::with_head_started(policy, learner.score_head(), run.seed);
        let tokenizer = directory.tokenizer;
        let companions = companions_of(&run, &tokenizer)?;
        Ok(Self { run, policy, tokenizer, companions, updates: 0, rewards: Rewards::default() })
    }

    /// Chat template of the model, if known.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a template.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        let template = template_of(self.run.chat_template(), tokenizer_folder(&self.run))?;
        Ok(template.map(|template| template.with_date(self.run.chat_date.unwrap_or_default())))
    }

    /// Alphabet of a model with random weights: the characters of its environment, or of a log.
    fn alphabet(run: &RunFile, registry: &Registry, log: Option<&Log>) -> Result<String> {
        let mut alphabet = match (&run.env, log) {
            (Some(env), _) => {
                let spec = registry.build(env)?.spec().clone();
                spec.alphabet.ok_or_else(|| {
                    Error::Config(format!(
                        "env {}: it lists no alphabet for a model from nothing; name a model in start_from",
                        spec.id
                    ))
                })?
            }
            (None, Some(log)) => alphabet(log)?,
            (None, None) => unreachable!("a run file has an environment or data"),
        };
        if run.learner.config.return_to_go().is_some() {
            alphabet.push_str(RETURN_ALPHABET);
        }
        Ok(alphabet)
    }

    /// Loads the agent of a run's last checkpoint. `overrides` such as `ilql.beta=0` are applied to its run file.
    ///
    /// # Errors
    /// A directory that is not a run or has no checkpoint, a damaged checkpoint, or a device that is not there.
    pub fn load(run_dir: &Path, registry: &Registry, overrides: &[impl AsRef<str>]) -> Result<Self> {
        let dir = RunDir::open(run_dir)?;
        let run = RunFile::load(&dir.run_file(), overrides)?.resolve(registry)?;
        let device = open_device(&run.device).map_err(Error::Device)?;
        let path = checkpoint::last(&dir.checkpoints())?;
        let checkpoint = checkpoint::load(&path)?;
        let rewards = with_models(registry, &device).rewards(run.all_rewards())?;
        Ok(Self { rewards, ..Self::from_checkpoint(run, &checkpoint, &path, &device)? })
    }

    /// Creates the agent of a checkpoint that was read from `path`, without rewards.
    ///
    /// # Errors
    /// Weights or a tokenizer that do not fit.
    pub fn from_checkpoint(run: RunFile, saved: &Checkpoint, path: &Path, device: &Device) -> Result<Self> {
        let companions = saved.companions.clone();
        if saved.contents == Contents::Adapters {
            let base = run.start_from.clone().ok_or_else(|| {
                let reason = "it holds adapters, and the run file names no model in start_from".to_string();
                Error::Checkpoint { path: path.display().to_string(), reason }
            })?;
            let agent = Self::starting_from(run, &base, device)?;
            let trained = saved.optimizer.iter().filter_map(|(name, tensor)| {
                let data = TensorData::new(tensor.data.clone(), tensor.shape.clone());
                Some((name.strip_suffix(TRAINED)?.to_string(), data))
            });
            let policy = parameters::replace_some(agent.policy, trained.collect())
                .map_err(|wrong| Error::Checkpoint { path: path.display().to_string(), reason: wrong.join("; ") })?;
            return Ok(Self { policy, updates: saved.step, companions, ..agent });
        }
        if run.lora.is_some() {
            let reason =
                "its adapters were merged when the run ended; start another run from it in start_from".to_string();
            return Err(Error::Checkpoint { path: path.display().to_string(), reason });
        }
        let config = config_json::read(&saved.config, &path.join("config.json"))?;
        let file = path.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&file)?
            .for_rows(config.vocab_size)
            .map_err(|reason| Error::Checkpoint { path: file.display().to_string(), reason })?;
        let (mut tensors, origin) = (saved.model.clone(), path.join("model.safetensors"));
        if classifier::is_classifier(&saved.config) {
            classifier::from_classifier(&saved.config, &mut tensors, &origin)?;
        }
        let tensors = from_hugging_face(&config, tensors, &origin)?;
        let policy = policy_of(&run, &config, tensors, device, path)?;
        let policy = policy.with_score_scale(classifier::score_settings(&saved.config).scale);
        let policy = policy.with_vocabulary(tokenizer.vocab_size());
        Ok(Self { run, policy, tokenizer, companions, updates: saved.step, rewards: Rewards::default() })
    }

    /// Checkpoint of a model in training, in the autodiff context or out of it. Only its weights are not this agent's.
    ///
    /// For adapters it also keeps their own matrices with the optimiser's state, and the heads that were trained with
    /// them: PEFT's format merges matrices that are trained apart here, and has no heads.
    ///
    /// # Errors
    /// A tokenizer that cannot be written.
    pub fn checkpoint(&self, policy: &Policy, step: u64, mut optimizer: Tensors, state: Value) -> Result<Checkpoint> {
        let base = self.run.start_from.as_deref().unwrap_or(Path::new("")).display().to_string();
        let (contents, config, model) = match lora::adapter_files(&policy.transformer, &base) {
            Some((config, tensors)) => {
                let trained = parameters::collect_some(policy, &is_own);
                optimizer.extend(tensors_of(trained).into_iter().map(|(name, tensor)| (name + TRAINED, tensor)));
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

    /// Tokens that end what the model writes.
    ///
    /// # Errors
    /// Generation settings that are damaged.
    pub fn end_tokens(&self) -> Result<EndTokens> {
        Ok(EndTokens::new(self.tokenizer.special().end, &generation_config_of(&self.companions)?))
    }

    /// Encoder of episodes into this agent's tokens.
    ///
    /// # Errors
    /// A run that chats with a model without a chat template, or generation settings that are damaged.
    pub fn encoder(&self) -> Result<Encoder> {
        let mut encoding = self.run.rollout.encoding(self.policy.transformer.config().context);
        encoding.return_to_go = self.run.learner.config.return_to_go().map(|it| it.decimals);
        let encoder = Encoder::new(self.tokenizer.clone(), encoding).with_ends(self.end_tokens()?);
        if !self.run.rollout.chat {
            return Ok(encoder);
        }
        let template = self.chat_template()?.ok_or_else(|| {
            let model = self.run.start_from.as_deref().unwrap_or(Path::new("")).display();
            Error::Config(format!(
                "rollout.chat: {model} has no chat template; remove it, or start from a model that has"
            ))
        })?;
        Ok(encoder.with_chat(template))
    }

    /// Environment that the agent is trained or evaluated in.
    ///
    /// # Errors
    /// A run that learned from a log, and names none.
    pub fn env(&self) -> Result<&Definition> {
        let missing = || {
            Error::Config(format!(
                "{}: it learned from a log and names no environment; say which, such as --set env.id=frozen-lake-4x4",
                self.run.name
            ))
        };
        self.run.env.as_ref().ok_or_else(missing)
    }

    /// Creates a rollout with the run's settings, in at most this many environments at once.
    ///
    /// # Errors
    /// An environment that cannot be built.
    pub fn rollout(&self, registry: &Registry, environments: usize) -> Result<Rollout> {
        self.rollout_of(self.run.rollout.clone(), registry, environments)
    }

    /// Creates a rollout as [`Agent::rollout`] does, with other settings than the run's.
    ///
    /// # Errors
    /// As [`Agent::rollout`].
    pub fn rollout_of(&self, config: RolloutConfig, registry: &Registry, environments: usize) -> Result<Rollout> {
        let pool = Pool::new(registry, self.env()?, environments)?;
        let target_return = self.run.learner.config.return_to_go().and_then(|it| it.target);
        Ok(Rollout::new(pool, self.encoder()?, config, target_return).with_rewards(self.rewards.clone()))
    }

    /// Plays episodes that training never saw, and scores them. The results of each reward are among the numbers of
    /// `info`, and so are the numbers of episodes that the environment's program failed (`dropped_<kind>`). Episodes that lack
    /// a reward count in none of the others.
    ///
    /// # Errors
    /// Errors of [`Rollout::play`].
    pub fn evaluate(
        &self,
        policy: &Policy,
        registry: &Registry,
        episodes: u64,
        seed: u64,
    ) -> Result<(Evaluation, Vec<RolloutResult>)> {
        let policy = policy.valid();
        let config = self.evaluation_rollout();
        let mut rollout = self.rollout_of(config, registry, (episodes as usize).clamp(1, 256))?;
        let numbers = FIRST_EVALUATION..FIRST_EVALUATION + episodes;
        let (played, timings) = rollout.play(&policy, seed, numbers, &self.sampling())?;
        let scored = played.iter().filter(|played| played.is_scored());
        let mut score = score(&self.run.name, scored.map(|played| (&played.episode, &played.info)));
        score.info.extend(reward_means(&played));
        let dropped = timings.dropped.iter().map(|(kind, count)| (format!("dropped_{kind}"), *count as f64));
        score.info.extend(dropped);
        let spec = registry.build(self.env()?)?.spec().clone();
        let exact = self.exact_value(&policy, registry)?;
        Ok((Evaluation { env_id: spec.id, score, exact, optimal_return: spec.optimal_return }, played))
    }

    /// Evaluates the policy as [`Agent::evaluate`] does, if the run names an environment.
    ///
    /// # Errors
    /// As [`Agent::evaluate`].
    pub fn try_evaluate(
        &self,
        policy: &Policy,
        registry: &Registry,
        episodes: u64,
        seed: u64,
    ) -> Result<Option<(Evaluation, Vec<RolloutResult>)>> {
        self.run.env.as_ref().map(|_| self.evaluate(policy, registry, episodes, seed)).transpose()
    }

    /// Plays further episodes one after the other, and shows each turn.
    ///
    /// # Errors
    /// Errors of [`Rollout::play`] or of the watcher.
    pub fn watch(
        &self,
        registry: &Registry,
        seed: u64,
        episodes: u64,
        watch: &mut dyn FnMut(u64, RolloutEvent, &dyn Env) -> Result<()>,
    ) -> Result<Vec<RolloutResult>> {
        let config = self.evaluation_rollout();
        let mut rollout = self.rollout_of(config, registry, 1)?;
        let numbers = FIRST_EVALUATION..FIRST_EVALUATION + episodes;
        Ok(rollout.play_watched(&self.policy, seed, numbers, &self.sampling(), watch)?.0)
    }

    /// Settings of rollouts in an evaluation: each episode begins in a state of its own, and the reward is that of the
    /// environment and the reward functions.
    fn evaluation_rollout(&self) -> RolloutConfig {
        RolloutConfig { group: 1, missing_end_penalty: 0.0, ..self.run.rollout.clone() }
    }

    /// Sampling of an evaluation.
    pub fn sampling(&self) -> Sampling {
        if self.run.evaluation.greedy { Sampling::GREEDY } else { self.run.rollout.sampling }
    }

    /// Exact value of the policy as [`Agent::evaluate`] plays it, if the game is small enough and the policy reads
    /// turns alone and writes only listed actions.
    fn exact_value(&self, policy: &Policy, registry: &Registry) -> Result<Option<ExactValue>> {
        if self.run.learner.config.return_to_go().is_some() {
            return Ok(None);
        }
        self.evaluation_policy(policy, self.sampling().temperature, 0.0)?.exact_value(registry, self.env()?, 1.0)
    }
}

/// Directory of a run's tokenizer, if it comes from one.
fn tokenizer_folder(run: &RunFile) -> Option<&Path> {
    run.start_from.as_deref().or_else(|| run.tokenizer()?.parent())
}

/// Other files of a run's model: those next to its tokenizer, the chat template that the run names, and at least the
/// settings of its end and padding tokens.
fn companions_of(run: &RunFile, tokenizer: &Tokenizer) -> Result<BTreeMap<String, String>> {
    let mut companions = tokenizer_folder(run).map_or(Ok(BTreeMap::new()), read_companions)?;
    if let Some(path) = run.chat_template() {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        companions.insert("chat_template.jinja".to_string(), text);
    }
    if let Some(directory) = &run.start_from {
        // Older models have their end tokens in config.json alone, which in a checkpoint holds none.
        if !companions.contains_key(GENERATION_CONFIG) {
            let mut generation = read_generation_config(directory)?;
            if generation.eos.is_empty() {
                generation.eos.extend(tokenizer.special().end);
            }
            companions.insert(GENERATION_CONFIG.to_string(), format!("{:#}\n", generation.write()));
        }
    } else {
        let special = tokenizer.special();
        let eos = special.end.into_iter().collect();
        let generation = GenerationConfig { eos, pad: Some(special.pad), ..GenerationConfig::default() };
        let generation = || format!("{:#}\n", generation.write());
        companions.entry(GENERATION_CONFIG.to_string()).or_insert_with(generation);
        companions.entry("tokenizer_config.json".to_string()).or_insert_with(|| tokenizer.to_config_json());
    }
    if run.learner.config.score_head().is_some() {
        scorer::name_padding(&mut companions, tokenizer);
    }
    Ok(companions)
}

/// Creates a policy with these weights, under the project's own names.
fn policy_of(run: &RunFile, config: &ModelConfig, tensors: Tensors, device: &Device, path: &Path) -> Result<Policy> {
    let learner = run.learner.config.shared();
    Policy::from_tensors(config, learner.heads(), tensors, device)
        .map(|policy| policy.with_decoding(learner.decoding()))
        .map_err(|wrong| Error::Checkpoint { path: path.display().to_string(), reason: wrong.join("; ") })
}

fn named(policy: &Policy) -> Tensors {
    tensors_of(parameters::collect(policy))
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Baseline { policy, episodes, mean_return, standard_error, mean_turns, invalid_action_rate, info } =
            &self.score;
        write!(f, "{}: {policy} has a mean return of {mean_return:.4} +- {standard_error:.4}", self.env_id)?;
        if let Some(optimum) = self.optimal_return {
            write!(f, " (optimum {optimum:.4})")?;
        }
        write!(f, " over {episodes} episodes; {mean_turns:.1} turns each, ")?;
        write!(f, "{:.1} % invalid actions", 100.0 * invalid_action_rate)?;
        for (name, mean) in info {
            write!(f, ", {name} {mean:.3}")?;
        }
        if let Some(exact) = &self.exact {
            write!(f, "\nby calculation, the policy's expected return is {:.4}", exact.expected_return)?;
            for (name, probability) in &exact.ends {
                write!(f, ", {name} {:.2} %", 100.0 * probability)?;
            }
        }
        Ok(())
    }
}
