//! What an import did.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::stats::grouped;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The new log.
    pub to: PathBuf,
    /// Episodes that were written.
    pub episodes: u64,
    /// Rows that were written: turns.
    pub rows: u64,
    /// Episodes that ended by the game's rules.
    pub terminated: u64,
    /// Episodes that a limit ended.
    pub truncated: u64,
    /// Episodes of which the source does not tell an end.
    pub cut: u64,
    /// Files, row groups and episodes of the source that could not be read and were passed over.
    pub skipped: u64,
    /// Observations and actions that were no text in the source, and are now their compact JSON.
    pub as_json: u64,
    /// Fields of the source that a log has no column for, and how often they stand there.
    pub ignored_fields: BTreeMap<String, u64>,
}

/// What a source says beside its episodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Observations and actions that were no text.
    pub as_json: u64,
    /// Fields without a column, and how often they stand there.
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
