//! Tokenizers and chat templates in GGUF files.
//!
//! llama.cpp has a fixed pre-tokenizer for each of many names, so only a tokenizer whose pre-tokenizer is one of
//! [`PRE_TOKENIZERS`] means the same in both programs.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use palestra_gguf::{Gguf, Value};
use serde_json::{Map, Value as Json, json};

use super::{Kind, Tokenizer};
use crate::{Error, Result};

/// The settings that hold a tokenizer.
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Value of [`MODEL`] for byte-level BPE.
const BPE: &str = "gpt2";

/// Types of tokens.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// A pre-tokenizer that llama.cpp has.
struct PreTokenizer {
    /// Its names in files; the first is written.
    names: &'static [&'static str],
    /// Steps before the bytes.
    split: Split,
    /// True if a whole piece that is a token is not merged from its parts.
    ignores_merges: bool,
    /// True if texts are normalised to NFC in its Hugging Face form. llama.cpp does not.
    composes: bool,
    /// True if a file that does not say it puts the BOS token before texts.
    adds_bos: bool,
}

/// Division of a text into pieces.
enum Split {
    /// The regular expression of GPT-2.
    Gpt2,
    /// Each digit on its own, then the regular expression of GPT-2.
    DigitsGpt2,
    /// A regular expression.
    Regex(&'static str),
}

const PRE_TOKENIZERS: [PreTokenizer; 4] = [
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
    fn to_json(&self) -> Json {
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

    fn normalizer(&self) -> Json {
        if self.composes { json!({ "type": "NFC" }) } else { Json::Null }
    }
}

impl Tokenizer {
    /// The settings of a GGUF file for this tokenizer, and for a model with so many rows of its embedding.
    ///
    /// `config` is the model's `tokenizer_config.json`, and names the BOS token. `ends` are further tokens that end what
    /// the model writes, besides the end token. `template` is the text of the chat template.
    ///
    /// # Errors
    /// A tokenizer that llama.cpp does not have, or that it applies in another way.
    pub fn to_gguf(
        &self,
        rows: usize,
        config: &Json,
        ends: &[u32],
        template: Option<&str>,
    ) -> Result<Vec<(String, Value)>> {
        let refused = |reason: String| Error::Tokenizer(format!("GGUF: {reason}"));
        let Kind::HuggingFace(inner) = &self.kind else {
            return Err(refused(
                "a tokenizer of single characters cannot be written; one of byte-level BPE can".into(),
            ));
        };
        let json = serde_json::to_value(&**inner).map_err(|error| refused(error.to_string()))?;
        let pre = pre_tokenizer_of(&json).map_err(refused)?;
        let merges = merges_of(&json["model"]).map_err(refused)?;
        let added = inner.get_added_tokens_decoder();
        let (mut tokens, mut types) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for id in 0..rows as u32 {
            let kind = match added.get(&id) {
                Some(token) if token.lstrip || token.rstrip || token.single_word => {
                    return Err(refused(format!(
                        "added_tokens: {:?} has lstrip, rstrip or single_word, which llama.cpp has not",
                        token.content
                    )));
                }
                Some(token) if token.special => CONTROL,
                Some(_) => USER_DEFINED,
                None => NORMAL,
            };
            let token = inner.id_to_token(id).filter(|_| (id as usize) < self.vocab_size);
            types.push(if token.is_some() { kind } else { UNUSED });
            tokens.push(token.unwrap_or_else(|| format!("[PAD{id}]")));
        }
        let end = self.special.end.ok_or_else(|| {
            refused("the tokenizer has no end token, and llama.cpp needs one; name it as eos_token in tokenizer_config.json".into())
        })?;
        let named = super::added_tokens::name_of(&config["bos_token"]).and_then(|name| inner.token_to_id(name));
        let (adds_bos, bos) = match self.frame.before[..] {
            [] => (false, named),
            [bos] => (true, Some(bos)),
            _ => {
                return Err(refused(
                    "post_processor: puts several tokens before a text; llama.cpp has one at most".into(),
                ));
            }
        };
        let adds_eos = match self.frame.after[..] {
            [] => false,
            [last] if last == end => true,
            _ => return Err(refused("post_processor: puts other tokens than eos_token after a text".into())),
        };
        let mut roles = vec![("bos", bos), ("eos", Some(end)), ("padding", Some(self.special.pad))];
        let others: Vec<u32> = ends.iter().copied().filter(|&id| id != end).collect();
        if others.len() > 2 {
            return Err(refused(format!(
                "{} tokens end a text (eos_token_id); llama.cpp has 3 at most",
                others.len() + 1
            )));
        }
        roles.extend(["eot", "eom"].into_iter().zip(others.into_iter().map(Some)));
        let mut settings = vec![
            (MODEL.into(), Value::Text(BPE.into())),
            (PRE.into(), Value::Text(pre.names[0].into())),
            (TOKENS.into(), Value::Texts(tokens)),
            (TYPES.into(), Value::Integers(types)),
            (MERGES.into(), Value::Texts(merges)),
            (ADD_BOS.into(), Value::Switch(adds_bos)),
            (ADD_EOS.into(), Value::Switch(adds_eos)),
        ];
        let id = |(role, id): (&str, Option<u32>)| Some((role_setting(role), Value::Integer(id?.into())));
        settings.extend(roles.into_iter().filter_map(id));
        settings.extend(template.map(|text| (TEMPLATE.into(), Value::Text(text.into()))));
        Ok(settings)
    }
}

fn role_setting(role: &str) -> String {
    format!("tokenizer.ggml.{role}_token_id")
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

fn shortened(json: &Json) -> String {
    json.to_string().chars().take(200).collect()
}

/// Merges as pairs with a space between.
fn merges_of(model: &Json) -> Result<Vec<String>, String> {
    let merge = |merge: &Json| match (merge.as_str(), merge[0].as_str(), merge[1].as_str()) {
        (Some(both), ..) => Some(both.to_string()),
        (None, Some(one), Some(other)) => Some(format!("{one} {other}")),
        _ => None,
    };
    let merges = model["merges"].as_array().into_iter().flatten();
    let pair = |one: &Json| {
        let pair = merge(one).filter(|pair| pair.matches(' ').count() == 1);
        pair.ok_or_else(|| format!("model.merges: {one} is no pair of tokens without spaces"))
    };
    merges.map(pair).collect()
}

/// Text files that a Hugging Face directory has for the tokenizer and the template of a GGUF file, by name:
/// `tokenizer.json`, `tokenizer_config.json`, and `chat_template.jinja` if there is a template.
///
/// # Errors
/// A file that cannot be read, or a tokenizer that is not supported.
pub fn files_of_gguf(path: &Path) -> Result<BTreeMap<String, String>> {
    let file = Gguf::open(path)?;
    let [tokenizer, config] = to_hugging_face(&file)?;
    let files = [("tokenizer.json", format!("{tokenizer:#}")), ("tokenizer_config.json", format!("{config:#}\n"))];
    let template = file.text(TEMPLATE)?.map(|text| ("chat_template.jinja", text.to_string()));
    Ok(files.into_iter().chain(template).map(|(name, text)| (name.to_string(), text)).collect())
}

/// The `tokenizer.json` and the `tokenizer_config.json` of the tokenizer of a file.
pub(super) fn to_hugging_face(file: &Gguf) -> Result<[Json; 2]> {
    let fault = |reason: String| Error::from(file.fault(reason));
    let need = |setting: &str, known: &str| {
        file.text(setting)?.ok_or_else(|| fault(format!("the setting {setting} is missing; {known} can be read")))
    };
    let model = need(MODEL, BPE)?;
    if model != BPE {
        return Err(fault(format!("{MODEL} is {model:?}; only {BPE:?}, byte-level BPE, can be read")));
    }
    let names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect();
    let pre = need(PRE, &names.join(", "))?;
    let Some(pre) = PRE_TOKENIZERS.iter().find(|known| known.names.contains(&pre)) else {
        return Err(fault(format!("{PRE} is {pre:?}; {} can be read", names.join(", "))));
    };
    let tokens = file.texts(TOKENS)?.unwrap_or_default();
    let types = file.integers(TYPES)?.unwrap_or_default();
    if tokens.is_empty() || !(types.is_empty() || types.len() == tokens.len()) {
        return Err(fault(format!("{TOKENS} has {} tokens, and {TYPES} has {} types", tokens.len(), types.len())));
    }
    let (mut vocabulary, mut added, mut seen) = (Map::new(), Vec::new(), HashSet::new());
    for (id, token) in tokens.iter().enumerate() {
        let kind = types.get(id).copied().unwrap_or(NORMAL);
        let is_special = match kind {
            UNUSED => continue,
            NORMAL => None,
            CONTROL | UNKNOWN => Some(true),
            USER_DEFINED => Some(false),
            _ => return Err(fault(format!("{TYPES}: token {id} is of the type {kind}, which byte-level BPE has not"))),
        };
        if !seen.insert(token) {
            return Err(fault(format!("{TOKENS}: {:?} is there twice", token.chars().take(40).collect::<String>())));
        }
        vocabulary.insert(token.clone(), id.into());
        added.extend(is_special.map(|special| {
            json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special })
        }));
    }
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    for (role, name) in [("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token")] {
        let setting = role_setting(role);
        let Some(id) = file.count(&setting)? else { continue };
        let token = tokens
            .get(id)
            .ok_or_else(|| fault(format!("{setting} is {id}, and {TOKENS} has {} tokens", tokens.len())))?;
        config[name] = token.clone().into();
    }
    let frame = |setting: &str, default: bool, name: &str| match file.switch(setting)?.unwrap_or(default) {
        false => Ok(None),
        true => match config[name].as_str() {
            Some(token) => Ok(Some(token)),
            None => Err(fault(format!("{setting} is true, and the file names no {name}"))),
        },
    };
    let before = frame(ADD_BOS, pre.adds_bos, "bos_token")?;
    let after = frame(ADD_EOS, false, "eos_token")?;
    let id_of = |token: &str| vocabulary.get(token).cloned().unwrap_or_default();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": pre.normalizer(),
        "pre_tokenizer": pre.to_json(),
        "post_processor": if before.or(after).is_some() { framing(before, after, &id_of) } else { bytes.clone() },
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.ignores_merges,
            "vocab": vocabulary,
            "merges": file.texts(MERGES)?.unwrap_or_default(),
        },
    });
    Ok([tokenizer, config])
}

/// The post-processor that puts these tokens before and after a text.
fn framing(before: Option<&str>, after: Option<&str>, id_of: &dyn Fn(&str) -> Json) -> Json {
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let framed = |name: &str| [before.map(special), Some(text(name)), after.map(special)];
    let mut tokens = Map::new();
    for token in before.iter().chain(&after) {
        tokens.insert((*token).into(), json!({ "id": token, "ids": [id_of(token)], "tokens": [token] }));
    }
    json!({
        "type": "TemplateProcessing",
        "single": framed("A").into_iter().flatten().collect::<Vec<Json>>(),
        "pair": framed("A").into_iter().chain(framed("B")).flatten().collect::<Vec<Json>>(),
        "special_tokens": tokens,
    })
}

impl From<palestra_gguf::Error> for Error {
    fn from(error: palestra_gguf::Error) -> Self {
        Self::Tokenizer(error.to_string())
    }
}

#[cfg(test)]
mod tests;
