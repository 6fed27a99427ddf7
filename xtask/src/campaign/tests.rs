//! Campaigns that are tests with more cases: properties with proptest, and readers of hostile bytes.

use std::process::{Command, Stdio};

use super::Request;
use crate::{Result, plain_cargo, root, stage};

/// Crates with tests named `properties`.
const PROPERTIES: [&str; 2] = ["palestra-model", "palestra-learn"];

/// Cases of each property in the first round; each round doubles them.
const CASES: u64 = 512;

/// Targets of `cargo fuzz`, in `fuzz/`.
const TARGETS: [&str; 11] = [
    "run_file",
    "json_lines",
    "parquet_log",
    "tokenizer",
    "chat_template",
    "shards",
    "safetensors",
    "config_json",
    "adapters",
    "environment",
    "process_requests",
];

pub fn properties(request: &Request) -> Result<String> {
    let mut cases = CASES;
    let mut total = 0;
    loop {
        for package in PROPERTIES {
            let mut cargo = plain_cargo();
            cargo.args(["test", "--release", "-p", package, "--lib", "properties"]);
            stage(package, cargo.env("PROPTEST_CASES", cases.to_string()))?;
        }
        total += cases;
        cases *= 2;
        if request.deadline.is_over() {
            return Ok(format!("{total} cases of each property"));
        }
    }
}

/// Mutations of whole files, in the integration program, on any toolchain; then libFuzzer, where `cargo fuzz` and a nightly
/// toolchain are there.
pub fn fuzz(request: &Request) -> Result<String> {
    let has_fuzzer = Command::new("cargo")
        .args(["+nightly", "fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let seconds = request.deadline.seconds();
    let share = if has_fuzzer { seconds / 2 } else { seconds };
    let mut cargo = plain_cargo();
    cargo.args(["test", "--release", "--test", "it", "mutations", "--", "--nocapture"]);
    stage("mutations", cargo.env("PALESTRA_MUTATION_SECONDS", share.to_string()))?;
    if !has_fuzzer {
        return Ok("mutations alone: cargo fuzz or a nightly toolchain is not installed".to_string());
    }
    for target in TARGETS {
        let time = format!("-max_total_time={}", (seconds / 2 / TARGETS.len() as u64).max(1));
        let mut cargo = Command::new("cargo");
        cargo.args(["+nightly", "fuzz", "run", target, "--", &time, "-rss_limit_mb=4096", "-timeout=20"]);
        stage(target, cargo.current_dir(root()))?;
    }
    Ok(format!("mutations, and {} targets of libFuzzer", TARGETS.len()))
}
