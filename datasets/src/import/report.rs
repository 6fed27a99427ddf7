//! Report of an import.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use palestra_display::grouped;

/// Result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The new log.
    pub to: PathBuf,
    /// Number of episodes written.
    pub episodes: u64,
    /// Number of rows (turns) written.
    pub rows: u64,
    /// Episodes that ended by the environment's rules.
    pub terminated: u64,
    /// Episodes that were ended by a limit.
    pub truncated: u64,
    /// Episodes whose end the source does not give.
    pub cut: u64,
    /// Files, row groups and episodes of the source that could not be read and were skipped.
    pub skipped: u64,
    /// Observations and actions that were not texts in the source, and are now compact JSON.
    pub as_json: u64,
    /// Fields of the source that have no column in a log, with their number of occurrences.
    pub ignored_fields: BTreeMap<String, u64>,
}

/// Notes on a source, beside its episodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Number of observations and actions that were not texts.
    pub as_json: u64,
    /// Fields without a column, with their number of occurrences.
    pub ignored_fields: BTreeMap<String, u64>,
}

impl ImportReport {
    pub(super) fn add_notes(&mut self, notes: &Notes) {
        self.as_json += notes.as_json;
        for (field, count) in &notes.ignored_fields {
            *self.ignored_fields.entry(field.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [episodes, rows, terminated, truncated, cut] =
            [self.episodes, self.rows, self.terminated, self.truncated, self.cut].map(grouped);
        writeln!(f, "{}: {rows} rows in {episodes} episodes", self.to.display())?;
        writeln!(f, "{terminated} terminated, {truncated} truncated, {cut} cut (the source tells no end)")?;
        if self.skipped > 0 {
            writeln!(f, "{} files, row groups or episodes passed over, as they cannot be read", grouped(self.skipped))?;
        }
        if self.as_json > 0 {
            writeln!(f, "{} observations and actions are no text, and stand there as JSON", grouped(self.as_json))?;
        }
        for (field, count) in &self.ignored_fields {
            writeln!(f, "field {field:?} is not imported ({} times): a log has no column for it", grouped(*count))?;
        }
        Ok(())
    }
}
