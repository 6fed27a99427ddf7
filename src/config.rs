//! Run file: the TOML file that describes a training run, and its parser.
//!
//! A [`RunFile`] holds what a person wrote, parsed once. [`RunFile::check`] refuses invalid values, and nothing
//! downstream checks again. This module opens no device and plays no game.

mod checks;
mod defaults;
mod foreign;
mod learner;
mod sections;
mod shown;

use std::path::{Path, PathBuf};

use palestra_envs::{Definition, Registry, RewardDefinition};
use palestra_files::Address;
use palestra_settings::{assign, parse_toml, parse_toml_table};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model_dir::model_directory;
use crate::{Error, Result, hub};
pub use foreign::{name_here, names_elsewhere};
use learner::WithLearner;
use palestra_learn::learners::{Data, LEARNERS, NamedLearner};
use palestra_learn::rollout::RolloutConfig;
use palestra_learn::source::{DataConfig, PreferenceConfig, TextConfig};
use palestra_model::ModelConfig;
use palestra_model::lora::LoraConfig;
use palestra_model::ops::device_name;
use palestra_model::optim::OptimizerConfig;
use palestra_text::{ChatDate, NamedTemplate, TemplateLimits};
pub use sections::{EvaluationConfig, Sharding, TrainConfig};
pub use shown::shown_value;

/// Training run as a TOML file describes it.
///
/// It has an `[env]` to learn from by rollouts, or `[data]` to learn from, with the section of one learner. With
/// `[data]`, an `[env]` is only used to evaluate the model. With `[text]` it trains a language model. With
/// `[preferences]` and the section of a learner it learns from people's preferences. All other sections are optional.
///
/// ```
/// # use palestra::config::RunFile;
/// let run = RunFile::from_toml("lake.toml", r#"
///     name = "lake"
///     [env]
///     id = "frozen-lake-4x4"
///     [ppo]
///     epochs = 2
/// "#, &["optimizer.learning_rate=1e-3"])?;
/// assert_eq!((run.learner.name, run.optimizer.learning_rate), ("ppo", 1e-3));
/// # Ok::<(), palestra::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// Name of the run; its directory is named for it. Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Seed of everything random in the run.
    #[serde(default)]
    pub seed: u64,
    /// Device to compute on: `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:<index>`; or a backend by its
    /// own name: `flex`, `libtorch` or `libtorch-cuda:<index>`. A saved run has the name of the one that it took.
    #[serde(default = "auto")]
    pub device: String,
    /// Model to train further, with its tokenizer: the directory of a model, a run or a checkpoint, or a GGUF file, relative to
    /// the run file; or the name of a model in the local cache of the Hugging Face Hub. There is then no `[model]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<PathBuf>,
    /// Date that `strftime_now` tells a chat template, such as `"2024-07-26"`. It is fixed, so that a run is the same every
    /// day; absent, it is 2024-07-26, as in Llama's templates.
    #[serde(default, deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<ChatDate>,
    /// Bounds of the chat template, which comes from anybody: a larger template, or one that takes more, is refused.
    #[serde(default)]
    pub template_limits: TemplateLimits,
    /// The environment: a registered one by its `id`, the `file` that defines one (relative to the run file), or a
    /// `kind`; with `options` and `wrappers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Definition>,
    /// Rewards of whole episodes, in addition to the environment's rules and the rewards of its definition.
    #[serde(default, rename = "reward", skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardDefinition>,
    /// Logged experience to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// Text to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextConfig>,
    /// Preferences to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<PreferenceConfig>,
    /// Low-rank adapters (LoRA) to train on the frozen model of `start_from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The shape of a model that starts from random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    /// Rollouts: how episodes are played to learn from.
    #[serde(default)]
    pub rollout: RolloutConfig,
    /// Learner, named by its section: `[ppo]`, `[dpo]` or another of the [table](LEARNERS). If no section names one, the
    /// first of the table that learns from `[text]`, or else from play. [`RunFile::from_toml`] sets it; the derived
    /// `Deserialize` knows the other sections alone.
    #[serde(skip_deserializing, default = "first_learner", flatten)]
    pub learner: NamedLearner,
    /// Optimiser settings.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Length of training, and the checkpoints to keep.
    #[serde(default)]
    pub train: TrainConfig,
    /// Evaluation of the model.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

fn auto() -> String {
    "auto".to_string()
}

/// Parses a date as a text, or as TOML's own.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<ChatDate>, D::Error> {
    let text = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse().map(Some).map_err(D::Error::custom)
}

/// Stands in the field until all sections are read.
fn first_learner() -> NamedLearner {
    LEARNERS[0].with_defaults()
}

impl RunFile {
    /// Reads a run file, applies `key=value` overrides such as `ppo.epochs=2`, and checks the result.
    ///
    /// A value is written as in TOML. A value that is not valid TOML is taken as text, so `device=flex` needs no
    /// quotes.
    ///
    /// # Errors
    /// A file that cannot be read; an invalid key, value or combination, with its file and line or its override.
    pub fn load(path: &Path, overrides: &[impl AsRef<str>]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::from_toml(&path.display().to_string(), &text, overrides)
    }

    /// Parses a text as [`RunFile::load`] does; `file` is its name in errors.
    pub fn from_toml(file: &str, text: &str, overrides: &[impl AsRef<str>]) -> Result<Self> {
        let mut run = parse_toml(file, text).map(|WithLearner(run)| run).map_err(config);
        let mut origin = file.to_string();
        let mut table = toml::Table::new();
        if run.is_ok() || !overrides.is_empty() {
            table = parse_toml(file, text).map_err(config)?;
        }
        if !overrides.is_empty() {
            for assignment in overrides.iter().map(AsRef::as_ref) {
                let option = format!("--set {assignment}");
                assign(&mut table, assignment).map_err(|reason| Error::Config(format!("{option}: {reason}")))?;
                one_length(&mut table, assignment);
                let changed = parse_toml_table(&option, &table).map(|WithLearner(run)| run).map_err(config);
                // An override may add what the file lacks, such as its learner.
                run = if run.is_ok() { Ok(changed?) } else { changed.or(run) };
                origin = format!("{origin} {option}");
            }
        }
        let mut run = run?;
        if defaults::fill(&mut table, &run) {
            run = parse_toml_table(&origin, &table).map(|WithLearner(run)| run).map_err(config)?;
        }
        if !overrides.iter().any(|assignment| assignment.as_ref().trim_start().starts_with("env")) {
            // Errors about the environment come later, and still name the line that it was written in.
            run.env = run.env.map(|env| env.written_in(file, text, "env"));
        }
        if !overrides.iter().any(|assignment| assignment.as_ref().trim_start().starts_with("reward")) {
            let rewards = run.rewards.into_iter().enumerate();
            run.rewards = rewards.map(|(at, it)| it.written_in(file, text, &format!("reward.{at}"))).collect();
        }
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        run.env.iter_mut().for_each(|env| env.seen_from(folder));
        run.rewards.iter_mut().for_each(|reward| reward.seen_from(folder));
        let env_file = run.env.as_mut().and_then(|env| env.file.as_mut());
        env_file.into_iter().for_each(|path| *path = folder.join(&path));
        for path in run.start_from.iter_mut() {
            let (beside, is_address) = (seen_from(folder, path), Address::is_in(&*path));
            *path = Some(&*path)
                .filter(|_| !is_address && !beside.exists())
                .and_then(|name| hub::cached(name))
                .unwrap_or(beside);
        }
        for file in run.file_names() {
            *file = seen_from(folder, file.as_ref()).display().to_string();
        }
        for path in run.other_paths() {
            *path = seen_from(folder, path);
        }
        run.check().map_err(|error| Error::Config(format!("{origin}: {error}")))?;
        Ok(run)
    }

    /// All rewards of a resolved run: those of its environment's definition, then its own.
    pub fn all_rewards(&self) -> impl Iterator<Item = &RewardDefinition> {
        self.env.iter().flat_map(|env| &env.rewards).chain(&self.rewards)
    }

    /// Returns the run with its environment's definition written out, so that it needs no other file but a checkpoint.
    ///
    /// # Errors
    /// An unknown environment, or a definition that cannot be used.
    pub fn resolve(mut self, registry: &Registry) -> Result<Self> {
        self.env = self.env.map(|env| registry.resolve(&env)).transpose()?;
        self.device = device_name(&self.device);
        let kind = self.env.as_ref().and_then(|env| env.kind.as_deref());
        if kind == Some("completion") && self.learner.config.data() == Data::Play && self.all_rewards().next().is_none()
        {
            return Err(Error::Config(format!(
                "[[reward]]: missing; the environment `completion` scores nothing itself, so that [{}] would learn nothing; \
                 add a reward (docs/rewards.md)",
                self.learner.name
            )));
        }
        self.hold_out_prompts()?;
        for file in self.file_names() {
            *file = absolute(file.as_ref())?.display().to_string();
        }
        for path in self.other_paths() {
            *path = absolute(path)?;
        }
        match &mut self.start_from {
            // The resolved run is saved elsewhere, where a relative path would name another file.
            Some(path) => {
                *path = absolute(path)?;
                // A run that is trained further has another model later.
                if path.join("run.toml").is_file() {
                    *path = model_directory(path)?;
                }
            }
            None => _ = self.model.get_or_insert_default(),
        }
        Ok(self)
    }

    /// Leaves the held-out prompts of the evaluation out of those to learn from.
    fn hold_out_prompts(&mut self) -> Result<()> {
        let EvaluationConfig { file, held_out, .. } = &self.evaluation;
        let (key, held_out) = match (file, *held_out) {
            (None, 0.0) => return Ok(()),
            (None, held_out) => ("held_out", Some(held_out)),
            (Some(_), _) => ("file", None),
        };
        match &mut self.env {
            Some(env) if env.kind.as_deref() == Some("completion") => {
                if let Some(held_out) = held_out {
                    env.options.set("held_out", held_out);
                    env.options.set("split", "train");
                }
                Ok(())
            }
            env => Err(Error::Config(format!(
                "evaluation.{key}: only the environment `completion` has prompts, and this run plays {}; remove it",
                env.as_ref().and_then(|env| env.id.as_deref()).unwrap_or("nothing")
            ))),
        }
    }

    /// Environment that a resolved run is evaluated in: that of training, with the prompts of `[evaluation]`.
    pub fn evaluation_env(&self) -> Option<Definition> {
        let mut env = self.env.clone()?;
        if let Some(file) = &self.evaluation.file {
            env.options.remove("prompts");
            env.options.set("file", file.display().to_string());
            env.options.set("split", "all");
        } else if self.evaluation.held_out > 0.0 {
            env.options.set("split", "held_out");
        }
        Some(env)
    }

    /// Files and patterns of the data to learn from.
    fn file_names(&mut self) -> impl Iterator<Item = &mut String> {
        let logs = self.data.iter_mut().flat_map(|data| &mut data.files);
        let texts = self.text.iter_mut().flat_map(|text| text.file_lists().flatten());
        let preferences = self.preferences.iter_mut().flat_map(|section| section.file_lists().flatten());
        logs.chain(texts).chain(preferences)
    }

    /// Files beside the data: the tokenizer and the chat template that text is encoded by, and the prompts of the evaluation.
    fn other_paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let text = self.text.iter_mut().map(|text| (&mut text.tokenizer, &mut text.chat_template));
        let preferences =
            self.preferences.iter_mut().map(|section| (&mut section.tokenizer, &mut section.chat_template));
        let of_data = text.chain(preferences).flat_map(|(tokenizer, template)| {
            tokenizer.iter_mut().chain(template.iter_mut().filter_map(NamedTemplate::file_mut))
        });
        let of_rollouts = self.rollout.chat_template.iter_mut().filter_map(NamedTemplate::file_mut);
        of_data.chain(of_rollouts).chain(&mut self.evaluation.file)
    }

    /// The `tokenizer.json` that the run names.
    pub fn tokenizer(&self) -> Option<&Path> {
        let of_text = self.text.as_ref().and_then(|text| text.tokenizer.as_deref());
        of_text.or(self.preferences.as_ref().and_then(|preferences| preferences.tokenizer.as_deref()))
    }

    /// The chat template that the run names.
    pub fn chat_template(&self) -> Option<&NamedTemplate> {
        self.chat_templates().next().map(|(_, template)| template)
    }

    /// The chat templates that the sections name, each with its key.
    fn chat_templates(&self) -> impl Iterator<Item = (&'static str, &NamedTemplate)> {
        let named = [
            ("text.chat_template", self.text.as_ref().and_then(|text| text.chat_template.as_ref())),
            ("preferences.chat_template", self.preferences.as_ref().and_then(|section| section.chat_template.as_ref())),
            ("rollout.chat_template", self.rollout.chat_template.as_ref()),
        ];
        named.into_iter().filter_map(|(key, template)| Some((key, template?)))
    }

    /// Name of the first key that differs from another run, without those that a resumed run may change.
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let keys = |run: &Self| {
            let mut table = toml::Table::try_from(run).unwrap_or_default();
            table.remove("train");
            table.remove("evaluation");
            table
        };
        let (ours, theirs) = (keys(self), keys(other));
        let names = ours.keys().chain(theirs.keys());
        names.into_iter().find(|name| ours.get(*name) != theirs.get(*name)).cloned()
    }

    /// The run as TOML, to be saved with it.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Config(format!("{}: {error}", self.name)))
    }
}

/// A path as it is seen from a folder; an address is the same from everywhere.
fn seen_from(folder: &Path, path: &Path) -> PathBuf {
    if Address::is_in(path) { path.to_owned() } else { folder.join(path) }
}

/// A path from the root; an address as it is.
fn absolute(path: &Path) -> Result<PathBuf> {
    if Address::is_in(path) { Ok(path.to_owned()) } else { std::path::absolute(path).map_err(Error::io(path)) }
}

/// Removes the length of a run that an override replaces: it is told in updates or in epochs.
fn one_length(table: &mut toml::Table, assignment: &str) {
    let key = assignment.split('=').next().unwrap_or_default().trim();
    let replaced = match key {
        "train.epochs" => "updates",
        "train.updates" => "epochs",
        _ => return,
    };
    if let Some(toml::Value::Table(train)) = table.get_mut("train") {
        train.remove(replaced);
    }
}

/// Keys that had another name: section, old name, new name.
const RENAMED: [(&str, &str, &str); 3] = [
    ("data", "stretch", "chunk"),
    ("data", "window", "shuffle_buffer"),
    ("reward_model", "centring", "center_rewards_coefficient"),
];

/// An error in a run file; where a key is unknown because it was renamed, or is that of another tool, it names the key.
fn config(error: palestra_settings::Error) -> Error {
    let message = error.to_string();
    let unknown = |section: &str, old: &str| format!("unknown key `{old}` in [{section}]");
    let renamed = RENAMED.iter().find(|(section, old, _)| message.contains(&unknown(section, old)));
    Error::Config(match renamed {
        Some((section, old, new)) => {
            let (place, _) = message.split_once(&unknown(section, old)).expect("it was found");
            format!("{place}{}: it is called `{new}` now", unknown(section, old))
        }
        None => unknown_key(&message)
            .and_then(|(place, key)| Some(format!("{place}: that is {} here", name_here(key)?)))
            .unwrap_or(message),
    })
}

/// The unknown key that a message is about, and the message up to it, with its section.
fn unknown_key(message: &str) -> Option<(&str, &str)> {
    let (_, after) = message.split_once("unknown key `")?;
    let (key, rest) = after.split_once('`')?;
    let end = rest.strip_prefix(" in [").map_or(0, |section| section.find(']').map_or(0, |at| at + " in [".len() + 1));
    Some((&message[..message.len() - rest.len() + end], key))
}

#[cfg(test)]
mod tests;
