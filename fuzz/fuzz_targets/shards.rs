#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::datasets::shards::Shard;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tale.tokens");
    std::fs::write(&file, bytes).expect("a file");
    let _ = Shard::open(&file);
});
