//! Data for learning: episodes, documents, preferences, and the files that hold them.
//!
//! This crate has no tensors, environments or learners. Rollouts, logs and learners in Palestra exchange [`Episode`]s:
//! turns of observation text and action text, with rewards.

mod cells;
pub mod check;
pub mod documents;
mod episode;
mod error;
pub mod examples;
pub mod import;
pub mod log;
pub mod preferences;
pub mod rows;
pub mod shards;
pub mod split_mix;
pub mod stats;

pub use episode::{End, Episode, MISSING_END, RULES, Turn};
pub use error::{Error, Result};
