//! Comparison with Hugging Face's transformers, PEFT and TRL: the same files give the same numbers.
//!
//! Fixtures in `tests/transformers/fixtures` are recorded by the scripts beside them, so that most of these tests need no
//! Python. Tests that run a script need Python with those packages, and cargo shows them as ignored; `cargo xtask parity`
//! makes the Python environment and runs them.

mod models;
mod preferences;
mod reward_models;
mod tokenizers;

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of a script in `tests/transformers`, called with these arguments.
#[track_caller]
fn script(name: &str, arguments: &[&str]) -> String {
    let path = root().join("tests/transformers").join(name);
    let output = Command::new("python3").arg(path).args(arguments).output().expect("python3 starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
