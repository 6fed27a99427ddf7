//! Learning from text and play: trajectories, batches, rollouts, sources of batches, learners and the training loop.
//!
//! Knows neither commands nor run files.

pub mod accuracy;
pub mod batch;
pub mod collective;
pub mod encoder;
mod error;
pub mod learners;
pub mod likelihood;
pub mod rollout;
pub mod sharding;
pub mod source;
pub mod train;
mod trajectory;

pub use error::{Error, Result};
pub use trajectory::{ActionToken, Segment, Trajectory};
