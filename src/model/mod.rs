//! The decoder transformer and its parts. Knows mathematics and operations, and nothing of files people write.

mod config;

pub use config::{Family, ModelConfig};
