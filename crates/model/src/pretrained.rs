//! Reading and writing Hugging Face model directories. Each checkpoint is one too. A GGUF file is read in their place.

mod frozen;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use palestra_gguf::{Gguf, is_gguf};
use serde_json::{Value, json};

use super::generation_config::GenerationConfig;
use super::huggingface::{from_hugging_face_without, is_buffer, to_hugging_face, without_wrappers};
use super::{ModelConfig, classifier, config_json, gguf};
use crate::checkpoint::{NumberType, Take, Tensors, read_tensors_through, write_tensors};
use crate::quantize::Quantization;
use crate::{Error, Result};
use frozen::Freezer;
pub use frozen::FrozenMatrices;

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const MODEL: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Other files of a model that are copied: its generation settings, its chat template and its tokenizer's special
/// tokens.
pub const COMPANIONS: [&str; 4] =
    ["chat_template.jinja", GENERATION, "special_tokens_map.json", "tokenizer_config.json"];

/// File layout of a model that is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FileLayout {
    /// Type of the numbers.
    pub numbers: NumberType,
    /// Maximum number of bytes of tensors in one file; a larger model is written in shards.
    pub shard_bytes: usize,
}

impl Default for FileLayout {
    /// 32-bit floats, 5 GB a file, the default of transformers.
    fn default() -> Self {
        Self { numbers: NumberType::F32, shard_bytes: 5_000_000_000 }
    }
}

/// Reads a Hugging Face model directory: `config.json` and `model.safetensors`, whole or in shards; or a GGUF file. A
/// sequence classifier's score head becomes a value head.
///
/// At most one tensor is in memory twice at any time.
///
/// # Errors
/// A file that is missing or damaged, a model of a family or variant that is not supported, or weights that do not
/// fit `config.json` or are not finite.
pub fn read_model(directory: &Path) -> Result<(ModelConfig, Tensors)> {
    let (config, tensors, _) = read_frozen(directory, Quantization::None, &Device::flex())?;
    Ok((config, tensors))
}

/// As [`read_model`], with the matrices of the blocks' linear layers frozen in this form on a device, each as soon as it is
/// read: no more than one of them is in memory in 32 bits. They are none of the tensors. Routers stay tensors.
///
/// # Errors
/// As [`read_model`].
pub fn read_frozen(
    directory: &Path,
    quantization: Quantization,
    device: &Device,
) -> Result<(ModelConfig, Tensors, FrozenMatrices)> {
    if is_gguf(directory) {
        let file = Gguf::open(directory)?;
        let config = config_json::read(&gguf::config_json(&file)?, directory)?;
        let mut freezer = Freezer::new(&config, quantization, device);
        let tensors = gguf::weights(&file, &config, &mut |name, tensor| freezer.take(name, tensor))?;
        let tensors = from_hugging_face_without(&|name| freezer.has(name), &config, tensors, directory)?;
        let frozen = freezer.frozen;
        return Ok((config, tensors, frozen));
    }
    let json = read_config_json(directory)?;
    let mut config = config_json::read(&json, &directory.join(CONFIG))?;
    let shape = config.clone();
    let mut freezer = Freezer::new(&shape, quantization, device);
    let mut take = |name: &str, tensor| freezer.take(name, tensor);
    let (whole, index) = (directory.join(MODEL), directory.join(INDEX));
    let (origin, mut tensors) = if whole.exists() {
        (whole.clone(), read_tensors_through(&whole, &is_buffer, &mut take)?)
    } else if index.exists() {
        let tensors = read_shards(directory, &index, &mut take)?;
        (index, tensors)
    } else {
        return Err(Error::checkpoint(
            &whole,
            "there is no such file; weights are read from safetensors files, whole or in shards",
        ));
    };
    tensors = without_wrappers(tensors, &origin)?;
    if classifier::is_classifier(&json) {
        classifier::from_classifier(&json, &mut tensors, &origin)?;
        config.tie_embeddings = true; // there is no output layer
    }
    let tensors = from_hugging_face_without(&|name| freezer.has(name), &config, tensors, &origin)?;
    Ok((config, tensors, freezer.frozen))
}

/// Reads the shape of the model in a directory or a GGUF file.
///
/// # Errors
/// As [`read_model`].
pub fn read_config(directory: &Path) -> Result<ModelConfig> {
    config_json::read(&read_config_json(directory)?, &config_path(directory))
}

/// Reads `config.json` of a model directory, or makes that of a GGUF file.
///
/// # Errors
/// A file that is missing, or no JSON.
pub fn read_config_json(directory: &Path) -> Result<Value> {
    if is_gguf(directory) {
        return gguf::config_json(&Gguf::open(directory)?);
    }
    read_json(&config_path(directory))
}

/// File with the shape of a model: `config.json` of its directory, or its GGUF file.
fn config_path(directory: &Path) -> PathBuf {
    if is_gguf(directory) { directory.to_owned() } else { directory.join(CONFIG) }
}

/// Reads the generation settings of a model directory: `generation_config.json` over the token ids of `config.json`.
///
/// # Errors
/// A file that is damaged, or a field of another type.
pub fn read_generation_config(directory: &Path) -> Result<GenerationConfig> {
    let (config, generation) = (config_path(directory), directory.join(GENERATION));
    let mut found = GenerationConfig::read_config(&read_config_json(directory)?)
        .map_err(|reason| Error::checkpoint(&config, reason))?;
    if generation.exists() {
        let newer = GenerationConfig::read(&read_json(&generation)?)
            .map_err(|reason| Error::checkpoint(&generation, reason))?;
        found = newer.or(found);
    }
    Ok(found)
}

/// Reads the text files beside a model and its tokenizer, such as `chat_template.jinja`, by file name.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read_companions(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut companions = BTreeMap::new();
    for name in COMPANIONS {
        let path = directory.join(name);
        if path.is_file() {
            companions.insert(name.to_string(), fs::read_to_string(&path).map_err(Error::io(&path))?);
        }
    }
    Ok(companions)
}

/// Generation settings among the files of [`read_companions`]; empty ones if there is no such file.
///
/// # Errors
/// A file that is no JSON, or a field of another type.
pub fn generation_config_of(companions: &BTreeMap<String, String>) -> Result<GenerationConfig> {
    let Some(text) = companions.get(GENERATION) else { return Ok(GenerationConfig::default()) };
    let json = serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"));
    json.and_then(|json| GenerationConfig::read(&json))
        .map_err(|reason| Error::checkpoint(Path::new(GENERATION), reason))
}

/// Writes a model as a Hugging Face directory, which is created if missing: `config.json`, `generation_config.json` and
/// the weights. `parameters` have our own names. `config` must be resolved. The caller adds the tokenizer's files.
///
/// # Errors
/// A directory that holds a model already, a number that the type cannot hold, or a file that cannot be written.
pub fn write_model(
    directory: &Path,
    config: &ModelConfig,
    parameters: Tensors,
    generation: &GenerationConfig,
    layout: &FileLayout,
) -> Result<()> {
    for name in [CONFIG, MODEL, INDEX] {
        if directory.join(name).exists() {
            return Err(Error::checkpoint(directory, format!("holds {name} already; choose another directory")));
        }
    }
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    let mut json = config_json::write(config);
    json["torch_dtype"] = layout.numbers.torch_name().into();
    generation.put_ids(&mut json);

    let shards = shards(to_hugging_face(config, parameters), layout);
    if let [whole] = shards.as_slice() {
        write_tensors(&directory.join(MODEL), whole, layout.numbers)?;
    } else {
        let (mut weight_map, mut total) = (BTreeMap::new(), 0);
        for (number, shard) in shards.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
            write_tensors(&directory.join(&name), shard, layout.numbers)?;
            total += bytes_of(shard, layout.numbers);
            weight_map.extend(shard.keys().map(|tensor| (tensor, name.clone())));
        }
        write_json(&directory.join(INDEX), &json!({ "metadata": { "total_size": total }, "weight_map": weight_map }))?;
    }
    write_json(&directory.join(GENERATION), &generation.write())?;
    write_json(&directory.join(CONFIG), &json) // last: a directory without it is no model
}

/// Groups tensors, in the order of their names, into as few groups of at most `layout.shard_bytes` as possible; a
/// larger tensor is a group of its own.
fn shards(mut tensors: Tensors, layout: &FileLayout) -> Vec<Tensors> {
    let mut shards = vec![Tensors::new()];
    let mut bytes = 0;
    while let Some((name, tensor)) = tensors.pop_first() {
        let size = tensor.data.len() * layout.numbers.bytes();
        if bytes > 0 && bytes + size > layout.shard_bytes {
            shards.push(Tensors::new());
            bytes = 0;
        }
        bytes += size;
        shards.last_mut().expect("there is one").insert(name, tensor);
    }
    shards
}

fn bytes_of(tensors: &Tensors, numbers: NumberType) -> usize {
    tensors.values().map(|tensor| tensor.data.len() * numbers.bytes()).sum()
}

/// Reads the files that an index names for its tensors.
fn read_shards(directory: &Path, index: &Path, take: &mut Take) -> Result<Tensors> {
    let files: BTreeMap<String, String> =
        serde_json::from_value(read_json(index)?["weight_map"].take()).map_err(|error| {
            Error::checkpoint(index, format!("weight_map does not name a file for each tensor: {error}"))
        })?;
    let files: BTreeSet<String> = files.into_values().collect();
    let mut tensors = Tensors::new();
    for file in files {
        if Path::new(&file).file_name() != Some(file.as_ref()) {
            return Err(Error::checkpoint(
                index,
                format!("weight_map names {file:?}, which is no file of its own directory"),
            ));
        }
        tensors.extend(read_tensors_through(&directory.join(file), &is_buffer, take)?);
    }
    Ok(tensors)
}

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::checkpoint(path, format!("not valid JSON: {error}")))
}

/// Writes JSON with indentation.
///
/// # Errors
/// A file that cannot be written.
pub fn write_json(path: &Path, json: &Value) -> Result<()> {
    Ok(palestra_files::write_atomically(path, format!("{json:#}\n").as_bytes())?)
}

#[cfg(test)]
mod tests;
