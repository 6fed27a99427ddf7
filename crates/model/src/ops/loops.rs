//! Operations in one pass over numbers in the program's memory, which libtorch and flex have for a CPU.
//!
//! They are loops over slices, compiled for the vector instructions of the processor that they run on. The order of
//! additions is fixed, so that threads and processors change no result but by fused multiplications.

#![expect(clippy::extra_unused_type_parameters, reason = "`with_simd` wants one for the kind of processor")]
#![expect(
    clippy::needless_range_loop,
    reason = "an iterator's functions stay outside of code for one kind of processor"
)]

mod adamw;
mod cached_attention;
mod codes;
mod column_products;
mod functions;
mod gelu;
mod layer_norm;
mod lines;
mod log_probs;
mod output_columns;
mod products;
mod rms_norm;
mod rotate;
mod row_products;
mod splat;
mod swiglu;
mod threads;

pub(super) use adamw::{adamw_step, sum_of_squares};
pub(crate) use cached_attention::{HeadSizes, Readers, attend_to_cache};
pub(super) use functions::{add_scaled, dot, exp, sum};
pub(crate) use gelu::gelu;
pub(super) use gelu::gelu_gradient;
pub(crate) use layer_norm::layer_norm;
pub(super) use layer_norm::layer_norm_gradients;
pub(crate) use lines::Lines;
pub(super) use log_probs::{LogSumExp, log_probs_gradient, log_sum_exp};
pub(crate) use products::{Matrix, Product, multiply};
pub(crate) use rms_norm::rms_norm;
pub(super) use rms_norm::rms_norm_gradients;
pub(crate) use rotate::{Rotated, rotate};
pub(crate) use swiglu::swiglu;
pub(super) use swiglu::swiglu_gradients;
pub(crate) use threads::Threads;
#[cfg(feature = "libtorch")]
pub(super) use threads::on_rayon;

/// Numbers that a thread takes at once: enough to be worth waking it, few enough for its cache.
pub(super) const PART: usize = 1 << 14;

/// Numbers of some whole rows, about a part.
fn rows_of_a_part(width: usize) -> usize {
    (PART / width).max(1) * width
}

/// Adds up what each part has added: sums of the same width, one after the other.
fn added(parts: &[f32], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in parts.chunks_exact(width) {
        total.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    total
}
