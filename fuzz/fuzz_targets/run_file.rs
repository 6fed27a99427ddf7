#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::config::RunFile;

fuzz_target!(|text: &str| {
    // An invalid run file is an error.
    let _ = RunFile::from_toml("fuzz.toml", text, &[] as &[&str]);
});
