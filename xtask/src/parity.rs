//! Tests that compare with Hugging Face's transformers, PEFT and TRL, in a Python environment made for them.
//!
//! `tests/transformers/environment.py` holds the packages with their versions, and makes the environment.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// Environment variable with the place of the Python environment, which the scripts read too.
const ENVIRONMENT: &str = "PALESTRA_TRANSFORMERS_VENV";

/// Environment variable with the directory of a real model to compare.
const REAL_MODEL: &str = "PALESTRA_SMOLLM2";

/// Makes the Python environment if it is missing or has other versions of the packages.
///
/// # Errors
/// Python does not start, or a package cannot be installed; pip has told why.
pub fn environment(root: &Path, cache: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let folder = match env::var_os(ENVIRONMENT).filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => cache()?.join("transformers-venv"),
    };
    let folder = std::path::absolute(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    make(Path::new("python3"), &root.join("tests/transformers/environment.py"), &folder)?;
    Ok(folder)
}

/// Runs the script that makes the Python environment in a folder.
fn make(python: &Path, script: &Path, folder: &Path) -> Result<()> {
    let status = Command::new(python).arg(script).env(ENVIRONMENT, folder).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "no Python environment in {} ({status}): it needs python3 3.11 or newer with pip and venv, access to PyPI, and \
             7 GB; set {ENVIRONMENT}=<a folder> to keep it elsewhere",
            folder.display()
        )),
        Err(error) => Err(format!(
            "{} does not start: {error}. Install Python 3.11 or newer with pip and venv; the comparison with transformers, \
             PEFT and TRL needs it",
            python.display()
        )),
    }
}

/// Adds the arguments that run the tests which need Python, and no others, to a call of cargo.
pub fn select_tests(cargo: &mut Command, environment: &Path, arguments: &[String]) {
    cargo.args(["test", "--release", "--test", "it"]).args(arguments);
    cargo.args(["--", "--ignored", "--nocapture", "parity::"]).env(ENVIRONMENT, environment);
    if env::var_os(REAL_MODEL).is_none() {
        let test = "a_real_model_writes_what_transformers_does";
        eprintln!("\n== skipped: {test}, for {REAL_MODEL}=<a Hugging Face directory> is not set");
        cargo.args(["--skip", test]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_python_and_a_failing_script_are_told() {
        let told =
            |python: &str| make(Path::new(python), Path::new("no-such-script.py"), Path::new("/nowhere")).unwrap_err();
        let message = told("no-such-python");
        assert!(
            message.starts_with("no-such-python does not start") && message.contains("Install Python"),
            "{message}"
        );
        let message = told("python3");
        assert!(message.starts_with("no Python environment in /nowhere (exit status: 2)"), "{message}");
    }
}
