//! Directory of a model, in Hugging Face's layout, or a GGUF file: the one way in which policies, language models and
//! reward models are opened.
//!
//! Knows files and models; knows nothing of the use of a model. A run's directory works too: its best
//! checkpoint, or else its last, is the model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use palestra_gguf::is_gguf;
use palestra_model::checkpoint::{self, Tensors};
use palestra_model::ops::OutputVocabulary;
use palestra_model::{
    GenerationConfig, ModelConfig, Policy, read_companions, read_config, read_generation_config, read_model,
};
use palestra_text::{ChatTemplate, TemplateLimits, Tokenizer, files_of_gguf};

use crate::config::RunFile;
use crate::run_dir::RunDir;
use crate::{Error, Result, hub, memory};

const TOKENIZER: &str = "tokenizer.json";

/// Directory of a model, whose tokenizer is open and belongs to the model.
pub struct ModelDir {
    /// The directory with the model's files, or the GGUF file.
    pub path: PathBuf,
    /// Tokenizer of the model; all its tokens are in the model's vocabulary, but for one of padding.
    pub tokenizer: Tokenizer,
    /// Bounds of its chat template.
    limits: TemplateLimits,
}

impl ModelDir {
    /// Opens the directory of a model, a GGUF file, or the best or last checkpoint of a run's directory.
    ///
    /// # Errors
    /// A path that is neither; a tokenizer that is missing, or that belongs to another model.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_directory(path)?;
        let config = read_config(&path)?; // first: it names a GGUF file that cannot be read as a model
        memory::check_model(&config, &path)?;
        let rows = config.vocab_size;
        let file = tokenizer_file(&path);
        let tokenizer = Tokenizer::from_file(&file)?
            .for_rows(rows)
            .map_err(|reason| Error::Checkpoint { path: file.display().to_string(), reason })?;
        let limits = template_limits(&path)?;
        Ok(Self { path, tokenizer, limits })
    }

    /// Policy that `build` makes of the model's configuration and weights, which are under the project's own names. It
    /// never writes a token that the tokenizer lacks.
    ///
    /// # Errors
    /// Files that are missing or damaged, or the reasons that `build` gives.
    pub fn policy(&self, build: impl FnOnce(ModelConfig, Tensors) -> Result<Policy, Vec<String>>) -> Result<Policy> {
        let (config, tensors) = read_model(&self.path)?;
        let policy = build(config, tensors).map_err(|faults| self.fault(faults.join("; ")))?;
        Ok(policy.with_vocabulary(output_vocabulary(&self.tokenizer)))
    }

    /// Chat template of the model, if it has one.
    ///
    /// # Errors
    /// A file that is not a template.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        Ok(ChatTemplate::from_directory_within(self.limits, &self.path)?)
    }

    /// Generation settings of the model.
    ///
    /// # Errors
    /// A file that is not JSON, or that has values of other types.
    pub fn generation(&self) -> Result<GenerationConfig> {
        Ok(read_generation_config(&self.path)?)
    }

    /// Error about the directory.
    pub fn fault(&self, reason: String) -> Error {
        Error::Checkpoint { path: self.path.display().to_string(), reason }
    }
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

/// Text files beside a model and its tokenizer, such as `chat_template.jinja`, by file name.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn companions(model: &Path) -> Result<BTreeMap<String, String>> {
    if is_gguf(model) {
        let mut files = files_of_gguf(model)?;
        files.remove(TOKENIZER);
        return Ok(files);
    }
    Ok(read_companions(model)?)
}

/// The directory with the model's files, or the GGUF file: `path` itself, or the best or last checkpoint of a run.
///
/// # Errors
/// A path that is neither.
pub fn model_directory(path: &Path) -> Result<PathBuf> {
    if is_gguf(path) || path.join("config.json").is_file() || path.join("adapter_config.json").is_file() {
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
