//! Palestra trains language models and text-playing agents by reinforcement learning.

pub mod accuracy;
pub mod agent;
pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod encoder;
mod error;
pub mod estimate;
pub mod language_model;
pub mod learn;
pub mod likelihood;
pub mod math;
pub mod model;
pub mod observe;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod record;
pub mod reward;
pub mod reward_model;
pub mod rollout;
pub mod run_dir;
pub mod source;
mod tokenizer;
pub mod train;
pub mod train_run;
mod trajectory;

pub use error::{Error, Result};
pub use palestra_envs as envs;
pub use tokenizer::{
    ChatTemplate, EncodedChat, MarkedText, Message, Method, SpecialTokens, TextStream, Tokenizer, VocabularyOptions,
};
pub use trajectory::{ActionToken, Segment, Trajectory};
