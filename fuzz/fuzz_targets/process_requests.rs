#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::envs::Registry;
use palestra::envs::process::serve;

fuzz_target!(|bytes: &[u8]| {
    // Requests that are none end the program with an error.
    let _ = serve(&|| Registry::builtin().make("cliff-walking"), bytes, &mut Vec::new());
});
