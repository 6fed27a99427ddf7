use burn::tensor::Device;

/// Opens the device that a person named: `flex`, `libtorch`, `libtorch-cuda` or `libtorch-cuda:<index>`.
///
/// `flex` is pure Rust and always there; the others need the feature `libtorch`. The device comes without autodiff.
///
/// # Errors
/// If the name is unknown, or names a device that this program was built without or that this machine lacks.
pub fn open_device(name: &str) -> Result<Device, String> {
    match name.split_once(':').unwrap_or((name, "")) {
        ("flex", "") => Ok(Device::flex()),
        ("libtorch", "") => libtorch(None),
        ("libtorch-cuda", index) => {
            let index = if index.is_empty() { "0" } else { index };
            let index = index.parse().map_err(|_| {
                format!("device \"{name}\": \"{index}\" is not the index of a GPU; write libtorch-cuda:0 or the like")
            })?;
            libtorch(Some(index))
        }
        _ => Err(format!(
            "device \"{name}\" is unknown; it is one of flex, libtorch, libtorch-cuda, libtorch-cuda:<index>"
        )),
    }
}

/// The names of the CPU devices that this program was built with, for [`open_device`].
pub fn available_devices() -> Vec<&'static str> {
    if cfg!(feature = "libtorch") {
        vec!["flex", "libtorch"]
    } else {
        vec!["flex"]
    }
}

#[cfg(not(feature = "libtorch"))]
fn libtorch(_gpu: Option<usize>) -> Result<Device, String> {
    Err("this program was built without libtorch: build with --features libtorch, or `cargo xtask run`".into())
}

#[cfg(feature = "libtorch")]
#[expect(
    deprecated,
    reason = "burn 0.22 is the last to carry libtorch; everything that touches it is in src/ops"
)]
fn libtorch(gpu: Option<usize>) -> Result<Device, String> {
    match gpu {
        None => Ok(Device::libtorch()),
        Some(index) => {
            let count = super::libtorch::gpu_count();
            if index < count {
                Ok(Device::libtorch_cuda(index))
            } else {
                Err(format!(
                    "device \"libtorch-cuda:{index}\": libtorch sees {count} GPUs here"
                ))
            }
        }
    }
}
