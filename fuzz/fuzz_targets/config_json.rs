#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::model::read_config;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), bytes).expect("a file");
    let _ = read_config(folder.path());
});
