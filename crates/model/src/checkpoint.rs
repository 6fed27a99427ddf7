//! Saving and loading the state of a training run, so that a crash, a full disk or a damaged file never costs more
//! than the steps since the last save. Knows files and named arrays; knows no model, learner or tensor library.
//!
//! A checkpoint is a directory `step-00000123` in Hugging Face's layout (`config.json`, `model.safetensors`,
//! `tokenizer.json`), or in PEFT's if adapters are trained. It also holds the files to resume training
//! (`optimizer.safetensors`, `trainer_state.json`). It appears under that name only once every byte is on the disk.

#[cfg(test)]
mod against_crate;
mod checksum;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use palestra_files::{AtomicFile, publish, remove_directory, remove_temporaries, write_directory};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};
use checksum::{Checksum, Record};
pub use tensors::{
    DeferredTensor, NamedTensor, NumberType, StoredTensor, Take, Tensors, read_tensors, read_tensors_through,
    write_tensors,
};

const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTERS: &str = "adapter_model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const TRAINER_STATE: &str = "trainer_state.json";

/// Format version of `trainer_state.json` that this version writes and reads.
const FORMAT: u64 = 1;

/// Everything needed to resume a run, or to load its model elsewhere. A checkpoint that is about to be saved may fetch the
/// optimiser's moments, two numbers a parameter, as they are written ([`DeferredTensor`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint<M = NamedTensor> {
    /// Number of optimiser steps taken.
    pub step: u64,
    /// Kind of weights that `config` and `model` describe.
    pub contents: Contents,
    /// The model's Hugging Face `config.json`, or the adapters' `adapter_config.json`.
    pub config: Value,
    /// The weights under their Hugging Face names, or PEFT's.
    pub model: Tensors,
    /// Moments of the optimiser.
    pub optimizer: BTreeMap<String, M>,
    /// Counters, positions in the data and the state of the learner.
    pub state: Value,
    /// The contents of the Hugging Face `tokenizer.json`.
    pub tokenizer_json: String,
    /// Other text files of the model by file name, such as `chat_template.jinja`.
    pub companions: BTreeMap<String, String>,
}

/// Kind of weights of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// All weights of the model.
    Model,
    /// Weights of adapters; the base model is stored elsewhere.
    Adapters,
}

impl Contents {
    /// File names of the configuration and of the weights.
    fn files(self) -> [&'static str; 2] {
        match self {
            Self::Model => [CONFIG, MODEL],
            Self::Adapters => [ADAPTER_CONFIG, ADAPTERS],
        }
    }
}

/// `trainer_state.json`: the trainer's state, and the length and checksum of every other file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TrainerState {
    format: u64,
    step: u64,
    state: Value,
    files: BTreeMap<String, Record>,
    /// Checksum of this structure as compact JSON, with this field empty.
    crc32: String,
}

/// Saves a checkpoint as `step-<step>` in a directory, which is created if missing; returns the path of the new
/// checkpoint.
///
/// The write is atomic ([`palestra_files::write_directory`]), so earlier checkpoints stay intact whatever happens meanwhile. A
/// checkpoint of the same step is replaced. Only one process may save into a directory;
/// the run directory's lock ensures that.
///
/// # Errors
/// A weight that is not finite, or a file that cannot be written, such as on a full disk. Nothing is left behind.
pub fn save<M: StoredTensor>(directory: &Path, checkpoint: &Checkpoint<M>) -> Result<PathBuf> {
    let target = directory.join(step_name(checkpoint.step));
    write_directory(&target, |temporary| write_files(temporary, checkpoint))?;
    Ok(target)
}

/// Loads a checkpoint after checking every file of it against its recorded length and checksum.
///
/// # Errors
/// Names the file that is missing, cut short, changed or of another format.
pub fn load(directory: &Path) -> Result<Checkpoint> {
    let trainer = read_trainer_state(directory)?;
    let contents = trainer.contents();
    let [config, model] = contents.files();
    let known = [config, model, TOKENIZER, OPTIMIZER];
    let companions = trainer.files.keys().filter(|name| !known.contains(&name.as_str()));
    Ok(Checkpoint {
        step: trainer.step,
        contents,
        config: serde_json::from_str(&read_text(directory, config, &trainer)?)
            .map_err(|error| damaged(&directory.join(config), format!("not valid JSON: {error}")))?,
        model: read_checked_tensors(directory, model, &trainer)?,
        optimizer: read_checked_tensors(directory, OPTIMIZER, &trainer)?,
        tokenizer_json: read_text(directory, TOKENIZER, &trainer)?,
        companions: companions
            .map(|name| Ok((name.clone(), read_text(directory, name, &trainer)?)))
            .collect::<Result<_>>()?,
        state: trainer.state,
    })
}

/// The newest complete checkpoint in a directory; `None` if there is none or no such directory.
///
/// A checkpoint with a missing or shortened file is skipped with a warning. [`load`] checks the contents.
///
/// # Errors
/// A directory that cannot be listed.
pub fn latest(directory: &Path) -> Result<Option<PathBuf>> {
    for (_, path) in steps(directory)?.into_iter().rev() {
        match check_complete(&path) {
            Ok(()) => return Ok(Some(path)),
            Err(error) => tracing::warn!("passed over an incomplete checkpoint: {error}"),
        }
    }
    Ok(None)
}

/// As [`latest`], with an error if there are checkpoints and none of them is complete: a run that goes on without them
/// would lose its progress.
///
/// # Errors
/// Names what is wrong with each of the checkpoints.
pub fn latest_of_run(directory: &Path) -> Result<Option<PathBuf>> {
    let steps = steps(directory)?;
    let faults: Vec<String> =
        steps.iter().filter_map(|(_, path)| check_complete(path).err()).map(|error| error.to_string()).collect();
    if !faults.is_empty() && faults.len() == steps.len() {
        return Err(damaged(directory, format!("none of the checkpoints is whole: {}", faults.join("; "))));
    }
    latest(directory)
}

/// Moves the checkpoints after a step out of the way, so that a run that resumes at that step is not resumed from them
/// later. They are kept as `set-aside-step-<step>`, and never removed by [`prune`]. Returns their new paths.
///
/// # Errors
/// A directory that cannot be listed, or a checkpoint that cannot be renamed.
pub fn set_aside_after(directory: &Path, step: u64) -> Result<Vec<PathBuf>> {
    let later = steps(directory)?.into_iter().filter(|(later, _)| *later > step);
    later
        .map(|(later, path)| {
            let name = |number: u64| match number {
                1 => format!("set-aside-{}", step_name(later)),
                _ => format!("set-aside-{}-{number}", step_name(later)),
            };
            let free = (1..).map(|number| directory.join(name(number))).find(|path| !path.exists());
            let free = free.expect("there are more numbers than directories");
            publish(&path, &free)?;
            Ok(free)
        })
        .collect()
}

/// All complete checkpoints in a directory, the oldest first; none if there is no such directory.
///
/// # Errors
/// A directory that cannot be listed.
pub fn all(directory: &Path) -> Result<Vec<PathBuf>> {
    let complete = steps(directory)?.into_iter().map(|(_, path)| path).filter(|path| check_complete(path).is_ok());
    Ok(complete.collect())
}

/// As [`latest`], with an error if there is none.
///
/// # Errors
/// A directory without a complete checkpoint, or one that cannot be listed.
pub fn last(directory: &Path) -> Result<PathBuf> {
    latest(directory)?.ok_or_else(|| damaged(directory, "there is no checkpoint yet"))
}

/// Removes the oldest checkpoints until `keep` complete ones are left, and the partial writes of killed runs.
///
/// The newest complete checkpoint always stays, even with `keep` = 0; without a complete one nothing is removed.
///
/// # Errors
/// A directory that cannot be listed or removed.
pub fn prune(directory: &Path, keep: usize) -> Result<()> {
    let steps = steps(directory)?;
    let complete: Vec<u64> =
        steps.iter().filter(|(_, path)| check_complete(path).is_ok()).map(|(step, _)| *step).collect();
    if complete.is_empty() {
        return Ok(());
    }
    let oldest_kept = complete[complete.len().saturating_sub(keep.max(1))];
    for (_, path) in steps.iter().filter(|(step, _)| *step < oldest_kept) {
        remove_directory(path)?;
    }
    Ok(remove_temporaries(directory)?)
}

fn write_files<M: StoredTensor>(directory: &Path, checkpoint: &Checkpoint<M>) -> Result<()> {
    let Checkpoint { step, contents, config, model, optimizer, state, tokenizer_json, companions } = checkpoint;
    let [config_name, model_name] = contents.files();
    let mut files = BTreeMap::new();
    let mut text = |name: &str, text: &str| {
        write_file(&directory.join(name), |out| out.write_all(text.as_bytes()))
            .map(|record| files.insert(name.to_owned(), record))
    };
    text(config_name, &format!("{config:#}\n"))?;
    text(TOKENIZER, tokenizer_json)?;
    companions.iter().try_for_each(|(name, contents)| text(name, contents).map(drop))?;
    files.insert(model_name.to_owned(), write_tensors_file(&directory.join(model_name), model)?);
    files.insert(OPTIMIZER.to_owned(), write_tensors_file(&directory.join(OPTIMIZER), optimizer)?);
    let mut trainer = TrainerState { format: FORMAT, step: *step, state: state.clone(), files, crc32: String::new() };
    trainer.crc32 = trainer.checksum();
    write_file(&directory.join(TRAINER_STATE), |out| {
        serde_json::to_writer_pretty(&mut *out, &trainer)?;
        out.write_all(b"\n")
    })
    .map(drop)
}

fn write_tensors_file<T: StoredTensor>(path: &Path, tensors: &BTreeMap<String, T>) -> Result<Record> {
    check_numbers(path, tensors)?;
    write_file(path, |out| tensors::write_safetensors(out, tensors, NumberType::F32))
}

/// Writes one file to the disk and returns its length and checksum.
fn write_file(path: &Path, fill: impl FnOnce(&mut Checksum<AtomicFile>) -> io::Result<()>) -> Result<Record> {
    let mut out = Checksum::new(AtomicFile::create(path)?);
    fill(&mut out).map_err(Error::io(path))?;
    let (file, record) = out.finish();
    file.commit()?;
    Ok(record)
}

fn read_trainer_state(directory: &Path) -> Result<TrainerState> {
    let path = directory.join(TRAINER_STATE);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            damaged(&path, "missing; a checkpoint is a directory like checkpoints/step-00000100")
        }
        io::ErrorKind::InvalidData => damaged(&path, "not text; use an earlier checkpoint"),
        _ => Error::io(&path)(error),
    })?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| damaged(&path, format!("not valid JSON: {error}")))?;
    if let Some(format) = value["format"].as_u64().filter(|format| *format != FORMAT) {
        return Err(damaged(&path, format!("format {format}; this version of palestra reads format {FORMAT}")));
    }
    let trainer: TrainerState =
        serde_json::from_value(value).map_err(|error| damaged(&path, format!("not a trainer's state: {error}")))?;
    if trainer.crc32 != trainer.checksum() {
        return Err(damaged(&path, "its checksum does not match: it was changed; use an earlier checkpoint"));
    }
    Ok(trainer)
}

/// Checks that every file exists with its full length.
fn check_complete(directory: &Path) -> Result<()> {
    let trainer = read_trainer_state(directory)?;
    let required = trainer.contents().files().into_iter().chain([TOKENIZER, OPTIMIZER]);
    let all = required.chain(trainer.files.keys().map(String::as_str));
    all.into_iter().try_for_each(|name| open(directory, name, &trainer).map(drop))
}

fn read_text(directory: &Path, name: &str, trainer: &TrainerState) -> Result<String> {
    read_checked(directory, name, trainer, |input, _| {
        let mut text = String::new();
        input.read_to_string(&mut text).map(|_| text).map_err(|error| format!("damaged: {error}"))
    })
}

fn read_checked_tensors(directory: &Path, name: &str, trainer: &TrainerState) -> Result<Tensors> {
    let tensors = read_checked(directory, name, trainer, tensors::read_safetensors)?;
    check_numbers(&directory.join(name), &tensors)?;
    Ok(tensors)
}

/// Reads one file in one pass and compares it with its record.
fn read_checked<T>(
    directory: &Path,
    name: &str,
    trainer: &TrainerState,
    read: impl FnOnce(&mut Checksum<File>, u64) -> Result<T, String>,
) -> Result<T> {
    let path = directory.join(name);
    let (file, expected) = open(directory, name, trainer)?;
    let mut input = Checksum::new(file);
    let contents = read(&mut input, expected.bytes).map_err(|reason| damaged(&path, reason))?;
    let (_, found) = input.finish();
    if found != *expected {
        let reason = format!(
            "its checksum is {}, and {} was written: it was changed; use an earlier checkpoint",
            found.crc32, expected.crc32
        );
        return Err(damaged(&path, reason));
    }
    Ok(contents)
}

/// Opens a file after checking that it has its full length.
fn open<'a>(directory: &Path, name: &str, trainer: &'a TrainerState) -> Result<(File, &'a Record)> {
    let path = directory.join(name);
    let expected = trainer.files.get(name).ok_or_else(|| {
        damaged(&directory.join(TRAINER_STATE), format!("has no checksum of {name}; use an earlier checkpoint"))
    })?;
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(&path, "missing; use an earlier checkpoint"),
        _ => Error::io(&path)(error),
    })?;
    let bytes = file.metadata().map_err(Error::io(&path))?.len();
    if bytes != expected.bytes {
        let reason = format!("{bytes} bytes long, and {} were written; use an earlier checkpoint", expected.bytes);
        return Err(damaged(&path, reason));
    }
    Ok((file, expected))
}

/// Refuses tensors with numbers that training cannot continue from.
fn check_numbers<T: StoredTensor>(path: &Path, tensors: &BTreeMap<String, T>) -> Result<()> {
    tensors::check_finite(tensors).map_err(|reason| damaged(path, reason))
}

/// Checkpoints in a directory by step, oldest first; hidden temporary directories are skipped.
fn steps(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(directory))?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(directory))?.path();
        let step = path.file_name().and_then(|name| name.to_str()?.strip_prefix("step-")?.parse().ok());
        // Accepts only the name that `save` would give; otherwise step-5 beside step-00000005 would be the same step
        // twice.
        if let Some(step) = step.filter(|step| path.ends_with(step_name(*step))) {
            steps.push((step, path));
        }
    }
    steps.sort();
    Ok(steps)
}

fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Checkpoint { path: path.display().to_string(), reason: reason.into() }
}

impl TrainerState {
    fn contents(&self) -> Contents {
        if self.files.contains_key(ADAPTERS) { Contents::Adapters } else { Contents::Model }
    }

    fn checksum(&self) -> String {
        let unsigned = Self { crc32: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&unsigned).expect("a JSON value can be written");
        format!("{:08x}", crc32fast::hash(&json))
    }
}
