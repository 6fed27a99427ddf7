//! Operations on libtorch's own kernels: the only place that uses `tch`.
//!
//! Each is a backend extension: called with autodiff it records its own backward step, without it runs the kernel alone.

#![expect(
    deprecated,
    reason = "burn 0.22 is the last to carry libtorch: what must move with it is in this folder"
)]

mod attention;

use burn::backend::{DispatchDevice, LibTorchDevice};
use burn::tensor::Device;

pub(super) use attention::attention;

/// Whether tensors on this device are libtorch's, in the memory of the CPU.
pub(super) fn is_libtorch_cpu(device: &Device) -> bool {
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    matches!(device, DispatchDevice::LibTorch(LibTorchDevice::Cpu))
}

/// How many GPUs libtorch can use.
pub(super) fn gpu_count() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}
