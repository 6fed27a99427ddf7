//! Operations of flex in one pass over memory, where burn composes them of many.
//!
//! Flex keeps numbers in the program's own memory, so that these are loops over slices. They are compiled for the vector
//! instructions of the processor that they run on; the order of additions is fixed, so that threads and processors change
//! no result.

#![expect(clippy::extra_unused_type_parameters, reason = "`with_simd` wants one for the kind of processor")]
#![expect(
    clippy::needless_range_loop,
    reason = "an iterator's functions stay outside of code for one kind of processor"
)]

mod attention;
mod functions;
mod gelu;
mod layer_norm;

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::tensor::{DType, Device, Tensor, TensorData};

pub(super) use attention::{AttentionPass, attention_fits};
pub(super) use gelu::{gelu, gelu_gradient};
pub(super) use layer_norm::layer_norm_gradients;

/// Numbers that a thread takes at once: enough to be worth waking it, few enough for its cache.
const PART: usize = 1 << 14;

/// True if the tensor is one of flex in 32 bits.
pub(super) fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_flex(&tensor.device()) && tensor.dtype() == DType::F32
}

fn is_flex(device: &Device) -> bool {
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    matches!(device, DispatchDevice::Flex(_))
}

/// The tensor as flex holds it.
fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a flex tensor without autodiff")
}

/// The tensor with its numbers one after the other.
fn dense<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let tensor = primitive(tensor);
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// Numbers of a dense tensor.
fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a dense tensor in 32 bits")
}

/// Numbers of a tensor that may be changed: the tensor's own memory if nobody else has it.
fn owned_numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("a tensor in 32 bits")
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}
