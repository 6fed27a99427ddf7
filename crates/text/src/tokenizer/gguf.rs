//! Tokenizers and chat templates in GGUF files: byte-level BPE, and BPE as SentencePiece makes it. What llama.cpp does in
//! another way is refused.

mod byte_level;
mod sentencepiece;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use palestra_gguf::{Gguf, Value};
use serde_json::{Map, Value as Json, json};

use super::{Kind, Tokenizer};
use crate::{Error, Result};

/// The settings that hold a tokenizer.
const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Types of tokens.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// Settings of a file for one kind of tokenizer, beside its tokens.
struct Form {
    /// Value of [`MODEL`].
    model: &'static str,
    settings: Vec<(String, Value)>,
    /// Types of tokens that the kind has for itself.
    types: HashMap<String, i64>,
    /// Difference of llama.cpp with some texts.
    note: Option<&'static str>,
}

/// A tokenizer in the settings of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTokenizer {
    /// The settings.
    pub settings: Vec<(String, Value)>,
    /// Difference of llama.cpp with some texts.
    pub note: Option<&'static str>,
}

/// Parts of a `tokenizer.json` that differ between kinds of tokenizers.
struct Parts {
    /// True if a file that does not say it puts the BOS token before texts.
    adds_bos: bool,
    normalizer: Json,
    pre_tokenizer: Json,
    /// Of a tokenizer that puts no tokens around texts.
    post_processor: Json,
    decoder: Json,
    /// The unknown token.
    unknown: Option<String>,
    byte_fallback: bool,
    ignores_merges: bool,
    merges: Json,
}

impl Tokenizer {
    /// The settings of a GGUF file for this tokenizer, and for a model with so many rows of its embedding.
    ///
    /// `config` is the model's `tokenizer_config.json`, and names the BOS token. `ends` are further tokens that end what
    /// the model writes, besides the end token. `template` is the text of the chat template.
    ///
    /// # Errors
    /// A tokenizer that llama.cpp does not have, or that it applies in another way.
    pub fn to_gguf(&self, rows: usize, config: &Json, ends: &[u32], template: Option<&str>) -> Result<GgufTokenizer> {
        let refused = |reason: String| Error::Tokenizer(format!("GGUF: {reason}"));
        let Kind::HuggingFace(inner) = &self.kind else {
            return Err(refused("a tokenizer of single characters cannot be written; one of BPE can".into()));
        };
        let json = serde_json::to_value(&**inner).map_err(|error| refused(error.to_string()))?;
        let form = match json["model"]["byte_fallback"] == true {
            true => sentencepiece::form(&json, rows),
            false => byte_level::form(&json),
        };
        let Form { model, settings: own, types: own_types, note } = form.map_err(refused)?;
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
            types.push(token.as_ref().map_or(UNUSED, |token| own_types.get(token).copied().unwrap_or(kind)));
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
            (MODEL.into(), Value::Text(model.into())),
            (TOKENS.into(), Value::Texts(tokens)),
            (TYPES.into(), Value::Integers(types)),
            (ADD_BOS.into(), Value::Switch(adds_bos)),
            (ADD_EOS.into(), Value::Switch(adds_eos)),
        ];
        let id = |(role, id): (&str, Option<u32>)| Some((role_setting(role), Value::Integer(id?.into())));
        settings.extend(own);
        settings.extend(roles.into_iter().filter_map(id));
        settings.extend(template.map(|text| (TEMPLATE.into(), Value::Text(text.into()))));
        Ok(GgufTokenizer { settings, note })
    }
}

fn role_setting(role: &str) -> String {
    format!("tokenizer.ggml.{role}_token_id")
}

fn shortened(json: &Json) -> String {
    json.to_string().chars().take(200).collect()
}

/// Merges as pairs of tokens.
fn merges_of(model: &Json) -> Result<Vec<[String; 2]>, String> {
    let pair = |merge: &Json| {
        let both = merge.as_str().and_then(|both| both.split_once(' '));
        let pair = both.or_else(|| Some((merge[0].as_str()?, merge[1].as_str()?)));
        let pair = pair.filter(|(one, other)| !one.contains(' ') && !other.contains(' '));
        let pair = pair.ok_or_else(|| format!("model.merges: {merge} is no pair of tokens without spaces"))?;
        Ok([pair.0.to_string(), pair.1.to_string()])
    };
    model["merges"].as_array().into_iter().flatten().map(pair).collect()
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
    let kinds = [byte_level::MODEL, sentencepiece::MODEL];
    let known = "gpt2, byte-level BPE, and llama, BPE of SentencePiece, can be read";
    let model = file.text(MODEL)?.ok_or_else(|| fault(format!("the setting {MODEL} is missing; {known}")))?;
    if !kinds.contains(&model) {
        return Err(fault(format!("{MODEL} is {model:?}; {known}")));
    }
    let is_sentencepiece = model == sentencepiece::MODEL;
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
            BYTE if is_sentencepiece => None,
            _ => return Err(fault(format!("{TYPES}: token {id} is of the type {kind}, which {model} has not"))),
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
    let parts = match is_sentencepiece {
        true => sentencepiece::parts(file, tokens, types)?,
        false => byte_level::parts(file)?,
    };
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    for (role, name) in [("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token")] {
        let setting = role_setting(role);
        let known = sentencepiece::ROLES.iter().find(|(known, _)| is_sentencepiece && *known == role);
        let Some(id) = file.count(&setting)?.or(known.map(|(_, id)| *id)) else { continue };
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
    let before = frame(ADD_BOS, parts.adds_bos, "bos_token")?;
    let after = frame(ADD_EOS, false, "eos_token")?;
    let id_of = |token: &str| vocabulary.get(token).cloned().unwrap_or_default();
    let post_processor = if before.or(after).is_some() { framing(before, after, &id_of) } else { parts.post_processor };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": parts.decoder,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": parts.unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": parts.byte_fallback, "byte_fallback": parts.byte_fallback,
            "ignore_merges": parts.ignores_merges,
            "vocab": vocabulary,
            "merges": parts.merges,
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
