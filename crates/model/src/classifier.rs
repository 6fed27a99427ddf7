//! A model with a score head in Hugging Face's layout for sequence classification with one label, such as
//! `LlamaForSequenceClassification`: `score.weight` in the place of an output layer.
//!
//! The head has no bias of its own, and scores may be scaled. `config.json` holds both: `score_bias` is added to the
//! score that transformers computes, and `score_scale` turns a difference of scores into log-odds. Transformers reads
//! the score at the last token that is not `pad_token_id`, so the padding token must not be the end token.

use std::path::Path;

use serde_json::{Value, json};

use super::huggingface::transpose;
use crate::checkpoint::{NamedTensor, Tensors};
use crate::{Error, ModelConfig, Result};

/// The score head, `[1, width]`.
pub const WEIGHT: &str = "score.weight";
const OURS: [&str; 2] = ["value_head.weight", "value_head.bias"];
const ENDING: &str = "ForSequenceClassification";
const LANGUAGE_MODELS: [&str; 2] = ["ForCausalLM", "LMHeadModel"];
const FINGERPRINT: &str = "tokenizer_fingerprint";

/// Fields of a classifier's `config.json` beside the model's shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoreSettings {
    /// Factor that turns a difference of scores into log-odds.
    pub scale: f32,
    /// Padding token.
    pub pad: Option<u32>,
    /// Fingerprint of the tokenizer that the classifier was trained with.
    pub tokenizer: Option<String>,
}

/// True if a `config.json` is that of a sequence classifier.
pub fn is_classifier(config: &Value) -> bool {
    config["architectures"][0].as_str().is_some_and(|name| name.ends_with(ENDING))
}

/// Turns the files of a language model with a value head into those of a classifier.
///
/// # Panics
/// If there is no value head.
pub fn to_classifier(config: &mut Value, tensors: &mut Tensors, settings: &ScoreSettings) {
    let name = config["architectures"][0].as_str().expect("a model has an architecture");
    let stem = LANGUAGE_MODELS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    config["architectures"] = json!([format!("{stem}{ENDING}")]);
    config["id2label"] = json!({ "0": "score" });
    config["label2id"] = json!({ "score": 0 });
    write_head(config, tensors, settings);
}

/// Turns a value head into a score head. A JSON file takes the score settings.
///
/// # Panics
/// If there is no value head.
pub fn write_head(config: &mut Value, tensors: &mut Tensors, settings: &ScoreSettings) {
    let [weight, bias] = OURS.map(|name| tensors.remove(name).expect("a reward model has a score head"));
    tensors.insert(WEIGHT.into(), transpose(&weight));
    config["pad_token_id"] = json!(settings.pad);
    config["score_bias"] = json!(bias.data[0]);
    config["score_scale"] = json!(settings.scale);
    config[FINGERPRINT] = json!(settings.tokenizer);
}

/// Turns a classifier's score head into a value head; an output layer is dropped. `origin` is for messages.
///
/// # Errors
/// A classifier with more than one label, or without its head.
pub fn from_classifier(config: &Value, tensors: &mut Tensors, origin: &Path) -> Result<()> {
    tensors.remove("lm_head.weight");
    let weight = tensors.remove(WEIGHT).ok_or_else(|| Error::checkpoint(origin, format!("{WEIGHT} is missing")))?;
    if weight.shape.len() != 2 || weight.shape[0] != 1 {
        let reason = format!("{WEIGHT} is {:?}; a reward model has one label, [1, width]", weight.shape);
        return Err(Error::checkpoint(origin, reason));
    }
    let bias = config["score_bias"].as_f64().unwrap_or(0.0) as f32;
    tensors.insert(OURS[0].into(), transpose(&weight));
    tensors.insert(OURS[1].into(), NamedTensor::new([1], vec![bias]));
    Ok(())
}

/// Takes the output layer out of a model, with weights under the project's own names: a reward model writes nothing.
pub fn remove_output_layer(config: &mut ModelConfig, tensors: &mut Tensors) {
    config.tie_embeddings = true;
    tensors.remove("head.weight");
}

/// Reads the score settings of a `config.json`, or of an `adapter_config.json`.
pub fn score_settings(config: &Value) -> ScoreSettings {
    ScoreSettings {
        scale: config["score_scale"].as_f64().unwrap_or(1.0) as f32,
        pad: config["pad_token_id"].as_u64().and_then(|pad| u32::try_from(pad).ok()),
        tokenizer: config[FINGERPRINT].as_str().map(String::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same() {
        let tensors = || {
            Tensors::from([
                (OURS[0].to_string(), NamedTensor::new([3, 1], vec![1.0, 2.0, 3.0])),
                (OURS[1].to_string(), NamedTensor::new([1], vec![0.1])),
            ])
        };
        for (name, expected) in [
            ("LlamaForCausalLM", "LlamaForSequenceClassification"),
            ("GPT2LMHeadModel", "GPT2ForSequenceClassification"),
        ] {
            let (mut config, mut file) = (json!({ "architectures": [name] }), tensors());
            let settings = ScoreSettings { scale: 1.7, pad: Some(3), tokenizer: Some("f".into()) };
            assert!(!is_classifier(&config));
            to_classifier(&mut config, &mut file, &settings);
            assert_eq!((config["architectures"][0].as_str(), is_classifier(&config)), (Some(expected), true));
            assert_eq!(file[WEIGHT].shape, [1, 3]);
            let text = config.to_string();
            let config: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(score_settings(&config), settings);
            from_classifier(&config, &mut file, Path::new("m")).unwrap();
            assert_eq!(file, tensors());
        }
    }

    #[test]
    fn more_than_one_label_is_refused() {
        let mut tensors = Tensors::from([(WEIGHT.to_string(), NamedTensor::new([2, 3], vec![0.0; 6]))]);
        let message = from_classifier(&json!({}), &mut tensors, Path::new("m")).unwrap_err().to_string();
        assert_eq!(message, "m: score.weight is [2, 3]; a reward model has one label, [1, width]");
        let message = from_classifier(&json!({}), &mut Tensors::new(), Path::new("m")).unwrap_err().to_string();
        assert_eq!(message, "m: score.weight is missing");
    }
}
