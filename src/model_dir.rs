//! Directory of a model, in Hugging Face's layout, or a GGUF file: the one way in which policies, language models and
//! reward models are opened.
//!
//! Knows files and models; knows nothing of the use of a model. A run's directory works too: its best
//! checkpoint, or else its last, is the model. Adapters stand for their base model with them merged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use palestra_datasets::local;
use palestra_files::Address;
use palestra_gguf::is_gguf;
use palestra_model::checkpoint::{self, Tensors};
use palestra_model::classifier::{self, ScoreSettings};
use palestra_model::huggingface::is_own;
use palestra_model::lora::{base_of_adapters, merged, read_adapters, read_score_head, read_score_settings};
use palestra_model::ops::OutputVocabulary;
use palestra_model::parameters::{collect, tensors_of};
use palestra_model::quantize::Quantization;
use palestra_model::{
    COMPANIONS, Device, FrozenMatrices, GenerationConfig, Heads, ModelConfig, Policy, read_companions, read_config,
    read_config_json, read_frozen, read_generation_config,
};
use palestra_remote::fetch_with_others;
use palestra_text::{ChatTemplate, TemplateLimits, Tokenizer, files_of_gguf};

use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result, hub, memory};

const TOKENIZER: &str = "tokenizer.json";
/// Configuration of adapters in PEFT's format.
const ADAPTERS: &str = "adapter_config.json";

/// Directory of a model, whose tokenizer is open and belongs to the model.
pub struct ModelDir {
    /// The directory with the model's files, or the GGUF file; of adapters, that of their base model.
    pub path: PathBuf,
    /// Directories of the adapters on the model, those that were trained first first.
    adapters: Vec<PathBuf>,
    /// Tokenizer of the model; all its tokens are in the model's vocabulary, but for one of padding.
    pub tokenizer: Tokenizer,
    /// Bounds of its chat template.
    limits: TemplateLimits,
}

impl ModelDir {
    /// Opens the directory of a model or of adapters, a GGUF file, or the best or last checkpoint of a run's directory.
    ///
    /// # Errors
    /// A path that is neither; a tokenizer that is missing, or that belongs to another model.
    pub fn open(path: &Path) -> Result<Self> {
        let (path, adapters) = layers(path)?;
        let config = read_config(&path)?; // first: it names a GGUF file that cannot be read as a model
        memory::check_model(&config, &path)?;
        let rows = config.vocab_size;
        let file = tokenizer_file(&path);
        let tokenizer = Tokenizer::from_file(&file)?
            .for_rows(rows)
            .map_err(|reason| Error::Checkpoint { path: file.display().to_string(), reason })?;
        let limits = template_limits(adapters.last().unwrap_or(&path))?;
        Ok(Self { path, adapters, tokenizer, limits })
    }

    /// Policy that `build` makes of the model's configuration and weights, which are under the project's own names, with
    /// its adapters merged. It never writes a token that the tokenizer lacks.
    ///
    /// # Errors
    /// Files that are missing or damaged, adapters that do not fit, or the reasons that `build` gives.
    pub fn policy(&self, build: impl FnOnce(ModelConfig, Tensors) -> Result<Policy, Vec<String>>) -> Result<Policy> {
        let as_they_are = (Quantization::None, &Device::flex());
        self.frozen_policy(as_they_are, |config, tensors, _| build(config, tensors))
    }

    /// As [`ModelDir::policy`], with matrices that are frozen in this form on this device as they are read; without any, if
    /// adapters are merged into them.
    ///
    /// # Errors
    /// As [`ModelDir::policy`].
    pub fn frozen_policy(
        &self,
        (quantization, device): (Quantization, &Device),
        build: impl FnOnce(ModelConfig, Tensors, FrozenMatrices) -> Result<Policy, Vec<String>>,
    ) -> Result<Policy> {
        let quantization = if self.adapters.is_empty() { quantization } else { Quantization::None };
        let (mut config, mut tensors, frozen) = read_frozen(&self.path, quantization, device)?;
        if let Some(last) = self.adapters.last() {
            tensors = self.with_adapters(&config, tensors)?;
            if let Some(head) = read_score_head(last)? {
                classifier::remove_output_layer(&mut config, &mut tensors);
                tensors.extend(head);
            }
        }
        let policy = build(config, tensors, frozen).map_err(|faults| self.fault(faults.join("; ")))?;
        Ok(policy.with_vocabulary(output_vocabulary(&self.tokenizer)))
    }

    /// Weights of the model with its adapters merged, computed on the CPU.
    fn with_adapters(&self, config: &ModelConfig, mut tensors: Tensors) -> Result<Tensors> {
        tensors.retain(|name, _| !is_own(name)); // values of a learner, which belong to the model without adapters
        let base = Policy::from_tensors(config, Heads::default(), tensors, &Device::flex());
        let mut model = base.map_err(|faults| self.fault(faults.join("; ")))?.transformer;
        for adapters in &self.adapters {
            model = merged(read_adapters(model, adapters)?);
        }
        Ok(tensors_of(collect(&model)))
    }

    /// Score settings of a reward model; `None` if it is a language model.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub fn score_settings(&self) -> Result<Option<ScoreSettings>> {
        score_settings(self.adapters.last().unwrap_or(&self.path))
    }

    /// Chat template of the model, if it has one: that beside its last adapters comes first.
    ///
    /// # Errors
    /// A file that is not a template.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        for directory in self.adapters.iter().rev() {
            if let Some(template) = ChatTemplate::from_directory_within(self.limits, directory)? {
                return Ok(Some(template));
            }
        }
        Ok(ChatTemplate::from_directory_within(self.limits, &self.path)?)
    }

    /// Generation settings of the model.
    ///
    /// # Errors
    /// A file that is not JSON, or that has values of other types.
    pub fn generation(&self) -> Result<GenerationConfig> {
        Ok(read_generation_config(&self.path)?)
    }

    /// Error about the directory, or that of its last adapters.
    pub fn fault(&self, reason: String) -> Error {
        Error::Checkpoint { path: self.adapters.last().unwrap_or(&self.path).display().to_string(), reason }
    }
}

/// Score settings of the directory of a reward model or of adapters that make one; `None` of one that writes.
fn score_settings(directory: &Path) -> Result<Option<ScoreSettings>> {
    if directory.join(ADAPTERS).is_file() {
        return Ok(read_score_settings(directory)?);
    }
    let config = read_config_json(directory)?;
    Ok(classifier::is_classifier(&config).then(|| classifier::score_settings(&config)))
}

/// Refuses the directory of a reward model, which writes no text, or that of adapters of one.
///
/// # Errors
/// A reward model, or files that are missing or damaged.
pub fn check_writes(directory: &Path) -> Result<()> {
    if score_settings(directory)?.is_some() {
        let reason = "is a reward model, which writes no text; palestra score takes it".to_string();
        return Err(Error::Checkpoint { path: directory.display().to_string(), reason });
    }
    Ok(())
}

/// True if `path` is the directory of a run, or of one of its checkpoints.
pub fn is_of_run(path: &Path) -> bool {
    path.join("run.toml").is_file() || run_of_checkpoint(path).is_some()
}

/// Bounds of the chat template in a model's directory: those of the run whose checkpoint it is, else the default ones.
///
/// # Errors
/// A run file that is damaged.
pub fn template_limits(directory: &Path) -> Result<TemplateLimits> {
    match run_of_checkpoint(directory) {
        Some(run) => Ok(RunFile::load(&RunDir::open(run)?.run_file(), &[] as &[&str])?.template_limits),
        None => Ok(TemplateLimits::default()),
    }
}

/// The directory of the run that wrote this checkpoint.
fn run_of_checkpoint(checkpoint: &Path) -> Option<&Path> {
    let run = checkpoint.parent().and_then(Path::parent).filter(|run| run.join("run.toml").is_file());
    run.filter(|_| checkpoint.join("trainer_state.json").is_file())
}

/// A run and the checkpoint that is meant: `path` is a run's directory, for its best or last checkpoint, or that of a
/// checkpoint.
///
/// # Errors
/// A path that is neither, or a run without checkpoints.
pub fn checkpoint_of_run(path: &Path) -> Result<(RunDir, PathBuf)> {
    match run_of_checkpoint(path) {
        Some(run) => Ok((RunDir::open(run)?, path.to_path_buf())),
        None => {
            let run = RunDir::open(path)?;
            let checkpoint = checkpoint_of(&run)?;
            Ok((run, checkpoint))
        }
    }
}

/// Tokens that a model writes: those that its tokenizer has.
pub fn output_vocabulary(tokenizer: &Tokenizer) -> OutputVocabulary {
    OutputVocabulary::new(tokenizer.vocab_size(), &tokenizer.holes())
}

/// The checkpoint that a run is used by: the best, if the run keeps one, else the last.
fn checkpoint_of(run: &RunDir) -> Result<PathBuf> {
    match checkpoint::latest(&run.best())? {
        Some(best) => Ok(best),
        None => Ok(checkpoint::last(&run.checkpoints())?),
    }
}

/// The file with a model's tokenizer.
fn tokenizer_file(model: &Path) -> PathBuf {
    if is_gguf(model) { model.to_owned() } else { model.join(TOKENIZER) }
}

/// Path of a `tokenizer.json`: one that a person named, or the copy of an address, with copies of the files beside it that
/// belong to a tokenizer.
///
/// # Errors
/// An address that cannot be fetched.
pub fn local_tokenizer(file: &Path) -> Result<Cow<'_, Path>> {
    let Some(address) = Address::of_path(file) else { return Ok(Cow::Borrowed(file)) };
    let belongs = |name: &str| [TOKENIZER].iter().chain(&COMPANIONS).any(|known| *known == name);
    Ok(Cow::Owned(fetch_with_others(&address.map_err(Error::Config)?, belongs)?))
}

/// Text of a model's `tokenizer.json`.
///
/// # Errors
/// A file that cannot be read.
pub fn tokenizer_json(model: &Path) -> Result<String> {
    if is_gguf(model) {
        return Ok(files_of_gguf(model)?.remove(TOKENIZER).unwrap_or_default());
    }
    let file = model.join(TOKENIZER);
    fs::read_to_string(&file).map_err(Error::io(&file))
}

/// Text files beside a model and its tokenizer, such as `chat_template.jinja`, by file name. Those beside adapters stand in
/// place of those of their base model.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn companions(model: &Path) -> Result<BTreeMap<String, String>> {
    if let Some(base) = base_of_adapters(model)? {
        let mut files = companions(&model_directory(&base)?)?;
        files.extend(read_companions(model)?);
        return Ok(files);
    }
    if is_gguf(model) {
        let mut files = files_of_gguf(model)?;
        files.remove(TOKENIZER);
        return Ok(files);
    }
    Ok(read_companions(model)?)
}

/// Directory of the base model of a path, or its GGUF file: that of [`model_directory`], unless it holds adapters.
///
/// # Errors
/// As [`model_directory`]; adapters whose base model is not there.
pub fn base_directory(path: &Path) -> Result<PathBuf> {
    layers(path).map(|(base, _)| base)
}

/// Directory of the base model of a path, and those of the adapters on it, those that were trained first first.
fn layers(path: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (mut model, mut adapters) = (model_directory(path)?, Vec::new());
    while let Some(base) = base_of_adapters(&model)? {
        if adapters.contains(&model) {
            let reason = "adapters that name themselves as their base model; write where the model is".to_string();
            return Err(Error::Checkpoint { path: model.display().to_string(), reason });
        }
        adapters.push(std::mem::replace(&mut model, model_directory(&base)?));
    }
    adapters.reverse();
    Ok((model, adapters))
}

/// The directory with the model's files, or the GGUF file: `path` itself or the copy of an address, or the best or last
/// checkpoint of a run.
///
/// # Errors
/// A path that is neither.
pub fn model_directory(path: &Path) -> Result<PathBuf> {
    let path = &*local(path)?;
    if is_gguf(path) || path.join("config.json").is_file() || path.join(ADAPTERS).is_file() {
        return Ok(path.to_path_buf());
    }
    if path.join("run.toml").is_file() {
        return checkpoint_of(&RunDir::open(path)?);
    }
    let reason = if path.is_dir() { "has neither config.json nor run.toml" } else { "is no directory" };
    if let Some(cached) = hub::cached(path).filter(|_| !path.is_dir()) {
        return Ok(cached);
    }
    let (shown, advice) = (path.display(), hub::advice(path));
    Err(Error::Config(format!(
        "{shown} {reason}; give a Hugging Face model directory, a file .gguf, or the directory of a run{advice}"
    )))
}
