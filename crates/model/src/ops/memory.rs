//! Tensors whose numbers are in the program's memory: those of flex, and those of libtorch on a CPU.

use std::ops::{Deref, DerefMut};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::flex::is_flex;
#[cfg(feature = "libtorch")]
use super::libtorch::{self, TorchBytes, TorchNumbers};
use super::loops::Threads;

/// True if the numbers of a tensor are in the program's memory, in 32 bits.
pub(crate) fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    #[cfg(feature = "libtorch")]
    if libtorch::is_libtorch_cpu(&device) {
        return tensor.dtype() == DType::F32;
    }
    is_flex(&device) && tensor.dtype() == DType::F32
}

/// Number of threads that an operation of a device takes.
pub(crate) fn threads(device: &Device) -> Threads {
    #[cfg(feature = "libtorch")]
    if libtorch::is_libtorch(device) {
        return libtorch::threads();
    }
    let _ = device;
    Threads::of_rayon(rayon::current_num_threads())
}

/// True if the numbers of a tensor, which is in memory and outside autodiff, stand one after the other.
pub(crate) fn is_dense<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "libtorch")]
    if libtorch::is_libtorch(&tensor.device()) {
        return TorchNumbers::is_dense(tensor);
    }
    flex(tensor.clone()).is_contiguous()
}

/// Numbers of a tensor outside autodiff, one after the other, to read.
pub(crate) enum Numbers {
    Flex(FlexTensor),
    #[cfg(feature = "libtorch")]
    Torch(TorchNumbers),
}

impl Numbers {
    /// The tensor's own memory, or a copy if its numbers stand otherwise.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        #[cfg(feature = "libtorch")]
        if libtorch::is_libtorch(&tensor.device()) {
            return Self::Torch(TorchNumbers::of(tensor));
        }
        let tensor = flex(tensor);
        Self::Flex(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }
}

impl Deref for Numbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Flex(tensor) => tensor.as_slice().expect("a dense tensor in 32 bits"),
            #[cfg(feature = "libtorch")]
            Self::Torch(numbers) => numbers.as_slice(),
        }
    }
}

/// Numbers of a tensor outside autodiff in any type, one after the other, as bytes to read.
pub(crate) enum Bytes {
    Flex(FlexTensor),
    #[cfg(feature = "libtorch")]
    Torch(TorchBytes),
}

impl Bytes {
    /// Those of a tensor of floats; `None` if they are not in memory one after the other.
    pub fn of_floats<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        #[cfg(feature = "libtorch")]
        if libtorch::is_libtorch(&tensor.device()) {
            return TorchBytes::of_floats(tensor).map(Self::Torch);
        }
        is_flex(&tensor.device()).then(|| flex(tensor)).filter(FlexTensor::is_contiguous).map(Self::Flex)
    }

    /// Those of a tensor of integers; `None` as above.
    pub fn of_integers<const D: usize>(tensor: Tensor<D, Int>) -> Option<Self> {
        #[cfg(feature = "libtorch")]
        if libtorch::is_libtorch(&tensor.device()) {
            return TorchBytes::of_integers(tensor).map(Self::Torch);
        }
        let found = is_flex(&tensor.device()).then(|| tensor.try_into_primitive::<Flex>().ok()).flatten();
        found.filter(FlexTensor::is_contiguous).map(Self::Flex)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Flex(tensor) => {
                let (start, end) = tensor.layout().contiguous_offsets().expect("a dense tensor");
                let size = tensor.dtype().size();
                &tensor.bytes()[start * size..end * size]
            }
            #[cfg(feature = "libtorch")]
            Self::Torch(bytes) => bytes.as_slice(),
        }
    }
}

/// Numbers that nobody else has, to change.
pub(crate) enum OwnNumbers {
    /// Of flex, or copied from a device that has its own memory.
    Vec(Vec<f32>, Device),
    #[cfg(feature = "libtorch")]
    Torch(TorchNumbers),
}

impl OwnNumbers {
    /// Those of a tensor outside autodiff: its own memory if nobody else has it, or a copy.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let device = tensor.device();
        #[cfg(feature = "libtorch")]
        if libtorch::is_libtorch_cpu(&device) {
            return Self::Torch(TorchNumbers::owned(tensor));
        }
        Self::Vec(tensor.into_data().try_into_vec().expect("a tensor in 32 bits"), device)
    }

    /// New ones, of any value.
    pub fn new(count: usize, device: &Device) -> Self {
        #[cfg(feature = "libtorch")]
        if libtorch::is_libtorch_cpu(device) {
            return Self::Torch(TorchNumbers::new(count));
        }
        Self::Vec(vec![0.0; count], device.clone())
    }

    /// The tensor that they are.
    pub fn tensor<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        match self {
            Self::Vec(numbers, device) => Tensor::from_data(TensorData::new(numbers, shape), &device),
            #[cfg(feature = "libtorch")]
            Self::Torch(numbers) => numbers.tensor(shape),
        }
    }
}

impl Deref for OwnNumbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Vec(numbers, _) => numbers,
            #[cfg(feature = "libtorch")]
            Self::Torch(numbers) => numbers.as_slice(),
        }
    }
}

impl DerefMut for OwnNumbers {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Vec(numbers, _) => numbers,
            #[cfg(feature = "libtorch")]
            Self::Torch(numbers) => numbers.as_mut_slice(),
        }
    }
}

fn flex<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a flex tensor without autodiff")
}
