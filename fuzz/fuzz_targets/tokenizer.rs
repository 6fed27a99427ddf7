#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::text::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, bytes).expect("a file");
    if let Ok(tokenizer) = Tokenizer::from_file(&file) {
        let _ = tokenizer.encode_text("the fox met the hen");
    }
});
