use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{Error, Result};

/// Standard output, for a person or for a program.
///
/// A write error is returned, where `println!` would panic. If the reader has closed the pipe, such as `head`, the rest is
/// dropped, and the command still does its work.
pub struct Output {
    json: bool,
    quiet: bool,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, stdout: BufWriter::new(io::stdout()) }
    }

    /// True if the output is a single JSON object.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// True if progress is hidden.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints the JSON object of `report`, or else the line `text`.
    pub fn report(&mut self, report: &impl Serialize, text: impl Display) -> Result<()> {
        if !self.json {
            return self.line(text);
        }
        let object = serde_json::to_string(report).expect("reports have string keys and no fallible parts");
        self.line(object)
    }

    pub fn line(&mut self, text: impl Display) -> Result<()> {
        unless_closed(writeln!(self.stdout, "{text}"))
    }

    /// Writer that shows a game as it is played.
    pub fn screen(&mut self) -> &mut dyn Write {
        &mut self.stdout
    }

    /// Progress bar on standard error, if that is a terminal and `--quiet` is not set.
    pub fn progress(&self, total: u64, what: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let template = format!("{{bar:32.cyan/238}} {{pos}}/{{len}} {what}  {{elapsed}} elapsed, {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("the template is well formed");
        ProgressBar::new(total).with_style(style.progress_chars("━╸─"))
    }

    /// Flushes what was printed, as before a command that keeps running.
    pub fn flush(&mut self) -> Result<()> {
        unless_closed(self.stdout.flush())
    }

    pub fn finish(&mut self) -> Result<()> {
        self.flush()
    }
}

pub const STANDARD_OUTPUT: &str = "standard output";

fn unless_closed(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::io(STANDARD_OUTPUT)),
    }
}

pub fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { path, source } if path == STANDARD_OUTPUT && source.kind() == ErrorKind::BrokenPipe)
}
