//! Text to token ids and back: tokenizers, vocabularies learned from texts, chat templates. No tensors.

mod error;
mod named_template;
mod tokenizer;

pub use error::{Error, Result};
pub use named_template::{NamedTemplate, TRAINING_TEMPLATES, TrainingTemplate};
pub use palestra_datasets::Message;
pub use tokenizer::{
    ChatDate, ChatTemplate, EncodedChat, GgufTokenizer, History, MarkedText, Method, SpecialTokens, StopCheck,
    StopStream, TemplateLimits, TextStream, Tokenizer, VocabularyOptions, before_stop, files_of_gguf,
};
