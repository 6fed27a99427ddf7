//! The project's own tensor operations, and the devices they run on.
//!
//! Each operation has a portable form that is composed from burn's operations and runs on any device, and, where it
//! was measured to be faster, one on libtorch's own kernels or a loop over the CPU's memory; `cargo bench --bench ops` shows
//! both. Callers see one function that chooses by device. This module knows shapes and numbers: no model, no configuration.
//! All use of `tch` is in `libtorch/`; `memory.rs` gives the loops in `loops/` the numbers of a device.

mod adamw;
mod add_product;
mod allowed;
mod attention;
mod device;
mod flex;
mod gelu;
mod gradient_rule;
mod heap;
mod in_type;
mod layer_norm;
#[cfg(feature = "libtorch")]
mod libtorch;
mod log_probs;
pub(crate) mod loops;
mod matmul;
mod matrix_numbers;
pub(crate) mod memory;
mod output_vocabulary;
mod put_rows;
mod rms_norm;
mod rotate;
mod swiglu;
mod token_distribution;

pub use adamw::{AdamWStep, adamw_step, adamw_step_composed, sum_of_squares};
pub(crate) use add_product::add_product;
pub use allowed::AllowedTokens;
pub use attention::{AttentionMask, attention, attention_composed};
pub use device::{available_devices, device_name, multiplies_bf16, open_device, set_threads};
pub use gelu::{GeluForm, gelu, gelu_composed};
pub(crate) use gradient_rule::{Pulled, recomputed_with_gradient_rule, with_gradient_rule};
pub(crate) use in_type::in_type;
pub use layer_norm::{layer_norm, layer_norm_composed};
pub use log_probs::{selected_log_probs, selected_log_probs_composed};
pub(crate) use matmul::{has_few_rows, linear, matmul, multiply_few_rows};
pub(crate) use matrix_numbers::MatrixNumbers;
pub use output_vocabulary::OutputVocabulary;
pub use put_rows::put_rows;
pub use rms_norm::{rms_norm, rms_norm_composed};
pub use rotate::{rotate, rotate_composed};
pub use swiglu::{swiglu, swiglu_composed};
pub use token_distribution::{Entropy, LOGITS_CHUNK, TokenDistribution, TokenLogProbs};
