//! Palestra trains language models and text-playing agents by reinforcement learning.

mod error;
pub mod math;
pub mod model;
pub mod ops;

pub use error::{Error, Result};
pub use palestra_envs as envs;
