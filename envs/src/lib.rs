//! Environments in which an agent acts by writing text.
//!
//! This crate knows no tensors and no models: whoever writes an environment compiles only this.

mod env;
mod error;
mod phase;
mod registry;
mod reward;
pub mod snake;
pub mod tic_tac_toe;
pub mod wordle;

pub use env::{Env, EnvSpec, Info, Observation, Step};
pub use error::{Error, Result};
pub use palestra_datasets::{End, Episode, Turn};
pub use registry::{Definition, Options, Registry};
pub use reward::Reward;
