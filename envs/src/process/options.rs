//! Options of a program, the same for environments and rewards.

use std::path::PathBuf;
use std::time::Duration;

use palestra_settings::{Range, check_ranges};
use serde::Deserialize;

use super::program::Launch;
use crate::{Options, Result};

/// Options of an environment or a reward that is a program.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessOptions {
    /// The program and its arguments. It runs in the folder of the file that it is written in.
    pub command: Vec<String>,
    /// Directory to run it in, instead of that folder.
    pub directory: Option<PathBuf>,
    /// Number of processes, at least 1. Episodes, or batches of them, are dealt out in turn.
    pub workers: usize,
    /// Seconds that an answer may take.
    pub timeout: f64,
    /// Seconds that a process may take from its start to its hello.
    pub start_timeout: f64,
    /// Number of failures that a run endures.
    pub max_failures: u32,
    /// Maximum length of a line that it writes, in bytes.
    pub max_line_bytes: usize,
    /// Environments: false if the same seed and actions may give another episode, whatever the program says.
    pub reproducible: Option<bool>,
    /// Environments: a table that the program gets with every reset.
    pub reset_options: toml::Table,
    /// Rewards: maximum number of episodes in one request, at least 1.
    pub batch: usize,
}

/// Settings of workers.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    pub launch: Launch,
    pub workers: usize,
    pub timeout: Duration,
    pub start_timeout: Duration,
    pub max_failures: u32,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            directory: None,
            workers: 1,
            timeout: 60.0,
            start_timeout: 120.0,
            max_failures: 20,
            max_line_bytes: 16 << 20,
            reproducible: None,
            reset_options: toml::Table::new(),
            batch: 64,
        }
    }
}

impl ProcessOptions {
    /// Parses and checks options.
    pub fn of(options: &Options) -> Result<Self> {
        let parsed: Self = options.parse()?;
        if parsed.command.first().is_none_or(String::is_empty) {
            return Err(options.wrong("command", "it is missing; write a list such as [\"python3\", \"my_env.py\"]"));
        }
        let ranges: [(&str, &dyn palestra_settings::Number, Range); 5] = [
            ("workers", &parsed.workers, Range::AT_LEAST_ONE),
            ("timeout", &parsed.timeout, Range::POSITIVE),
            ("start_timeout", &parsed.start_timeout, Range::POSITIVE),
            ("max_line_bytes", &parsed.max_line_bytes, Range::AT_LEAST_ONE),
            ("batch", &parsed.batch, Range::AT_LEAST_ONE),
        ];
        for (name, value, range) in ranges {
            if let Err(error) = check_ranges("", &[(name, value, range)]) {
                return Err(options.wrong(name, error.to_string().trim_start_matches(&format!("{name}: "))));
            }
        }
        Ok(parsed)
    }

    /// Settings of the workers.
    pub fn settings(&self) -> WorkerSettings {
        // A longer wait is no wait at all; the largest is about 30 years.
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.min(1e9));
        let (command, directory) = (self.command.clone(), self.directory.clone());
        WorkerSettings {
            launch: Launch { command, directory, max_line_bytes: self.max_line_bytes },
            workers: self.workers,
            timeout: seconds(self.timeout),
            start_timeout: seconds(self.start_timeout),
            max_failures: self.max_failures,
        }
    }
}
