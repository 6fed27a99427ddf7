//! The decoder transformer and its parts.
//!
//! Knows mathematics and operations; knows nothing of text, environments, learners or the files that people write.

mod cache;
pub mod checkpointing;
pub mod classifier;
mod config;
pub mod config_json;
mod critic;
pub mod generate;
mod generation_config;
pub mod huggingface;
mod layers;
pub mod lora;
pub mod parameters;
mod policy;
mod pretrained;
mod rotary;
mod transformer;
#[cfg(test)]
pub(crate) mod transformers_tests;

pub use cache::KvCache;
pub use config::{Family, Gelu, ModelConfig, RopeScaling};
pub use critic::{Critic, CriticShape, Head, Targets};
pub use generation_config::GenerationConfig;
pub use layers::{Init, Linear, Norm};
pub use policy::{Decoding, Heads, Hidden, Policy, PolicyCache};
pub(crate) use pretrained::write_text;
pub use pretrained::{
    FileLayout, read_companions, read_config, read_config_json, read_generation_config, read_model, write_model,
};
pub use transformer::{Placement, Transformer};
