//! Pure functions on tensors and slices: each is its equation, with its source and sign convention.
//!
//! Knows no model, no configuration and no files.

mod advantage;
mod policy_gradient;
mod sampling;

pub use advantage::{gae, whiten};
pub use policy_gradient::{AdaptiveKl, clipped_policy_loss, clipped_value_loss, entropy, kl_k1, kl_k2, kl_k3};
pub use sampling::{Sampling, sample_token, token_log_prob};
