//! Text to token ids and back.
//!
//! A tokenizer is either made from an environment's alphabet, with one token for each character, or read from a Hugging
//! Face `tokenizer.json`. It knows no models, environments or batches.
//!
//! A whole text has the special tokens around it that the tokenizer's post-processor adds. A part of a text has none, and
//! neither has a text that spells its special tokens out, as a chat template writes it.

mod added_tokens;
mod characters;
mod chat_template;
mod files;
mod frame;
mod gguf;
mod lengths;
mod limits;
#[cfg(test)]
mod made;
mod stop_text;
mod text_stream;
mod train;

use std::sync::Arc;

use palestra_datasets::shards::Vocabulary;
use sha2::{Digest, Sha256};

use crate::{Error, Result};
use characters::Characters;
pub use chat_template::{ChatDate, ChatTemplate, EncodedChat, History, MarkedText, TemplateLimits};
use frame::Frame;
pub use gguf::{GgufTokenizer, files_of_gguf};
pub use stop_text::{StopCheck, StopStream, before_stop};
pub use text_stream::TextStream;
pub use train::{Method, VocabularyOptions};

/// Encodes text to token ids and decodes them back. Cheap to clone.
///
/// ```
/// # use palestra_text::Tokenizer;
/// let tokenizer = Tokenizer::from_alphabet("udlr. ")?;
/// let mut ids = Vec::new();
/// tokenizer.encode("r d", &mut ids)?;
/// ids.extend(tokenizer.special().end);
/// assert_eq!(tokenizer.decode(&ids)?, "r d");
/// assert!(tokenizer.encode("right", &mut ids).is_err()); // no `i` in the alphabet
/// # Ok::<(), palestra_text::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    kind: Kind,
    special: SpecialTokens,
    frame: Frame,
    vocab_size: usize,
    fingerprint: String,
}

/// Special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Padding token, which fills rows up to the length of their batch. The padding mask says which positions are
    /// padding, so this may be the same token as `end`, or even a token of the text.
    pub pad: u32,
    /// Token before each observation.
    pub observation: Option<u32>,
    /// Token before each action.
    pub action: Option<u32>,
    /// End token of each action.
    pub end: Option<u32>,
}

#[derive(Debug, Clone)]
enum Kind {
    Characters(Arc<Characters>),
    HuggingFace(Arc<tokenizers::Tokenizer>),
}

impl Tokenizer {
    /// A tokenizer with one token for each character of `alphabet`, in the order of code points, after the
    /// special tokens `<|pad|>` = 0, `<|observation|>` = 1, `<|action|>` = 2 and `<|end|>` = 3.
    ///
    /// # Errors
    /// An empty alphabet.
    pub fn from_alphabet(alphabet: &str) -> Result<Self> {
        Ok(Self::of_characters(Characters::new(alphabet)?))
    }

    /// The tokenizer for a model with so many rows of its embedding.
    ///
    /// Many models have a padding token one beyond their embedding. Nothing looks at padding, so it gets the id of the end
    /// token, or 0, in its place, and a text that spells it cannot be encoded.
    ///
    /// # Errors
    /// Any other token beyond the embedding; the message names the first one, with both numbers.
    pub fn for_rows(mut self, rows: usize) -> Result<Self, String> {
        let tokens = self.vocab_size;
        if tokens <= rows {
            return Ok(self);
        }
        let beyond = (rows as u32..tokens as u32).find(|&id| id != self.special.pad && self.token(id).is_some());
        let framed = self.frame.before.iter().chain(&self.frame.after).copied();
        let mut used = beyond.into_iter().chain(self.special.end).chain(framed);
        if let Some(id) = used.find(|&id| id as usize >= rows) {
            return Err(format!(
                "has {tokens} tokens, and the model's config.json says vocab_size = {rows}: they are of different models; \
                 {:?} is token {id}, which the model's embedding does not have",
                self.token(id).unwrap_or_default()
            ));
        }
        self.vocab_size = rows;
        self.special.pad = self.special.end.unwrap_or(0);
        Ok(self)
    }

    /// Tokens of a whole text, with the special tokens that the tokenizer's post-processor puts around it: those of
    /// transformers' `tokenizer(text)`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.encode_beginning(text)?;
        tokens.extend(&self.frame.after);
        Ok(tokens)
    }

    /// Tokens of the beginning of a text that goes on, such as a prompt: those of [`Tokenizer::encode_text`] without the
    /// special tokens after the text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_beginning(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.frame.before.clone();
        self.encode(text, &mut tokens)?;
        Ok(tokens)
    }

    /// Tokens of the beginning of each text, as [`Tokenizer::encode_beginning`]; a Hugging Face tokenizer encodes them in
    /// parallel.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_beginnings(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        match &self.kind {
            Kind::Characters(_) => texts.iter().map(|text| self.encode_beginning(text)).collect(),
            Kind::HuggingFace(inner) => {
                let texts = texts.iter().map(String::as_str).collect();
                let encodings =
                    inner.encode_batch_fast(texts, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
                let beginning = |encoding: &tokenizers::Encoding| {
                    Ok([self.beginning(), self.checked(inner, encoding.get_ids())?].concat())
                };
                encodings.iter().map(beginning).collect()
            }
        }
    }

    /// Special tokens before each text, such as the BOS token; often none.
    pub fn beginning(&self) -> &[u32] {
        &self.frame.before
    }

    /// Appends the tokens of `text` to `out`, without special tokens around it: for a part of a text, or for one that
    /// spells its special tokens out, as chat templates do. On an error `out` is unchanged.
    ///
    /// # Errors
    /// A character that is not in the alphabet, with its position.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        match &self.kind {
            Kind::Characters(characters) => characters.encode(text, out),
            Kind::HuggingFace(inner) => {
                let encoding =
                    inner.encode_fast(text, false).map_err(|error| Error::Tokenizer(format!("{text:?}: {error}")))?;
                out.extend_from_slice(self.checked(inner, encoding.get_ids())?);
                Ok(())
            }
        }
    }

    /// The ids of a text, which may spell a padding token that the model has no row for.
    fn checked<'a>(&self, inner: &tokenizers::Tokenizer, ids: &'a [u32]) -> Result<&'a [u32]> {
        match ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            None => Ok(ids),
            Some(&id) => Err(Error::Tokenizer(format!(
                "the text has {:?}, token {id}, and the model's vocabulary ends at {}: it is for padding alone",
                inner.id_to_token(id).unwrap_or_default(),
                self.vocab_size - 1
            ))),
        }
    }

    /// Decodes `ids` to text without special tokens.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_as(ids, true)
    }

    /// Decodes `ids` to text with special tokens spelled out.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.decode_as(ids, false)
    }

    fn decode_as(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        match &self.kind {
            Kind::Characters(characters) => characters.decode(ids),
            Kind::HuggingFace(inner) => {
                if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
                    return Err(no_such_token(id, self.vocab_size));
                }
                inner.decode(ids, skip_special).map_err(|error| Error::Tokenizer(error.to_string()))
            }
        }
    }

    /// Vocabulary size, the greatest token id plus one: the number of rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Ids below the vocabulary size that no token has.
    pub fn holes(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Characters(_) => Vec::new(),
            Kind::HuggingFace(inner) => {
                (0..self.vocab_size as u32).filter(|&id| inner.id_to_token(id).is_none()).collect()
            }
        }
    }

    /// The special tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Fingerprint: 32 hexadecimal digits that are the same for tokenizers of the same content, on every machine. Shows
    /// whether the token ids in a file are those of this tokenizer.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Vocabulary settings that token shards record: size, fingerprint, and the end token, which ends each document.
    pub fn vocabulary(&self) -> Vocabulary {
        let size = self.vocab_size as u32;
        Vocabulary { size, fingerprint: self.fingerprint.clone(), separator: self.special.end }
    }

    /// Number of bytes of text of each token; 0 for special tokens.
    pub fn token_bytes(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Characters(characters) => characters.token_bytes(),
            Kind::HuggingFace(inner) => lengths::token_bytes(inner, self.vocab_size),
        }
    }

    /// The vocabulary entry of a token id.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.kind {
            Kind::Characters(characters) => characters.token(id),
            Kind::HuggingFace(inner) => inner.id_to_token(id),
        }
    }

    /// True if a token is special, so that decoded text leaves it out.
    fn is_special(&self, id: u32) -> bool {
        match &self.kind {
            Kind::Characters(_) => Characters::is_special(id),
            Kind::HuggingFace(inner) => {
                inner.id_to_token(id).is_some_and(|token| inner.get_added_vocabulary().is_special_token(&token))
            }
        }
    }

    /// The unknown token, if the vocabulary has one.
    pub fn unknown(&self) -> Option<u32> {
        match &self.kind {
            Kind::Characters(_) => None,
            Kind::HuggingFace(inner) => {
                ["<unk>", "[UNK]", "<|unknown|>"].iter().find_map(|name| inner.token_to_id(name))
            }
        }
    }

    fn of_characters(characters: Characters) -> Self {
        Self {
            special: Characters::special(),
            frame: Frame::default(),
            vocab_size: characters.vocab_size(),
            fingerprint: hash(&characters.alphabet()),
            kind: Kind::Characters(Arc::new(characters)),
        }
    }
}

fn hash(content: &str) -> String {
    Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn no_such_token(id: u32, vocab_size: usize) -> Error {
    Error::Tokenizer(format!("no token has the id {id}; the vocabulary ends at {}", vocab_size - 1))
}

#[cfg(test)]
mod tests;
