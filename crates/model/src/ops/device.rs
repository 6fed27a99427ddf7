use burn::tensor::Device;

/// Name of the device that a word stands for: `auto` is the first GPU if there is one, else `cpu`; `cpu` is libtorch, or
/// flex in a program without it; `cuda` and `cuda:<index>` are GPUs of libtorch. Other names stand for themselves.
pub fn device_name(name: &str) -> String {
    let cpu = if cfg!(feature = "libtorch") { "libtorch" } else { "flex" };
    match name.split_once(':').unwrap_or((name, "")) {
        ("auto", "") if has_gpu() => "libtorch-cuda:0".into(),
        ("auto" | "cpu", "") => cpu.into(),
        ("cuda", "") => "libtorch-cuda:0".into(),
        ("cuda", index) => format!("libtorch-cuda:{index}"),
        _ => name.into(),
    }
}

/// Opens a device by name: `auto`, `cpu`, `cuda`, `cuda:<index>`, or a backend's own name: `flex`, `libtorch`,
/// `libtorch-cuda` or `libtorch-cuda:<index>`.
///
/// `flex` is pure Rust and always available; the others need the feature `libtorch`. The device has no autodiff.
///
/// # Errors
/// If the name is unknown, or names a device that this program was built without or that this machine lacks.
pub fn open_device(name: &str) -> Result<Device, String> {
    let name = device_name(name);
    super::heap::prepare();
    join_pool();
    match name.split_once(':').unwrap_or((&name, "")) {
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
            "device \"{name}\" is unknown; it is one of auto, cpu, cuda, cuda:<index>, flex, libtorch, libtorch-cuda:<index>"
        )),
    }
}

/// Makes the main thread one of those that share the loops of operations. Otherwise it would hand each loop to another thread, whose
/// caches hold none of the numbers, and wait for it.
fn join_pool() {
    let is_alone = std::env::var("RAYON_NUM_THREADS").is_ok_and(|count| count.trim() == "1")
        || std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
    // The pool needs a thread that serves others while this one does something else.
    if std::thread::current().name() == Some("main") && !is_alone {
        // A program that has made a pool keeps it.
        let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
    }
}

/// True if a device multiplies bfloat16 by instructions of its own. A GPU is taken to do so.
pub fn multiplies_bf16(name: &str) -> bool {
    match device_name(name).as_str() {
        "flex" => false,
        "libtorch" => cpu_multiplies_bf16(),
        _ => true,
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn cpu_multiplies_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(target_arch = "aarch64")]
pub(super) fn cpu_multiplies_bf16() -> bool {
    std::arch::is_aarch64_feature_detected!("bf16")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn cpu_multiplies_bf16() -> bool {
    false
}

/// Names of the devices that this program was built with and this machine has, for [`open_device`]: those of the CPU, and
/// the first GPU.
pub fn available_devices() -> Vec<&'static str> {
    let mut devices = vec!["flex"];
    if cfg!(feature = "libtorch") {
        devices.push("libtorch");
    }
    if has_gpu() {
        devices.push("libtorch-cuda");
    }
    devices
}

/// Sets the number of threads that libtorch uses inside one operation; without libtorch it does nothing.
///
/// Results depend on it in the last bits, so a run keeps one number from start to end.
///
/// # Panics
/// If `count` is 0.
pub fn set_threads(count: usize) {
    assert!(count > 0, "an operation needs a thread");
    #[cfg(feature = "libtorch")]
    super::libtorch::set_threads(count);
}

#[cfg(not(feature = "libtorch"))]
fn has_gpu() -> bool {
    false
}

#[cfg(feature = "libtorch")]
fn has_gpu() -> bool {
    super::libtorch::gpu_count() > 0
}

#[cfg(not(feature = "libtorch"))]
fn libtorch(_gpu: Option<usize>) -> Result<Device, String> {
    Err("this program was built without libtorch: build with --features libtorch, or `cargo xtask run`".into())
}

#[cfg(feature = "libtorch")]
#[expect(deprecated, reason = "burn 0.22 is the last to carry libtorch; everything that touches it is in src/ops")]
fn libtorch(gpu: Option<usize>) -> Result<Device, String> {
    match gpu {
        None => Ok(Device::libtorch()),
        Some(index) => {
            let count = super::libtorch::gpu_count();
            if index < count {
                Ok(Device::libtorch_cuda(index))
            } else {
                Err(format!("device \"libtorch-cuda:{index}\": libtorch sees {count} GPUs here"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_device_opens_without_autodiff() {
        for name in available_devices() {
            assert!(!open_device(name).unwrap().is_autodiff(), "{name}");
        }
    }

    #[test]
    fn words_stand_for_devices() {
        let cpu = if cfg!(feature = "libtorch") { "libtorch" } else { "flex" };
        assert_eq!((device_name("cpu").as_str(), device_name("cuda:1").as_str()), (cpu, "libtorch-cuda:1"));
        assert!(open_device("cpu").is_ok() && open_device("auto").is_ok());
        assert_eq!(device_name("flex"), "flex");
        assert!(!multiplies_bf16("flex") && multiplies_bf16("cuda"));
    }

    #[test]
    fn what_is_not_a_device_says_what_would_be() {
        for (name, part) in [
            ("gpu", "one of auto, cpu, cuda, cuda:<index>, flex, libtorch"),
            ("flex:1", "device \"flex:1\" is unknown"),
            ("libtorch:0", "device \"libtorch:0\" is unknown"),
            ("libtorch-cuda:first", "\"first\" is not the index of a GPU"),
        ] {
            let message = open_device(name).expect_err(name);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "libtorch"))]
    fn libtorch_says_how_to_get_it() {
        for name in ["libtorch", "libtorch-cuda", "libtorch-cuda:1"] {
            let message = open_device(name).expect_err(name);
            assert!(message.contains("build with --features libtorch"), "{message}");
        }
    }

    #[test]
    #[cfg(feature = "libtorch")]
    fn a_gpu_that_is_not_there_is_an_error() {
        let message = open_device("libtorch-cuda:99").unwrap_err();
        assert!(message.contains("libtorch-cuda:99"), "{message}");
    }
}
