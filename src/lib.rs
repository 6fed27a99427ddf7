//! Palestra trains language models and text-playing agents by reinforcement learning.

mod error;
pub mod model;

pub use error::{Error, Result};
pub use palestra_envs as envs;
