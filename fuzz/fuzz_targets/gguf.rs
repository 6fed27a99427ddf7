#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::model::read_model;
use palestra::text::{ChatTemplate, Tokenizer};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, bytes).expect("a file");
    let _ = read_model(&file);
    let _ = Tokenizer::from_file(&file);
    let _ = ChatTemplate::from_directory(&file);
});
