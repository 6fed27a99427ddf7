//! Environments in which an agent acts by writing text.
//!
//! This crate knows no tensors and no models: whoever writes an environment compiles only this.

mod builtin;
mod definition;
mod diagnostic;
mod env;
mod error;
mod phase;
mod registry;
mod reward;

pub mod cliff_walking;
pub mod double_t_maze;
pub mod frozen_lake;
pub mod grid;
pub mod grid_world;
pub mod tabular;
pub mod wrappers;

pub use definition::{Definition, Options, Wrappers};
pub use diagnostic::{parse_toml, parse_toml_table};
pub use env::{Env, EnvSpec, Info, Observation, Step};
pub use error::{Error, Result};
pub use palestra_datasets::{End, Episode, Turn};
pub use registry::{Build, Entry, Registry};
pub use reward::Reward;
