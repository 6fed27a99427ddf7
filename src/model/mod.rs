//! The decoder transformer and its parts.
//!
//! Knows mathematics and operations; knows nothing of text, environments, learners or the files that people write.

mod cache;
mod config;
pub mod generate;
mod layers;
pub mod parameters;
mod policy;
mod rotary;
mod transformer;

pub use cache::KvCache;
pub use config::{Family, ModelConfig};
pub use layers::{Linear, Norm};
pub use policy::Policy;
pub use transformer::{Placement, Transformer};
