#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::labels::items_of_file;

// The first byte says the form of the file, the others are the file.
fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else { return };
    let name = ["items.jsonl", "items.csv", "items.tsv", "items.json", "items.txt"][usize::from(*form) % 5];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).expect("a file");
    if let Ok(items) = items_of_file(&file, false) {
        items.take_while(Result::is_ok).count();
    }
});
