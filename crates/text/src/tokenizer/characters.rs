//! Character tokenizer of an agent trained from scratch: one token for each character of an environment's alphabet.

use serde_json::{Value, json};

use super::SpecialTokens;
use crate::{Error, Result};

/// The special tokens, at ids 0 to 3. They are not text: text that spells one out is encoded as its characters, so that
/// no output of an agent or an environment can be mistaken for the end of a turn.
const SPECIAL: [&str; 4] = ["<|pad|>", "<|observation|>", "<|action|>", "<|end|>"];
const FIRST_CHARACTER: u32 = SPECIAL.len() as u32;
const UNKNOWN: u32 = u32::MAX;

/// One token for each character; encoding is a table look-up.
#[derive(Debug, Clone, PartialEq)]
pub struct Characters {
    /// Sorted, without duplicates: token `FIRST_CHARACTER + i` is the character `alphabet[i]`.
    alphabet: Vec<char>,
    /// Token of each code point up to the last one of the alphabet; `UNKNOWN` for those that are not in it.
    ids: Vec<u32>,
}

impl Characters {
    /// # Errors
    /// An empty alphabet.
    pub fn new(alphabet: &str) -> Result<Self> {
        let mut alphabet: Vec<char> = alphabet.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let Some(&last) = alphabet.last() else {
            return Err(Error::Tokenizer("the alphabet is empty; it must hold every character of the texts".into()));
        };
        let mut ids = vec![UNKNOWN; last as usize + 1];
        for (id, &character) in (FIRST_CHARACTER..).zip(&alphabet) {
            ids[character as usize] = id;
        }
        Ok(Self { alphabet, ids })
    }

    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let before = out.len();
        out.reserve(text.len());
        for (offset, character) in text.char_indices() {
            match self.ids.get(character as usize) {
                Some(&id) if id != UNKNOWN => out.push(id),
                _ => {
                    out.truncate(before);
                    return Err(self.unknown(text, offset, character));
                }
            }
        }
        Ok(())
    }

    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut text = String::with_capacity(ids.len());
        for &id in ids.iter().filter(|&&id| id >= FIRST_CHARACTER) {
            let character = self.alphabet.get((id - FIRST_CHARACTER) as usize);
            text.push(*character.ok_or_else(|| super::no_such_token(id, self.vocab_size()))?);
        }
        Ok(text)
    }

    pub fn alphabet(&self) -> String {
        self.alphabet.iter().collect()
    }

    /// Number of bytes of each token's character; 0 for special tokens.
    pub fn token_bytes(&self) -> Vec<u32> {
        let lengths = self.alphabet.iter().map(|character| character.len_utf8() as u32);
        SPECIAL.iter().map(|_| 0).chain(lengths).collect()
    }

    pub fn vocab_size(&self) -> usize {
        SPECIAL.len() + self.alphabet.len()
    }

    pub fn token(&self, id: u32) -> Option<String> {
        let special = SPECIAL.get(id as usize).map(|name| name.to_string());
        special.or_else(|| self.alphabet.get((id as usize).checked_sub(SPECIAL.len())?).map(char::to_string))
    }

    pub fn is_special(id: u32) -> bool {
        id < FIRST_CHARACTER
    }

    pub fn special() -> SpecialTokens {
        SpecialTokens { pad: 0, observation: Some(1), action: Some(2), end: Some(3) }
    }

    /// A `tokenizer.json` with which any Hugging Face reader encodes and decodes the same way.
    ///
    /// The special tokens are plain vocabulary and not `added_tokens`, because those are matched inside texts. The
    /// decoder removes them again; a `tokenizer_config.json` beside the file assigns their roles.
    pub fn to_json(&self) -> Value {
        let words = SPECIAL.iter().map(|name| name.to_string()).chain(self.alphabet.iter().map(char::to_string));
        let vocab: serde_json::Map<String, Value> = words.zip(0u32..).map(|(word, id)| (word, id.into())).collect();
        let drop_special = SPECIAL.map(|name| json!({"type": "Replace", "pattern": {"String": name}, "content": ""}));
        let decoders: Vec<Value> = drop_special.into_iter().chain([json!({"type": "Fuse"})]).collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": {
                "type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": false
            },
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            // The unknown token is not in the vocabulary, so that an unknown character is an error there too.
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<|unknown|>"},
        })
    }

    /// Reads a tokenizer that [`Characters::to_json`] wrote; `None` for every other file.
    pub fn from_json(json: &Value) -> Option<Self> {
        let vocab = json["model"]["vocab"].as_object()?;
        let alphabet: String =
            vocab.keys().filter(|word| !SPECIAL.contains(&word.as_str())).map(String::as_str).collect();
        Self::new(&alphabet).ok().filter(|characters| characters.to_json() == *json)
    }

    fn unknown(&self, text: &str, offset: usize, character: char) -> Error {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let alphabet = self.alphabet();
        Error::Tokenizer(format!(
            "{character:?} (U+{:04X}) at line {line}, column {column} of the text is not in the alphabet {alphabet:?}",
            character as u32
        ))
    }
}
