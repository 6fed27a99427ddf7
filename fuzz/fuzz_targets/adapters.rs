#![no_main]

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use palestra::model::lora::read_adapters;
use palestra::model::ops::open_device;
use palestra::model::{Heads, Policy, Transformer, read_model};

thread_local! {
    /// The model that the adapters were made for, read once.
    static BASE: OnceCell<Transformer> = const { OnceCell::new() };
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transformers/fixtures").join(name)
}

fn base() -> Transformer {
    let directory = fixture("llama");
    let (config, tensors) = read_model(&directory).expect("a model");
    let device = open_device("flex").expect("a device");
    Policy::from_tensors(&config, Heads::default(), tensors, &device).expect("a policy").transformer
}

// The bytes are the weights; before them, ended by a line end, may stand another adapter_config.json.
fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let config = std::fs::read(fixture("llama-lora").join("adapter_config.json")).expect("a file");
    let line_end = bytes.iter().position(|byte| *byte == b'\n').filter(|_| bytes.first() == Some(&b'{'));
    let (config, weights) = line_end.map_or((config.as_slice(), bytes), |at| bytes.split_at(at + 1));
    std::fs::write(folder.path().join("adapter_config.json"), config).expect("a file");
    std::fs::write(folder.path().join("adapter_model.safetensors"), weights).expect("a file");
    let model = BASE.with(|kept| kept.get_or_init(base).clone());
    let _ = read_adapters(model, folder.path());
});
