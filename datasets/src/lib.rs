//! Data for learning: episodes, documents, preferences, and the files that hold them.
//!
//! This crate has no tensors, environments or learners. Rollouts, logs and learners in Palestra exchange [`Episode`]s:
//! turns of observation and action, with rewards. An observation is a [`Content`]: a text, or the messages of a
//! conversation.

pub mod bounds;
mod cells;
pub mod check;
mod content;
mod conversation;
mod delimited;
pub mod documents;
mod episode;
mod error;
pub mod examples;
pub mod import;
mod json;
pub mod log;
mod message;
mod origin;
pub mod preferences;
mod remote;
pub mod rows;
pub mod shards;
pub mod split_mix;
pub mod stats;
mod unchecked;

pub use content::Content;
pub use conversation::take_conversation;
pub use episode::{End, Episode, MISSING_END, RULES, Turn};
pub use error::{Error, Result};
pub use json::{JsonRows, json_fault};
pub use log::paths::find_files;
pub use message::Message;
pub use palestra_files::Address;
pub use remote::local;
