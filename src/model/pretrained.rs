//! Reading a model directory of Hugging Face, which each checkpoint is too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::huggingface::from_hugging_face;
use super::{ModelConfig, config_json};
use crate::checkpoint::{Tensors, read_tensors};
use crate::{Error, Result};

/// Reads a Hugging Face model directory: `config.json` and `model.safetensors`, whole or in shards.
///
/// # Errors
/// A file that is missing or damaged, a model of a family or variant that is not supported, or weights that do not
/// fit `config.json`.
pub fn read_model(directory: &Path) -> Result<(ModelConfig, Tensors)> {
    let path = directory.join("config.json");
    let config = config_json::read(&read_json(&path)?, &path)?;
    let (whole, index) = (directory.join("model.safetensors"), directory.join("model.safetensors.index.json"));
    let (origin, tensors) = if !whole.exists() && index.exists() {
        let tensors = read_shards(directory, &index)?;
        (index, tensors)
    } else {
        let tensors = read_tensors(&whole)?;
        (whole, tensors)
    };
    let tensors = from_hugging_face(&config, tensors, &origin)?;
    Ok((config, tensors))
}

/// Reads the files that an index names for its tensors.
fn read_shards(directory: &Path, index: &Path) -> Result<Tensors> {
    let files: BTreeMap<String, String> = serde_json::from_value(read_json(index)?["weight_map"].take())
        .map_err(|error| wrong(index, format!("weight_map does not name a file for each tensor: {error}")))?;
    let files: BTreeSet<String> = files.into_values().collect();
    let mut tensors = Tensors::new();
    for file in files {
        tensors.extend(read_tensors(&directory.join(file))?);
    }
    Ok(tensors)
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| wrong(path, format!("not valid JSON: {error}")))
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Checkpoint { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{self, Checkpoint};
    use crate::model::huggingface::tests::file_of;

    #[test]
    fn a_checkpoint_is_a_model_directory_also_in_shards() {
        let directory = tempfile::tempdir().unwrap();
        let config = ModelConfig { layers: 1, width: 2, heads: 1, ..ModelConfig::default() }.resolve(3).unwrap();
        let model = file_of(&config);
        let saved = Checkpoint {
            step: 1,
            config: config_json::write(&config),
            model: model.clone(),
            optimizer: Tensors::new(),
            state: json!(null),
            tokenizer_json: String::new(),
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
