//! An agent made new: of random weights, or from a model on disk.

use std::collections::BTreeMap;
use std::path::Path;

use palestra_datasets::log::Log;
use palestra_envs::{Definition, Registry};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Agent, scorer, tokenizer_folder};
use crate::config::RunFile;
use crate::memory;
use crate::model_dir::{ModelDir, base_directory, companions, local_tokenizer, output_vocabulary};
use crate::{Error, Result};
use palestra_learn::encoder::RETURN_ALPHABET;
use palestra_learn::source::{alphabet, tokenizer_of};
use palestra_model::quantize::Quantization;
use palestra_model::{Device, GenerationConfig, Policy, classifier, lora, read_generation_config};
use palestra_text::Tokenizer;

/// File of a model's generation settings.
const GENERATION_CONFIG: &str = "generation_config.json";

impl Agent {
    /// Creates the agent that a resolved run file starts from: random weights, or a model on disk.
    ///
    /// # Errors
    /// A model that cannot be read, or an environment (or log) without a small alphabet for a model with random
    /// weights.
    pub fn new(run: RunFile, registry: &Registry, log: Option<&Log>, device: &Device) -> Result<Self> {
        let rewards = registry.rewards(run.all_rewards())?;
        if let Some(directory) = run.start_from.clone() {
            return Ok(Self::starting_from(run, &directory, device)?.with_rewards(rewards));
        }
        let learner = run.learner.config.clone();
        let tokenizer = match (run.tokenizer(), &run.text) {
            (Some(path), _) => Tokenizer::from_file(&local_tokenizer(path)?)?,
            (None, Some(text)) => tokenizer_of(text)?,
            (None, None) => Tokenizer::from_alphabet(&Self::alphabet(&run, registry, log)?)?,
        };
        let config = run.model.clone().unwrap_or_default().resolve(tokenizer.vocab_size())?;
        memory::check(&run, &config)?;
        let policy = Policy::new(&config, learner.shared().heads(), run.seed, device)
            .with_decoding(learner.shared().decoding())
            .with_precision(run.train.precision);
        let companions = companions_of(&run, &tokenizer)?;
        let policy = scorer::with_head_started(policy, learner.score_head(), run.seed)
            .with_vocabulary(output_vocabulary(&tokenizer));
        let run = RunFile { model: Some(config), ..run };
        Ok(Self::of(run, policy, tokenizer, companions).with_rewards(rewards))
    }

    /// Creates the agent that starts from a model on disk, with the adapters that the run asks for.
    pub(super) fn starting_from(run: RunFile, directory: &Path, device: &Device) -> Result<Self> {
        let directory = ModelDir::open(directory)?;
        let learner = run.learner.config.clone();
        let heads = learner.shared().heads();
        // A critic's trunk starts as a copy of the language model, which is not quantised.
        let lora = run.lora.as_ref().filter(|_| heads.critic.is_none());
        let form = lora.map_or(Quantization::None, |config| config.form(run.train.precision));
        let policy = directory.frozen_policy((form, device), |mut config, mut tensors, frozen| {
            if learner.score_head().is_some() {
                classifier::remove_output_layer(&mut config, &mut tensors);
            }
            Policy::starting_from(&config, heads, tensors, frozen, run.seed, device)
        })?;
        memory::check(&run, policy.transformer.config())?;
        let mut policy = policy.with_decoding(learner.shared().decoding()).with_precision(run.train.precision);
        if let Some(config) = &run.lora {
            policy.transformer = lora::attach(policy.transformer, config, &mut ChaCha8Rng::seed_from_u64(run.seed))?;
        }
        let policy = scorer::with_head_started(policy, learner.score_head(), run.seed);
        let tokenizer = directory.tokenizer;
        let companions = companions_of(&run, &tokenizer)?;
        Ok(Self::of(run, policy, tokenizer, companions))
    }

    /// Alphabet of a model with random weights: the characters of its environment, or of a log.
    fn alphabet(run: &RunFile, registry: &Registry, log: Option<&Log>) -> Result<String> {
        let mut alphabet = match (&run.env, log) {
            (Some(env), _) => {
                let alphabet_of = |env: &Definition| {
                    let spec = registry.build(env)?.spec().clone();
                    spec.alphabet.ok_or_else(|| {
                        Error::Config(format!(
                            "env {}: it lists no alphabet for a model from nothing; name a model in start_from",
                            spec.id
                        ))
                    })
                };
                let mut alphabet = alphabet_of(env)?;
                if let Some(evaluated_in) = run.evaluation_env().filter(|evaluated_in| evaluated_in != env) {
                    alphabet += &alphabet_of(&evaluated_in)?;
                }
                alphabet
            }
            (None, Some(log)) => alphabet(log)?,
            (None, None) => unreachable!("a run file has an environment or data"),
        };
        if run.learner.config.return_to_go().is_some() {
            alphabet.push_str(RETURN_ALPHABET);
        }
        Ok(alphabet)
    }
}

/// Other files of a run's model: those next to its tokenizer, the chat template that the run names, and at least the
/// settings of its end and padding tokens.
fn companions_of(run: &RunFile, tokenizer: &Tokenizer) -> Result<BTreeMap<String, String>> {
    let folder = tokenizer_folder(run)?;
    let mut found = folder.as_deref().map_or(Ok(BTreeMap::new()), companions)?;
    if let Some(template) = run.chat_template() {
        found.insert("chat_template.jinja".to_string(), template.text()?);
    }
    if let Some(directory) = folder.filter(|_| run.start_from.is_some()) {
        // Older models have their end tokens in config.json alone, which in a checkpoint holds none.
        if !found.contains_key(GENERATION_CONFIG) {
            let mut generation = read_generation_config(&base_directory(&directory)?)?;
            if generation.eos.is_empty() {
                generation.eos.extend(tokenizer.special().end);
            }
            found.insert(GENERATION_CONFIG.to_string(), format!("{:#}\n", generation.write()));
        }
    } else {
        let special = tokenizer.special();
        let eos = special.end.into_iter().collect();
        let generation = GenerationConfig { eos, pad: Some(special.pad), ..GenerationConfig::default() };
        let generation = || format!("{:#}\n", generation.write());
        found.entry(GENERATION_CONFIG.to_string()).or_insert_with(generation);
        found.entry("tokenizer_config.json".to_string()).or_insert_with(|| tokenizer.to_config_json());
    }
    if run.learner.config.score_head().is_some() {
        scorer::name_padding(&mut found, tokenizer);
    }
    Ok(found)
}
