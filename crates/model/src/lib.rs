//! Decoder transformers: operations on tensors, layers, Hugging Face files, generation, optimiser and checkpoints.
//!
//! Knows nothing of text, environments, learners or the files that people write.

mod block;
pub mod cache;
pub mod checkpoint;
mod checkpointing;
pub mod classifier;
mod config;
pub mod config_json;
mod critic;
mod decoding;
mod end_tokens;
mod error;
mod families;
mod feed_forward;
pub mod generate;
mod generation_config;
pub mod gguf;
pub mod huggingface;
mod layer_plan;
mod layers;
pub mod lora;
pub mod math;
pub mod ops;
pub mod optim;
pub mod parameters;
mod policy;
mod precision;
mod pretrained;
pub mod quantize;
mod rope_scaling;
mod rotary;
mod shapes;
mod transformer;

// The types of burn that the interfaces of this crate show, for those who do not depend on burn.
pub use burn::module::Module;
pub use burn::tensor::{Device, Int, Tensor, TensorData};
pub use cache::KvCache;
pub use config::{ExpertsConfig, Gelu, ModelConfig};
pub use critic::{Critic, CriticShape, Head, Targets};
pub use end_tokens::EndTokens;
pub use error::{Error, Result};
pub use families::Family;
pub use generation_config::GenerationConfig;
pub use layers::{Init, Linear, Norm, Weight};
pub use policy::{Decoding, Heads, Hidden, Policy, PolicyCache};
pub use precision::Precision;
pub use pretrained::{
    COMPANIONS, FileLayout, FrozenMatrices, generation_config_of, read_companions, read_config, read_config_json,
    read_frozen, read_generation_config, read_model, write_json, write_model,
};
pub use rope_scaling::RopeScaling;
pub use shapes::parameter_shapes;
pub use transformer::{Placement, Transformer, is_router};
