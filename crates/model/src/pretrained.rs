//! Reading and writing Hugging Face model directories. Each checkpoint is one too. A GGUF file is read in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use palestra_gguf::{Gguf, is_gguf};
use serde_json::{Value, json};

use super::generation_config::GenerationConfig;
use super::huggingface::{from_hugging_face, is_buffer, to_hugging_face, without_wrappers};
use super::{ModelConfig, classifier, config_json, gguf};
use crate::checkpoint::{NumberType, Tensors, read_tensors, write_tensors};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const MODEL: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Other files of a model that are copied: its generation settings, its chat template and its tokenizer's special
/// tokens.
const COMPANIONS: [&str; 4] = ["chat_template.jinja", GENERATION, "special_tokens_map.json", "tokenizer_config.json"];

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
    if is_gguf(directory) {
        let file = Gguf::open(directory)?;
        let config = config_json::read(&gguf::config_json(&file)?, directory)?;
        let tensors = gguf::weights(&file, &config)?;
        return Ok((config, tensors));
    }
    let json = read_config_json(directory)?;
    let mut config = config_json::read(&json, &directory.join(CONFIG))?;
    let (whole, index) = (directory.join(MODEL), directory.join(INDEX));
    let (origin, mut tensors) = if whole.exists() {
        (whole.clone(), read_tensors(&whole, &is_buffer)?)
    } else if index.exists() {
        let tensors = read_shards(directory, &index)?;
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
    let tensors = from_hugging_face(&config, tensors, &origin)?;
    Ok((config, tensors))
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
fn read_shards(directory: &Path, index: &Path) -> Result<Tensors> {
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
        tensors.extend(read_tensors(&directory.join(file), &is_buffer)?);
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{self, Checkpoint, NamedTensor};
    use crate::huggingface::tests::file_of;

    fn tiny() -> ModelConfig {
        ModelConfig { layers: 1, width: 2, heads: 1, ..ModelConfig::default() }.resolve(3).unwrap()
    }

    /// The parameters of a model under our own names, with numbers that 16 bits represent exactly.
    fn parameters() -> Tensors {
        from_hugging_face(&tiny(), file_of(&tiny()), Path::new("m")).unwrap()
    }

    fn saved(change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut file = file_of(&tiny());
        change(&mut file);
        // Writes the file without checks, as another program might.
        let views = file.iter().map(|(name, tensor)| {
            let bytes = bytemuck::cast_slice(&tensor.data);
            (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &directory.path().join(MODEL)).unwrap();
        write_json(&directory.path().join(CONFIG), &config_json::write(&tiny())).unwrap();
        directory
    }

    fn refused(change: impl FnOnce(&mut Tensors)) -> String {
        let directory = saved(change);
        let message = read_model(directory.path()).unwrap_err().to_string();
        message.strip_prefix(&directory.path().join(MODEL).display().to_string()).unwrap().to_string()
    }

    #[test]
    fn what_was_written_is_read_in_every_layout() {
        let generation = GenerationConfig { eos: vec![2, 1], pad: Some(0), ..GenerationConfig::default() };
        for numbers in [NumberType::F32, NumberType::F16, NumberType::BF16] {
            for shard_bytes in [60, usize::MAX] {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("model");
                let layout = FileLayout { numbers, shard_bytes };
                let parameters: Tensors = parameters()
                    .into_iter()
                    .map(|(name, t)| {
                        (name, NamedTensor::new(t.shape, t.data.iter().map(|x| (x % 64.0) / 32.0).collect()))
                    })
                    .collect();
                write_model(&path, &tiny(), parameters.clone(), &generation, &layout).unwrap();
                assert_eq!(read_model(&path).unwrap(), (tiny(), parameters.clone()));
                assert_eq!(read_generation_config(&path).unwrap(), generation);
                assert_eq!(path.join(MODEL).exists(), shard_bytes == usize::MAX);
                let config = read_json(&path.join(CONFIG)).unwrap();
                assert_eq!(config["torch_dtype"], numbers.torch_name());
                assert_eq!((&config["eos_token_id"], &config["pad_token_id"]), (&json!([2, 1]), &json!(0)));
                let again = write_model(&path, &tiny(), parameters, &generation, &layout).unwrap_err().to_string();
                assert!(again.ends_with("model: holds config.json already; choose another directory"), "{again}");
            }
        }
    }

    #[test]
    fn shards_hold_no_more_than_they_may() {
        let layout = FileLayout { numbers: NumberType::F16, shard_bytes: 60 };
        let groups = shards(file_of(&tiny()), &layout);
        assert!(groups.len() > 2);
        assert!(groups.iter().all(|group| group.len() == 1 || bytes_of(group, layout.numbers) <= 60));
        assert_eq!(groups.into_iter().flatten().collect::<Tensors>(), file_of(&tiny()));
    }

    #[test]
    fn numbers_that_are_none_and_tensors_that_do_not_fit_are_refused_by_name() {
        let name = "model.layers.0.mlp.down_proj.weight";
        for number in [f32::NAN, f32::INFINITY] {
            let message = refused(|file| file.get_mut(name).unwrap().data[3] = number);
            assert_eq!(message, format!(": tensor {name} holds {number} at 3; each must be a finite number"));
        }
        let message = refused(|file| {
            let tensor = file.remove(name).unwrap();
            file.insert("model.layers.0.mlp.dwon_proj.weight".into(), tensor);
            let norm = file.get_mut("model.norm.weight").unwrap();
            *norm = NamedTensor::new([1], vec![1.0]);
        });
        assert_eq!(
            message,
            format!(
                ": does not fit the llama model of config.json; missing: {name}; unexpected: \
                 layers.0.mlp.dwon_proj.weight; of another shape: model.norm.weight is [1] and config.json makes it [2]"
            )
        );
        let directory = tempfile::tempdir().unwrap();
        let mut large = parameters();
        large.get_mut("norm.weight").unwrap().data[1] = 1e6;
        let layout = FileLayout { numbers: NumberType::F16, ..FileLayout::default() };
        let message = write_model(directory.path(), &tiny(), large, &GenerationConfig::default(), &layout)
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("tensor model.norm.weight holds 1000000, too large for 16-bit floats; write bf16 or f32")
        );
    }

    #[test]
    fn files_that_are_not_there_are_told() {
        let directory = saved(|_| ());
        fs::remove_file(directory.path().join(MODEL)).unwrap();
        let message = read_model(directory.path()).unwrap_err().to_string();
        assert!(message.contains("model.safetensors: there is no such file"), "{message}");
        let index = directory.path().join(INDEX);
        fs::write(&index, r#"{"weight_map": {"a": "../a.safetensors"}}"#).unwrap();
        let message = read_model(directory.path()).unwrap_err().to_string();
        assert!(message.ends_with(r#"names "../a.safetensors", which is no file of its own directory"#), "{message}");
    }

    #[test]
    fn buffers_of_any_type_are_passed_over() {
        let directory = saved(|_| ());
        let path = directory.path().join(MODEL);
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mask = safetensors::tensor::TensorView::new(safetensors::Dtype::BOOL, vec![3], &[1, 0, 1]).unwrap();
        let all = file.tensors().into_iter().chain([("model.layers.0.self_attn.rotary_emb.inv_freq".into(), mask)]);
        safetensors::serialize_to_file(all, None, &path).unwrap();
        assert_eq!(read_model(directory.path()).unwrap().1, parameters());
    }

    #[test]
    fn a_checkpoint_is_a_model_directory_also_in_shards() {
        let directory = tempfile::tempdir().unwrap();
        let config = tiny();
        let model = file_of(&config);
        let saved = Checkpoint {
            step: 1,
            contents: checkpoint::Contents::Model,
            config: config_json::write(&config),
            model: model.clone(),
            optimizer: Tensors::new(),
            state: json!(null),
            tokenizer_json: String::new(),
            companions: BTreeMap::new(),
        };
        let path = checkpoint::save(directory.path(), &saved).unwrap();
        let whole = read_model(&path).unwrap();
        assert_eq!(whole, (config.clone(), from_hugging_face(&config, model.clone(), Path::new("m")).unwrap()));

        // The same weights in two files, the second of which comes from another checkpoint.
        let (first, second): (Tensors, Tensors) = model.into_iter().partition(|(name, _)| name.contains("layers.0"));
        let map = |tensors: &Tensors, file: &str| -> serde_json::Map<String, Value> {
            tensors.keys().map(|name| (name.clone(), json!(file))).collect()
        };
        let mut weight_map = map(&first, "1.safetensors");
        weight_map.extend(map(&second, "2.safetensors"));
        for (step, model) in [(2, first), (3, second)] {
            let part = checkpoint::save(directory.path(), &Checkpoint { step, model, ..saved.clone() }).unwrap();
            let shard = path.join(format!("{}.safetensors", step - 1));
            fs::rename(part.join("model.safetensors"), shard).unwrap();
        }
        fs::remove_file(path.join("model.safetensors")).unwrap();
        let index = json!({ "weight_map": weight_map }).to_string();
        fs::write(path.join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(read_model(&path).unwrap(), whole);
    }
}
