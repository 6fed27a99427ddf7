//! Byte-level BPE. llama.cpp has a fixed pre-tokenizer for each of many names, so only a tokenizer whose pre-tokenizer is one
//! of [`PRE_TOKENIZERS`] means the same in both programs.

use std::collections::HashMap;

use palestra_gguf::{Gguf, Value};
use serde_json::{Value as Json, json};

use super::{Form, Parts, merges_of, shortened};
use crate::{Error, Result};

/// Value of `tokenizer.ggml.model`.
pub const MODEL: &str = "gpt2";
pub const PRE: &str = "tokenizer.ggml.pre";
pub const MERGES: &str = "tokenizer.ggml.merges";

/// A pre-tokenizer that llama.cpp has.
pub struct PreTokenizer {
    /// Its names in files; the first is written.
    pub names: &'static [&'static str],
    /// Steps before the bytes.
    split: Split,
    /// True if a whole piece that is a token is not merged from its parts.
    pub ignores_merges: bool,
    /// True if texts are normalised to NFC in its Hugging Face form. llama.cpp does not.
    composes: bool,
    /// True if a file that does not say it puts the BOS token before texts.
    adds_bos: bool,
}

/// Division of a text into pieces.
pub enum Split {
    /// The regular expression of GPT-2.
    Gpt2,
    /// Each digit on its own, then the regular expression of GPT-2.
    DigitsGpt2,
    /// A regular expression.
    Regex(&'static str),
}

pub const PRE_TOKENIZERS: [PreTokenizer; 4] = [
    PreTokenizer { names: &["gpt-2"], split: Split::Gpt2, ignores_merges: false, composes: false, adds_bos: false },
    PreTokenizer {
        names: &["smollm"],
        split: Split::DigitsGpt2,
        ignores_merges: false,
        composes: false,
        adds_bos: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        split: Split::Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignores_merges: true,
        composes: false,
        adds_bos: true,
    },
    PreTokenizer {
        names: &["qwen2"],
        split: Split::Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignores_merges: false,
        composes: true,
        adds_bos: false,
    },
];

impl PreTokenizer {
    /// Its form in a `tokenizer.json`.
    pub fn to_json(&self) -> Json {
        let bytes = |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex });
        let sequence = |first: Json, regex| json!({ "type": "Sequence", "pretokenizers": [first, bytes(regex)] });
        match self.split {
            Split::Gpt2 => bytes(true),
            Split::DigitsGpt2 => sequence(json!({ "type": "Digits", "individual_digits": true }), true),
            Split::Regex(regex) => {
                let split = json!({
                    "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false,
                });
                sequence(split, false)
            }
        }
    }

    pub fn normalizer(&self) -> Json {
        if self.composes { json!({ "type": "NFC" }) } else { Json::Null }
    }
}

/// The settings of a `tokenizer.json`.
pub fn form(json: &Json) -> Result<Form, String> {
    let pre = pre_tokenizer_of(json)?;
    let merges = merges_of(&json["model"])?.into_iter().map(|[one, other]| format!("{one} {other}")).collect();
    let settings = vec![(PRE.into(), Value::Text(pre.names[0].into())), (MERGES.into(), Value::Texts(merges))];
    Ok(Form { model: MODEL, settings, types: HashMap::new(), note: None })
}

/// The parts of a `tokenizer.json` that a file has.
pub fn parts(file: &Gguf) -> Result<Parts> {
    let names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect();
    let names = names.join(", ");
    let fault = |reason: String| Error::from(file.fault(reason));
    let pre = file.text(PRE)?.ok_or_else(|| fault(format!("the setting {PRE} is missing; {names} can be read")))?;
    let Some(pre) = PRE_TOKENIZERS.iter().find(|known| known.names.contains(&pre)) else {
        return Err(fault(format!("{PRE} is {pre:?}; {names} can be read")));
    };
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    Ok(Parts {
        adds_bos: pre.adds_bos,
        normalizer: pre.normalizer(),
        pre_tokenizer: pre.to_json(),
        post_processor: bytes.clone(),
        decoder: bytes,
        unknown: None,
        byte_fallback: false,
        ignores_merges: pre.ignores_merges,
        merges: file.texts(MERGES)?.unwrap_or_default().into(),
    })
}

/// The pre-tokenizer of llama.cpp that a `tokenizer.json` has.
fn pre_tokenizer_of(json: &Json) -> Result<&'static PreTokenizer, String> {
    let model = &json["model"];
    let is_empty = |field: &str| model[field].is_null() || model[field] == "" || model[field] == false;
    if model["type"] != "BPE"
        || !["byte_fallback", "continuing_subword_prefix", "end_of_word_suffix"].iter().all(|field| is_empty(field))
    {
        return Err(format!(
            "model: a tokenizer of the type {} that is no byte-level BPE cannot be written",
            model["type"]
        ));
    }
    let steps = steps(&json["pre_tokenizer"]);
    let Some(found) = PRE_TOKENIZERS.iter().find(|known| self::steps(&known.to_json()) == steps) else {
        let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|known| known.names[0]).collect();
        return Err(format!(
            "pre_tokenizer: is none that can be written ({}): {}",
            known.join(", "),
            shortened(&json["pre_tokenizer"])
        ));
    };
    if (model["ignore_merges"] == true) != found.ignores_merges {
        return Err(format!(
            "model.ignore_merges: is {}, and the pre-tokenizer {} of llama.cpp has {}",
            model["ignore_merges"], found.names[0], found.ignores_merges
        ));
    }
    match &json["normalizer"] {
        Json::Null => Ok(found),
        normalizer if *normalizer == found.normalizer() => Ok(found),
        other => Err(format!("normalizer: is {}, and llama.cpp has none", shortened(other))),
    }
}

/// Steps of a pre-tokenizer, one after the other, without what has no effect on tokens.
fn steps(json: &Json) -> Vec<Json> {
    match json["pretokenizers"].as_array() {
        Some(several) => several.iter().flat_map(steps).collect(),
        None => {
            let mut step = json.clone();
            if let Some(fields) = step.as_object_mut() {
                fields.remove("trim_offsets");
            }
            vec![step]
        }
    }
}
