//! Files of a tokenizer: Hugging Face's `tokenizer.json` and the files beside it, read and written, and GGUF files, read.

use std::path::Path;
use std::sync::Arc;

use palestra_gguf::{Gguf, is_gguf};
use serde_json::{Value, json};

use super::characters::Characters;
use super::frame::Frame;
use super::{Kind, SpecialTokens, Tokenizer, added_tokens, gguf, hash, limits};
use crate::{Error, Result};

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`, or the tokenizer of a GGUF file.
    ///
    /// The end and padding tokens are those that `tokenizer_config.json` or `special_tokens_map.json` in the same
    /// directory names, otherwise the file's own special tokens with a common name. A file without a padding token pads
    /// with its end token, or otherwise with token 0. Truncation and padding settings of the file are ignored. Tokens that
    /// only `added_tokens_decoder` of `tokenizer_config.json` has are tokens too.
    ///
    /// # Errors
    /// A file that is missing or no tokenizer, added tokens with other ids than the next ones, or an end token that is
    /// named and does not exist.
    pub fn from_file(path: &Path) -> Result<Self> {
        let broken = |reason: String| Error::Tokenizer(format!("{}: {reason}", path.display()));
        if is_gguf(path) {
            let [json, config] = gguf::to_hugging_face(&Gguf::open(path)?)?;
            return Self::from_json(&json, &json.to_string(), &[config]).map_err(|error| broken(error.reason()));
        }
        let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
        if length > limits::MAX_FILE {
            return Err(broken(format!("has {length} bytes; at most {} are read", limits::MAX_FILE)));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let json: Value = serde_json::from_str(&text).map_err(|error| broken(format!("no JSON: {error}")))?;
        if let Some(characters) = Characters::from_json(&json) {
            return Ok(Self::of_characters(characters));
        }
        let configs = CONFIGS.map(|name| {
            let text = std::fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
            serde_json::from_str::<Value>(&text).unwrap_or_default()
        });
        Self::from_json(&json, &text, &configs).map_err(|error| broken(error.reason()))
    }

    /// A tokenizer from a `tokenizer.json`, read and as a text, with the contents of the files beside it.
    fn from_json(json: &Value, text: &str, configs: &[Value]) -> Result<Self> {
        limits::check(json).map_err(Error::Tokenizer)?;
        let mut inner: tokenizers::Tokenizer =
            text.parse().map_err(|error| Error::Tokenizer(format!("no Hugging Face tokenizer: {error}")))?;
        inner.with_truncation(None).expect("no truncation is always possible").with_padding(None);
        added_tokens::add_configured(&mut inner, &configs[0])?;
        Self::of_hugging_face(inner, configs)
    }

    /// A tokenizer with the end and padding tokens of the first of `configs` that names them.
    pub(super) fn of_hugging_face(inner: tokenizers::Tokenizer, configs: &[Value]) -> Result<Self> {
        let (special, frame) = (find_special(&inner, configs)?, Frame::of(&inner)?);
        let last_id = inner.get_vocab(true).into_values().max();
        let vocab_size = last_id.ok_or_else(|| Error::Tokenizer("the vocabulary is empty".into()))? as usize + 1;
        let content = inner.to_string(false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let fingerprint = hash(&content);
        Ok(Self { kind: Kind::HuggingFace(Arc::new(inner)), special, frame, vocab_size, fingerprint })
    }

    /// The tokenizer as a Hugging Face `tokenizer.json`, which encodes and decodes the same way.
    pub fn to_json(&self) -> Result<String> {
        match &self.kind {
            Kind::Characters(characters) => Ok(format!("{:#}", characters.to_json())),
            Kind::HuggingFace(inner) => inner.to_string(true).map_err(|error| Error::Tokenizer(error.to_string())),
        }
    }

    /// The `tokenizer_config.json` that tells Hugging Face's libraries, and [`Tokenizer::from_file`], the end and
    /// padding tokens.
    pub fn to_config_json(&self) -> String {
        let name = |id: Option<u32>| id.and_then(|id| self.token(id));
        let turns: Vec<String> = [self.special.observation, self.special.action].into_iter().filter_map(name).collect();
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "pad_token": name(Some(self.special.pad)),
            "eos_token": name(self.special.end),
        });
        if !turns.is_empty() {
            config["additional_special_tokens"] = turns.into();
        }
        if let Kind::Characters(_) = self.kind {
            // Text that spells out a special token is encoded as its characters, here and in transformers.
            config["split_special_tokens"] = true.into();
        }
        format!("{config:#}")
    }
}

/// Names of the end token in widespread models of Hugging Face.
const END_NAMES: [&str; 8] =
    ["<|end|>", "<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<eos>", "[EOS]"];
const PAD_NAMES: [&str; 4] = ["<|pad|>", "<pad>", "[PAD]", "<|padding|>"];

/// Files beside `tokenizer.json` that name its special tokens, the one that comes first first.
const CONFIGS: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

fn find_special(inner: &tokenizers::Tokenizer, configs: &[Value]) -> Result<SpecialTokens> {
    let configured =
        |role: &str| configs.iter().find_map(|config| inner.token_to_id(added_tokens::name_of(&config[role])?));
    let named_end = CONFIGS.iter().zip(configs).find_map(|(file, config)| {
        Some((file, added_tokens::name_of(&config["eos_token"]).filter(|name| !name.is_empty())?))
    });
    if let Some((file, name)) = named_end.filter(|(_, name)| inner.token_to_id(name).is_none()) {
        return Err(Error::Tokenizer(format!(
            "{file} names the eos_token {name:?}, and no token is so called; name one of the vocabulary, or add it to \
             added_tokens"
        )));
    }
    let added = inner.get_added_tokens_decoder();
    let named = |names: &[&str]| {
        let special = |name: &&str| added.iter().find(|(_, token)| token.special && token.content == **name);
        names.iter().find_map(special).map(|(&id, _)| id)
    };
    let end = configured("eos_token").or_else(|| named(&END_NAMES));
    Ok(SpecialTokens {
        pad: configured("pad_token").or_else(|| named(&PAD_NAMES)).or(end).unwrap_or(0),
        observation: named(&["<|observation|>"]),
        action: named(&["<|action|>"]),
        end,
    })
}
