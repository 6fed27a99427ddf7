//! Palestra trains language models and text-playing agents by reinforcement learning.

pub mod config;
mod error;
pub mod model;
mod tokenizer;

pub use error::{Error, Result};
pub use palestra_envs as envs;
pub use tokenizer::{SpecialTokens, Tokenizer};
