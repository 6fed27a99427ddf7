//! Merging adapters into their model, so that the result needs no adapters.

use std::fs;
use std::path::{Path, PathBuf};

use palestra_model::Device;
use serde::Serialize;

use super::LanguageModel;
use crate::model_dir::{companions, model_directory, tokenizer_json};
use crate::{Error, Result};
use palestra_files::{write_atomically, write_directory};
use palestra_model::checkpoint::NumberType;
use palestra_model::lora::{base_of_adapters, merged};
use palestra_model::parameters::{collect, tensors_of};
use palestra_model::{FileLayout, write_model};

/// Summary of a merge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Merged {
    /// Directory of the base model of the adapters.
    pub model: PathBuf,
    /// Directory of the adapters.
    pub adapter: PathBuf,
    /// Directory that was written.
    pub out: PathBuf,
    /// Number of linear layers that had an adapter.
    pub adapted_layers: usize,
    /// Number of parameters of the model that was written.
    pub parameters: u64,
    /// Number type, in PyTorch's name.
    pub dtype: &'static str,
    /// Number of bytes of all files that were written.
    pub bytes: u64,
}

/// Merges adapters into the weights of their model, and writes the result as a Hugging Face directory with the model's
/// tokenizer.
///
/// `model` is the directory of a run or of PEFT, which has adapters, or else any model for those of `adapter`. A chat
/// template beside the adapters replaces that of the model.
///
/// # Errors
/// A directory `out` that already exists, a model without adapters, adapters that do not fit, or a number that the type
/// cannot hold; nothing is left behind.
pub fn merge(model: &Path, adapter: Option<&Path>, out: &Path, numbers: NumberType) -> Result<Merged> {
    if out.exists() {
        return Err(Error::Config(format!("{}: there is something already; choose another directory", out.display())));
    }
    let (base, adapter) = match adapter {
        Some(adapter) => (model_directory(model)?, model_directory(adapter)?),
        None => {
            let adapter = model_directory(model)?;
            let base = base_of_adapters(&adapter)?.ok_or_else(|| without_adapters(model, &adapter))?;
            (model_directory(&base)?, adapter)
        }
    };
    let opened = LanguageModel::open(&base, &Device::flex())?.with_adapters(&adapter)?;
    let mut adapted = opened.policy.transformer;
    let adapted_layers = adapted.linears_mut().filter(|(_, layer)| layer.adapter.is_some()).count();
    let config = adapted.config().clone();
    let weights = tensors_of(collect(&merged(adapted)));
    let parameters = weights.values().map(|tensor| tensor.data.len() as u64).sum();
    let mut texts = companions(&base)?;
    texts.extend(companions(&adapter)?);
    texts.insert("tokenizer.json".into(), tokenizer_json(&base)?);
    write_directory::<Error>(out, |directory| {
        let layout = FileLayout { numbers, ..FileLayout::default() };
        write_model(directory, &config, weights, &opened.generation, &layout)?;
        texts.iter().try_for_each(|(name, text)| write_atomically(&directory.join(name), text.as_bytes()))?;
        Ok(())
    })?;
    let bytes = bytes_in(out).map_err(Error::io(out))?;
    Ok(Merged { model: base, adapter, out: out.into(), adapted_layers, parameters, dtype: numbers.torch_name(), bytes })
}

fn without_adapters(model: &Path, directory: &Path) -> Error {
    Error::Config(format!(
        "{}: it has no adapters to merge; {} is a whole model, which can be used as it is, or name adapters for it in \
         --adapter",
        model.display(),
        directory.display()
    ))
}

fn bytes_in(directory: &Path) -> std::io::Result<u64> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

impl std::fmt::Display for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, adapter, out, adapted_layers, parameters, dtype, bytes } = self;
        write!(
            f,
            "{}: {parameters} parameters of {}, {adapted_layers} layers of which had adapters in {}; {dtype}, {:.1} MB",
            out.display(),
            model.display(),
            adapter.display(),
            *bytes as f64 / 1e6
        )
    }
}
