//! The program, called as a person calls it: in a directory of its own, with arguments and typed lines.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Temporary directory with some files in it, in which the program is run.
pub struct Sandbox {
    folder: tempfile::TempDir,
    files: Vec<String>,
}

/// Exit code and output of the program.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), files: Vec::new() }
    }

    pub fn with(mut self, file: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(file), text).unwrap();
        self.files.push(file.to_string());
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.type_in(args, "")
    }

    pub fn type_in(&self, args: &[&str], typed: &str) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // The program may end without reading its input.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palestra"));
        command.args(args).current_dir(self.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Checks that the program prints only this line, on standard error, and writes nothing.
    #[track_caller]
    pub fn assert_refused(&self, args: &[&str], message: &str) {
        let outcome = self.run(args);
        assert_eq!(outcome.stderr, format!("error: {message}\n"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
        let mut left: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut before = self.files.clone();
        before.sort();
        assert_eq!(left, before, "something was written");
    }
}

impl Outcome {
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// Checks that the program failed with an error that begins like this.
    #[track_caller]
    pub fn assert_error(self, message: &str) {
        assert!(self.code == Some(1) && self.stderr.starts_with(&format!("error: {message}")), "{}", self.stderr);
    }

    /// As [`Outcome::assert_error`], for `--json`.
    #[track_caller]
    pub fn assert_json_error(self, message: &str) {
        let told: serde_json::Value = serde_json::from_str(&self.stderr).unwrap();
        assert!(told["error"].as_str().is_some_and(|told| told.starts_with(message)), "{told}");
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let stdout = self.success();
        assert_eq!(stdout.lines().count(), 1, "one line: {stdout}");
        serde_json::from_str(&stdout).unwrap()
    }
}
