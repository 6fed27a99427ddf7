//! Text to token ids and back: tokenizers, vocabularies learned from texts, chat templates. No tensors.

mod error;
mod tokenizer;

pub use error::{Error, Result};
pub use tokenizer::{
    ChatTemplate, EncodedChat, MarkedText, Message, Method, SpecialTokens, StopStream, TextStream, Tokenizer,
    VocabularyOptions, before_stop, stop_check,
};
