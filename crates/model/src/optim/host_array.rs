//! Arrays that ranks of a run send each other.

use std::ops::{Deref, DerefMut};

use burn::tensor::{Device, Tensor};

use crate::ops::memory::OwnNumbers;

/// Values of a gradient or a parameter in the program's memory, flat, to change in place: the tensor's own memory where a CPU has
/// it and nobody else does, or a copy.
pub struct HostArray(OwnNumbers);

impl HostArray {
    /// Those of a tensor outside autodiff, in 32 bits.
    pub fn of(tensor: Tensor<1>) -> Self {
        Self(OwnNumbers::of(tensor))
    }

    /// New ones for a device, of any value.
    pub fn new(length: usize, device: &Device) -> Self {
        Self(OwnNumbers::new(length, device))
    }

    /// Zeros for a device.
    pub fn zeros(length: usize, device: &Device) -> Self {
        let mut zeros = Self::new(length, device);
        zeros.fill(0.0);
        zeros
    }

    /// The tensor on its device, `[n]`.
    pub fn into_tensor(self) -> Tensor<1> {
        let length = self.0.len();
        self.0.tensor([length])
    }
}

impl Deref for HostArray {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for HostArray {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
