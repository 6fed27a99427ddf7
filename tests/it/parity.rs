//! Comparison with Hugging Face's transformers, PEFT and TRL: the same files give the same numbers.
//!
//! Fixtures in `tests/transformers/fixtures` are recorded by the scripts beside them, so that these tests need no Python.
//! The tests that run a script need Python with those packages; `cargo xtask parity` runs them.

mod models;
mod preferences;
mod tokenizers;

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of `tests/transformers/parity.py`, called with these arguments.
fn script(arguments: &[&str]) -> String {
    let output =
        Command::new("python3").arg(root().join("tests/transformers/parity.py")).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
