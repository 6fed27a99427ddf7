//! What a model computes on, and how much at once: arguments of the commands that open one to read texts.

use burn::tensor::Device;

use crate::ops::open_device;
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Texts computed at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// What to compute on: flex, libtorch, libtorch-cuda:<index>
    #[arg(long, value_name = "D", default_value = if cfg!(feature = "libtorch") { "libtorch" } else { "flex" })]
    device: String,
}

impl Args {
    pub fn batch(&self) -> usize {
        self.batch as usize
    }

    pub fn device(&self) -> Result<Device> {
        open_device(&self.device).map_err(Error::Device)
    }
}
