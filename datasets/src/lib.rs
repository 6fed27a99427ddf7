//! Data for learning: episodes, documents, preferences, and the files that hold them.
//!
//! This crate has no tensors, environments or learners. Rollouts, logs and learners in Palestra exchange [`Episode`]s:
//! turns of observation and action, with rewards. An observation is a [`Content`]: a text, or the messages of a
//! conversation.

mod cells;
pub mod check;
mod content;
pub mod documents;
mod episode;
mod error;
pub mod examples;
pub mod import;
pub mod log;
mod message;
pub mod preferences;
pub mod rows;
pub mod shards;
pub mod split_mix;
pub mod stats;

pub use content::Content;
pub use episode::{End, Episode, MISSING_END, RULES, Turn};
pub use error::{Error, Result};
pub use log::paths::find_files;
pub use message::Message;
