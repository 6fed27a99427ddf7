//! Training a vocabulary from texts.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, ModelWrapper};

use super::Tokenizer;
use crate::{Error, Result};

/// Training method of a vocabulary. Each method encodes any text without loss, except that `Characters` knows only the
/// characters of the training texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Byte-pair encoding of bytes, as in GPT-2: merges the most frequent pair again and again ([Sennrich et al.
    /// 2016](https://arxiv.org/abs/1508.07909)).
    Bpe,
    /// Unigram language model over pieces of bytes: drops the pieces that cost the least likelihood ([Kudo
    /// 2018](https://arxiv.org/abs/1804.10959)).
    Unigram,
    /// One token for each character of the texts.
    Characters,
}

/// Settings of a vocabulary of byte-pair or unigram tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyOptions {
    /// Vocabulary size, special tokens included; at least 256 more than the number of special tokens.
    pub size: usize,
    /// Minimum frequency of a pair to be merged (byte-pair encoding).
    pub min_frequency: u64,
    /// Special tokens, at the first ids. The first one ends documents.
    pub special: Vec<String>,
}

impl Default for VocabularyOptions {
    fn default() -> Self {
        let special = ["<|endoftext|>", "<|pad|>"].map(String::from).to_vec();
        Self { size: 4096, min_frequency: 2, special }
    }
}

impl Tokenizer {
    /// Trains a vocabulary from texts, which are read once.
    ///
    /// # Errors
    /// A text that cannot be read, no text at all, or impossible settings.
    pub fn train(
        method: Method,
        options: &VocabularyOptions,
        texts: impl Iterator<Item = Result<String>> + Send,
    ) -> Result<Self> {
        let trainer = match method {
            Method::Characters => return Self::train_characters(texts),
            _ if options.size < 256 + options.special.len() => {
                return Err(Error::Config(format!(
                    "--vocab-size: {} is less than {}, the 256 bytes and the special tokens",
                    options.size,
                    256 + options.special.len()
                )));
            }
            Method::Bpe => bpe(options),
            Method::Unigram => unigram(options),
        };
        let model: ModelWrapper = match method {
            Method::Bpe => BPE::default().into(),
            _ => Unigram::default().into(),
        };
        learn(tokenizers::Tokenizer::new(model), trainer, options, texts)
    }

    fn train_characters(texts: impl Iterator<Item = Result<String>>) -> Result<Self> {
        let mut alphabet = std::collections::BTreeSet::new();
        for text in texts {
            alphabet.extend(text?.chars());
        }
        if alphabet.is_empty() {
            return Err(no_text());
        }
        Self::from_alphabet(&alphabet.into_iter().collect::<String>())
    }
}

fn bpe(options: &VocabularyOptions) -> TrainerWrapper {
    BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.size)
        .min_frequency(options.min_frequency)
        .special_tokens(special(options))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into()
}

fn unigram(options: &VocabularyOptions) -> TrainerWrapper {
    let mut trainer = UnigramTrainer::default();
    trainer.show_progress = false;
    trainer.vocab_size = options.size as u32;
    trainer.special_tokens = special(options);
    trainer.initial_alphabet.extend(ByteLevel::alphabet());
    trainer.into()
}

fn special(options: &VocabularyOptions) -> Vec<AddedToken> {
    options.special.iter().map(|name| AddedToken::from(name.as_str(), true)).collect()
}

fn learn(
    mut inner: tokenizers::Tokenizer,
    mut trainer: TrainerWrapper,
    options: &VocabularyOptions,
    mut texts: impl Iterator<Item = Result<String>> + Send,
) -> Result<Tokenizer> {
    // Without text, the trainers panic or learn nothing.
    let first = texts.by_ref().find(|text| !matches!(text, Ok(text) if text.is_empty())).ok_or_else(no_text)??;
    let bytes = ByteLevel::new(false, true, true);
    inner.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
    // The trainer takes texts and no results: the first error ends the texts, and is returned afterwards.
    let failed = Mutex::new(None);
    let whole = std::iter::once(Ok(first)).chain(texts).map_while(|text| match text {
        Ok(text) => Some(text),
        Err(error) => {
            *failed.lock().expect("nobody panics with it") = Some(error);
            None
        }
    });
    let trained = inner.train(&mut trainer, whole).map(|_| ());
    if let Some(error) = failed.into_inner().expect("nobody panics with it") {
        return Err(error);
    }
    trained.map_err(|error| Error::Tokenizer(format!("no vocabulary of {} can be learned: {error}", options.size)))?;
    let pad = options.special.iter().find(|name| name.contains("pad"));
    let roles = json!({ "eos_token": options.special.first(), "pad_token": pad });
    Tokenizer::of_hugging_face(inner, &[roles])
}

fn no_text() -> Error {
    Error::Tokenizer("there is no text to learn a vocabulary from: the files are empty or filtered out".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "the cat sat on the mat, the dog sat on the log; caf\u{e9} \u{4f60}\u{597d}\n";

    fn trained(method: Method) -> Tokenizer {
        let options = VocabularyOptions { size: 300, ..VocabularyOptions::default() };
        let texts = (0..20).map(|number| Ok(format!("{number} {TEXT}")));
        Tokenizer::train(method, &options, texts).unwrap()
    }

    #[test]
    fn a_learned_vocabulary_encodes_any_text_without_loss() {
        for method in [Method::Bpe, Method::Unigram] {
            let tokenizer = trained(method);
            for text in [TEXT, "never seen: \u{1f600} \u{0}\t\r\n  ", " two  spaces "] {
                let mut ids = Vec::new();
                tokenizer.encode(text, &mut ids).unwrap();
                assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{method:?}");
                let lengths = tokenizer.token_bytes();
                let bytes: u32 = ids.iter().map(|&id| lengths[id as usize]).sum();
                assert_eq!(bytes as usize, text.len(), "{method:?}");
            }
            let mut ids = Vec::new();
            tokenizer.encode("the cat sat on", &mut ids).unwrap();
            assert!(ids.len() < 14, "{method:?} learned nothing: {} tokens", ids.len());
            assert!(tokenizer.vocab_size() <= 300);
            assert_eq!((tokenizer.special().end, tokenizer.special().pad), (Some(0), 1), "{method:?}");
            assert_eq!(tokenizer.token_bytes()[..2], [0, 0], "special tokens are no text");
        }
        assert_eq!(trained(Method::Characters).decode(&[4, 5]).unwrap().chars().count(), 2);
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        assert_eq!(trained(Method::Bpe).fingerprint(), trained(Method::Bpe).fingerprint());
    }

    #[test]
    fn what_cannot_be_learned_is_refused() {
        let options = VocabularyOptions { size: 257, ..VocabularyOptions::default() };
        let refused = |method, options: &VocabularyOptions, texts: Vec<Result<String>>| {
            Tokenizer::train(method, options, texts.into_iter()).unwrap_err().to_string()
        };
        assert!(refused(Method::Bpe, &options, vec![]).contains("257 is less than 258"));
        for method in [Method::Bpe, Method::Unigram, Method::Characters] {
            let empty = refused(method, &VocabularyOptions::default(), vec![Ok(String::new())]);
            assert!(empty.contains("there is no text"), "{empty}");
            let broken = || Err(Error::Data("row 7 is broken".into()));
            for texts in [vec![Ok(TEXT.to_string()), broken()], vec![broken()]] {
                assert_eq!(refused(method, &VocabularyOptions::default(), texts), "row 7 is broken");
            }
        }
    }
}
