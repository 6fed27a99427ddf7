use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{Int, Tensor};

use super::tensors::primitive;

/// Numbers in 32 bits of a tensor on a CPU, one after the other in libtorch's memory.
pub(crate) struct TorchNumbers {
    /// Contiguous. It counts as an owner, so that nobody changes the memory meanwhile.
    tensor: TchTensor,
    count: usize,
}

impl TorchNumbers {
    /// Those of a tensor outside autodiff, to read: its own memory, or a copy if its numbers stand otherwise.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let tensor = primitive(tensor);
        Self::dense(if tensor.tensor.is_contiguous() { tensor } else { TchTensor::new(tensor.tensor.contiguous()) })
    }

    /// Those of a tensor outside autodiff, to change: its own memory if nobody else has it, or a copy.
    pub fn owned<const D: usize>(tensor: Tensor<D>) -> Self {
        let tensor = primitive(tensor);
        Self::dense(match (tensor.tensor.is_contiguous(), tensor.can_mut()) {
            (true, true) => tensor,
            (true, false) => TchTensor::new(tensor.tensor.copy()),
            (false, _) => TchTensor::new(tensor.tensor.contiguous()),
        })
    }

    /// New ones, of any value.
    pub fn new(count: usize) -> Self {
        Self::dense(TchTensor::new(tch::Tensor::empty([count as i64], (tch::Kind::Float, tch::Device::Cpu))))
    }

    /// True if the numbers of a tensor outside autodiff stand one after the other.
    pub fn is_dense<const D: usize>(tensor: &Tensor<D>) -> bool {
        primitive(tensor.clone()).tensor.is_contiguous()
    }

    fn dense(tensor: TchTensor) -> Self {
        assert_eq!((tensor.tensor.kind(), tensor.tensor.device()), (tch::Kind::Float, tch::Device::Cpu));
        Self { count: tensor.tensor.numel(), tensor }
    }

    /// The tensor that they are.
    pub fn tensor<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        let shape = shape.map(|length| length as i64);
        let tensor = TchTensor::from_existing(self.tensor.tensor.view(shape.as_slice()), self.tensor.storage);
        Tensor::from_primitive::<LibTorch>(tensor)
    }

    #[expect(unsafe_code, reason = "libtorch gives an address")]
    pub fn as_slice(&self) -> &[f32] {
        if self.count == 0 {
            return &[]; // it may have no address
        }
        // SAFETY: a contiguous tensor of 32-bit floats has `count` of them from its address on, which stay while it lives
        // and which no other owner changes.
        unsafe { std::slice::from_raw_parts(self.tensor.tensor.data_ptr().cast::<f32>(), self.count) }
    }

    #[expect(unsafe_code, reason = "libtorch gives an address")]
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as above; and the memory has no other owner, or has just been made.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.tensor.data_ptr().cast::<f32>(), self.count) }
    }
}

/// Numbers of any type of a tensor on a CPU, one after the other in libtorch's memory, as bytes.
pub(crate) struct TorchBytes {
    /// Contiguous. It counts as an owner, so that nobody changes the memory meanwhile.
    tensor: TchTensor,
    count: usize,
}

impl TorchBytes {
    /// Those of a tensor of floats; `None` if they are not on a CPU or stand otherwise.
    pub fn of_floats<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        Self::of(tensor.try_into_primitive::<LibTorch>().ok()?)
    }

    /// Those of a tensor of integers; `None` as above.
    pub fn of_integers<const D: usize>(tensor: Tensor<D, Int>) -> Option<Self> {
        Self::of(tensor.try_into_primitive::<LibTorch>().ok()?)
    }

    fn of(tensor: TchTensor) -> Option<Self> {
        let is_here = tensor.tensor.is_contiguous() && tensor.tensor.device() == tch::Device::Cpu;
        is_here.then(|| Self { count: tensor.tensor.numel() * tensor.tensor.kind().elt_size_in_bytes(), tensor })
    }

    #[expect(unsafe_code, reason = "libtorch gives an address")]
    pub fn as_slice(&self) -> &[u8] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: a contiguous tensor has `count` bytes from its address on, which stay while it lives and which no other owner
        // changes.
        unsafe { std::slice::from_raw_parts(self.tensor.tensor.data_ptr().cast::<u8>(), self.count) }
    }
}
