//! Special tokens around a text, as a tokenizer's post-processor adds them.

use tokenizers::{Encoding, Token};

use crate::{Error, Result};

/// Special tokens before and after a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Tokens before the text.
    pub before: Vec<u32>,
    /// Tokens after the text.
    pub after: Vec<u32>,
}

/// Stand-in for a text, an id that no vocabulary has.
const TEXT: u32 = u32::MAX;

impl Frame {
    /// The tokens that the post-processor of `inner` adds.
    ///
    /// The post-processor of `tokenizer.json` alone decides. transformers 5 ignores `add_bos_token` and `add_eos_token` of
    /// `tokenizer_config.json` beside a `tokenizer.json`, and removes them where it saves a tokenizer.
    ///
    /// # Errors
    /// A post-processor that does not return the text, or not once.
    pub fn of(inner: &tokenizers::Tokenizer) -> Result<Self> {
        let text = Encoding::from_tokens(vec![Token::new(TEXT, "text".into(), (0, 4))], 0);
        let framed = inner.post_process(text, None, true).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let parts: Vec<&[u32]> = framed.get_ids().split(|&id| id == TEXT).collect();
        match parts[..] {
            [before, after] => Ok(Self { before: before.to_vec(), after: after.to_vec() }),
            _ => Err(Error::Tokenizer("post_processor: it does not return a text once and whole".into())),
        }
    }
}
