//! Attention of flex in one pass over memory, which burn composes of many operations.

#![expect(clippy::extra_unused_type_parameters, reason = "`with_simd` wants one for the kind of processor")]
#![expect(
    clippy::needless_range_loop,
    reason = "an iterator's functions stay outside of code for one kind of processor"
)]

mod attention;

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::tensor::{DType, Device, Tensor, TensorData};

pub(super) use attention::{AttentionPass, attention_fits};

/// True if the tensor is one of flex in 32 bits.
fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_flex(&tensor.device()) && tensor.dtype() == DType::F32
}

/// True if tensors on this device belong to flex.
pub(super) fn is_flex(device: &Device) -> bool {
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

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}
