//! Pure functions on tensors and slices: each is its equation, with its source and sign convention.
//!
//! This module knows no model, no configuration and no files.

mod advantage;
mod device_sampling;
mod group;
mod policy_gradient;
pub mod preference;
mod sampling;

pub use advantage::{gae, whiten};
pub use device_sampling::{LikelyTokens, likely_tokens, logits_of, penalise_repetitions, sample_tokens};
pub use group::{Aggregation, GroupAdvantage, standard_deviation};
pub use policy_gradient::{
    AdaptiveKl, cispo_loss, clipped_policy_loss, clipped_value_loss, entropy, kl_k1, kl_k2, kl_k3, kl_k3_tokens,
    sequence_means,
};
pub use sampling::{
    Sampling, penalise_repetition, sample_token, sample_token_by, sampling_distribution, token_log_prob,
};
