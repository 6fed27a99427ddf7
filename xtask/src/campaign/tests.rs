//! Campaigns that are tests with more cases: properties with proptest, and readers of hostile bytes.

use std::fs::DirEntry;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Request;
use crate::{Result, plain_cargo, root, stage};

/// Crates with tests named `properties`.
const PROPERTIES: [&str; 2] = ["palestra-model", "palestra-learn"];

/// Cases of each property in the first round; each round doubles them.
const CASES: u64 = 512;

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
/// toolchain are there. Of a folder of targets that are built, libFuzzer alone.
pub fn fuzz(request: &Request) -> Result<String> {
    let targets = targets()?;
    let seconds = request.deadline.seconds();
    if let Some(folder) = &request.program {
        let share = (seconds / targets.len() as u64).max(1);
        for target in &targets {
            let mut program = Command::new(folder.join(target));
            // cargo fuzz sets it: crates that are linked twice are no error of ours.
            program.env("ASAN_OPTIONS", "detect_odr_violation=0").args(corpus(target)?);
            program.arg(format!("-artifact_prefix={}/", fuzz_folder("artifacts", target)?.display()));
            stage(target, program.args(limits(share)))?;
        }
        return Ok(format!("{} targets of libFuzzer, {share} s each", targets.len()));
    }
    let has_fuzzer = Command::new("cargo")
        .args(["+nightly", "fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let share = if has_fuzzer { seconds / 2 } else { seconds };
    let mut cargo = plain_cargo();
    cargo.args(["test", "--release", "--test", "it", "mutations", "--", "--nocapture"]);
    stage("mutations", cargo.env("PALESTRA_MUTATION_SECONDS", share.to_string()))?;
    if !has_fuzzer {
        return Ok("mutations alone: cargo fuzz or a nightly toolchain is not installed".to_string());
    }
    let share = (seconds / 2 / targets.len() as u64).max(1);
    for target in &targets {
        let mut cargo = Command::new("cargo");
        cargo.args(["+nightly", "fuzz", "run", target]).args(corpus(target)?).arg("--").args(limits(share));
        stage(target, &mut cargo)?;
    }
    Ok(format!("mutations, and {} targets of libFuzzer, {share} s each", targets.len()))
}

/// Names of the targets in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = |entry: std::io::Result<DirEntry>| Some(entry.ok()?.path().file_stem()?.to_str()?.to_string());
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Folders of inputs: what libFuzzer found, where it writes, and what is kept in the repository.
fn corpus(target: &str) -> Result<[PathBuf; 2]> {
    Ok([fuzz_folder("corpus", target)?, root().join("fuzz/seeds").join(target)])
}

fn fuzz_folder(kind: &str, target: &str) -> Result<PathBuf> {
    let folder = root().join("fuzz").join(kind).join(target);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// Bounds of one target, of all its inputs and of each. What a thread holds while it ends is no leak, though it is reported as one;
/// what leaks is found by the bound of memory.
fn limits(seconds: u64) -> [String; 4] {
    [format!("-max_total_time={seconds}"), "-rss_limit_mb=4096".into(), "-timeout=20".into(), "-detect_leaks=0".into()]
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn each_target_has_seeds_and_is_built() {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(targets.len() > 10, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
            let seeds = root().join("fuzz/seeds").join(&target);
            assert!(std::fs::read_dir(&seeds).is_ok_and(|mut files| files.next().is_some()), "{}", seeds.display());
        }
    }
}
