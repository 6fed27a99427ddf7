#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::datasets::rows::Rows;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, bytes).expect("a file");
    if let Ok(rows) = Rows::open(&file) {
        rows.take_while(Result::is_ok).count();
    }
});
