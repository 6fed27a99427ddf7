//! Operations on libtorch's own kernels, and the memory of its tensors: the only place that uses `tch`.
//!
//! Attention and log-probabilities are backend extensions, which record their own backward step with autodiff. The others compute
//! outside autodiff; gradient rules are made of them.

#![expect(deprecated, reason = "burn 0.22 is the last to carry libtorch: what must move with it is in this folder")]

mod adamw;
mod add_product;
mod attention;
mod gelu;
mod log_probs;
mod memory;
mod openmp;
mod put_rows;
mod rms_norm;
mod swiglu;
mod tensors;

use burn::backend::LibTorch;
use burn::backend::{DispatchDevice, LibTorchDevice};
use burn::tensor::Device;

use super::loops::Threads;

pub(super) use adamw::adamw_step;
pub(super) use add_product::add_product;
pub(super) use attention::attention;
pub(super) use gelu::{gelu_tanh, gelu_tanh_gradient};
pub(super) use log_probs::selected_log_probs;
pub(super) use memory::{TorchBytes, TorchNumbers};
pub(super) use put_rows::put_rows;
pub(super) use rms_norm::{rms_norm, rms_norm_gradients};
pub(super) use swiglu::{swiglu, swiglu_gradients};

/// Backend of libtorch, for what is generic in the backend.
pub(super) type TorchBackend = LibTorch;

/// True if tensors on this device belong to libtorch, on any hardware.
pub(super) fn is_libtorch(device: &Device) -> bool {
    libtorch_device(device).is_some()
}

/// True if tensors on this device belong to libtorch and are in CPU memory.
pub(super) fn is_libtorch_cpu(device: &Device) -> bool {
    libtorch_device(device) == Some(LibTorchDevice::Cpu)
}

fn libtorch_device(device: &Device) -> Option<LibTorchDevice> {
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    match device {
        DispatchDevice::LibTorch(device) => Some(*device),
        _ => None,
    }
}

/// Sets the number of threads that libtorch uses inside one operation.
pub(super) fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Threads that libtorch uses inside one operation.
pub(super) fn threads() -> Threads {
    let count = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    Threads::of_pool(count, openmp::on_openmp)
}

/// Number of GPUs that libtorch can use.
pub(super) fn gpu_count() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}
