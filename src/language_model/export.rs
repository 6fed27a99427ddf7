//! Export of a language model with its tokenizer and chat template as one GGUF file, which llama.cpp reads.

use std::path::{Path, PathBuf};

use palestra_files::Destination;
use palestra_gguf::{NumberFormat, Value, write};
use palestra_model::checkpoint::Tensors;
use palestra_model::lora::merged;
use palestra_model::parameters::{collect, tensors_of};
use palestra_model::{Device, gguf};
use serde::Serialize;

use super::LanguageModel;
use crate::model_dir::{companions, model_directory};
use crate::{Error, Result};

/// Summary of an export.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// Directory or file of the model.
    pub model: PathBuf,
    /// File that was written.
    pub out: PathBuf,
    /// Number of parameters.
    pub parameters: u64,
    /// Number format of the matrices.
    pub format: &'static str,
    /// Matrices in 16-bit floats, because the format cannot divide their rows into blocks.
    pub in_f16: Vec<String>,
    /// Difference of llama.cpp with some texts.
    pub note: Option<&'static str>,
    /// Number of bytes of the file.
    pub bytes: u64,
}

/// Writes the language model of a directory, of a run or of a GGUF file as a GGUF file, with its adapters merged.
///
/// # Errors
/// A model or a tokenizer that llama.cpp does not have, a reward model, or a number that the format cannot hold.
pub fn export_gguf(model: &Path, out: &Destination, format: NumberFormat) -> Result<Exported> {
    let directory = model_directory(model)?;
    let texts = companions(&directory)?;
    let LanguageModel { policy, tokenizer, generation, .. } = LanguageModel::open(&directory, &Device::flex())?;
    let config = policy.transformer.config().clone();
    let mut settings = gguf::settings(&config, format)?;
    let name = out.path().file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    settings.insert(1, ("general.name".into(), Value::Text(name)));
    let (tokenizer_config, template) = chat_files(&texts)?;
    let tokenizer = tokenizer.to_gguf(config.vocab_size, &tokenizer_config, &generation.eos, template.as_deref())?;
    settings.extend(tokenizer.settings);
    let weights: Tensors = tensors_of(collect(&merged(policy.transformer)));
    let parameters = weights.values().map(|tensor| tensor.data.len() as u64).sum();
    let tensors = gguf::tensors(&config, weights, format)?;
    let other = tensors.iter().filter(|tensor| tensor.shape.len() > 1 && tensor.format != format);
    let in_f16 = other.map(|tensor| tensor.name.clone()).collect();
    write(out.path(), &settings, &tensors).map_err(palestra_model::Error::from)?;
    let bytes = std::fs::metadata(out.path()).map_err(Error::io(out.path()))?.len();
    let (out, format, note) = (out.path().to_owned(), format.name(), tokenizer.note);
    Ok(Exported { model: directory, out, parameters, format, in_f16, note, bytes })
}

/// The `tokenizer_config.json` among the files of a model, null if it has none, and the text of its chat template.
fn chat_files(texts: &std::collections::BTreeMap<String, String>) -> Result<(serde_json::Value, Option<String>)> {
    let config = match texts.get("tokenizer_config.json") {
        None => serde_json::Value::Null,
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Error::Tokenizer(format!("tokenizer_config.json: not valid JSON: {error}")))?,
    };
    let own = texts.get("chat_template.jinja").cloned();
    let template = own.or_else(|| palestra_text::ChatTemplate::text_in(&config).map(String::from));
    Ok((config, template))
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, out, parameters, format, in_f16, note, bytes } = self;
        let (out, model, megabytes) = (out.display(), model.display(), *bytes as f64 / 1e6);
        write!(f, "{out}: {parameters} parameters of {model}; {format}, {megabytes:.1} MB")?;
        if let Some(first) = in_f16.first() {
            write!(
                f,
                "\n{} matrices are in F16, because their rows are no whole number of blocks of 32: {first}{}",
                in_f16.len(),
                if in_f16.len() > 1 { " and others" } else { "" }
            )?;
        }
        match note {
            Some(note) => write!(f, "\n{note}"),
            None => Ok(()),
        }
    }
}
