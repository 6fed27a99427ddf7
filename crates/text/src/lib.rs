//! Text to token ids and back: tokenizers, vocabularies learned from texts, chat templates. No tensors.

mod error;
mod tokenizer;

pub use error::{Error, Result};
pub use palestra_datasets::Message;
pub use tokenizer::{
    ChatDate, ChatTemplate, EncodedChat, MarkedText, Method, SpecialTokens, StopStream, TemplateLimits, TextStream,
    Tokenizer, VocabularyOptions, before_stop, stop_check,
};
