//! The program under attack, calls of it, and the folder of a campaign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Request;
use crate::guard::Guarded;
use crate::{Result, plain_cargo, root, stage};

/// The program that the campaign is given, or one that is built for `flex` with these features.
pub fn program(request: &Request, features: &[&str]) -> Result<PathBuf> {
    if let Some(program) = &request.program {
        return Ok(program.clone());
    }
    let mut cargo = plain_cargo();
    cargo.args(["build", "--release", "--bin", "palestra", "--features", &features.join(",")]);
    stage("build", &mut cargo)?;
    Ok(target().join("release/palestra"))
}

/// Folder in which cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A call of the program in a folder, from the words of a line.
pub fn palestra(program: &Path, folder: &Path, line: &str) -> Command {
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a command to its end, with all that it writes.
pub fn ended(command: &mut Command) -> Result<Output> {
    Guarded::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?.output()
}

/// A folder for a campaign, which is removed unless the campaign fails.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("palestra-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub fn remove(self) {
        // What cannot be removed is left in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
