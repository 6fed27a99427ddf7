#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::model::read_model;

const CONFIG: &str = include_str!("../../tests/transformers/fixtures/llama/config.json");

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("a file");
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("a file");
    let _ = read_model(folder.path());
});
