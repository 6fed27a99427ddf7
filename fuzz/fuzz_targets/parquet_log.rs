#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::datasets::log::{Log, ReadOptions};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.parquet");
    std::fs::write(&file, bytes).expect("a file");
    if let Ok(log) = Log::open(&[file.to_string_lossy()], ReadOptions::default()) {
        log.episodes().take_while(Result::is_ok).count();
    }
});
