//! Reading of logs of any size: row group by row group, from any number of threads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Group;
use super::file::LogFile;
use super::paths::find_files;
use super::schema::Columns;
use crate::error::{Error, Result};

/// Maximum number of stored messages. A log with a million bad rows would fill the memory with them.
const MAX_REASONS: usize = 100;

/// Options of the log reader.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Skips files, row groups and episodes that cannot be read, and counts them ([`Log::skipped`]). Otherwise they are
    /// errors.
    pub skip_bad: bool,
    /// The columns to read.
    pub columns: Columns,
}

/// The open files of a log: any number, of any size. Only the locations of their row groups are in memory.
pub struct Log {
    pub(super) options: ReadOptions,
    paths: Vec<PathBuf>,
    files: Vec<LogFile>,
    groups: Vec<Group>,
    passed_over: Mutex<PassedOver>,
}

/// Information about one file of a [`Log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The path.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Number of row groups.
    pub row_groups: usize,
    /// True if the file's end is missing, because its writer was killed or is still writing: the last row group may be
    /// lost.
    pub is_cut: bool,
    /// True if the file has checksums, as logs written by this crate do.
    pub has_checksums: bool,
    /// The columns that are read from the file, in the file's order.
    pub columns: Vec<&'static str>,
}

/// Counts of the data skipped with [`ReadOptions::skip_bad`]. Data that is read twice counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Files that could not be opened.
    pub files: usize,
    /// Row groups that could not be read, or not to their end.
    pub row_groups: usize,
    /// Episodes with a row that breaks the log's rules.
    pub episodes: usize,
    /// The error messages, at most the first hundred.
    pub reasons: Vec<String>,
}

#[derive(Default)]
struct PassedOver {
    files: usize,
    /// Skipped row groups: index of the file, index in the file.
    row_groups: BTreeSet<(usize, usize)>,
    /// Skipped episodes: index of the file, index of the invalid row.
    episodes: BTreeSet<(usize, u64)>,
    reasons: Vec<String>,
}

impl Log {
    /// Opens files, folders (all `*.parquet` below) and glob patterns, sorted by path. Reads only the ends of the
    /// files. A pattern without a match is an error. With `skip_bad`, a file that is not a log is an error only if no
    /// other file is left.
    pub fn open(patterns: &[impl AsRef<str>], options: ReadOptions) -> Result<Self> {
        let (mut paths, mut files, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut passed_over = PassedOver::default();
        let mut first_error = None;
        for path in find_files(patterns, &["parquet"])? {
            match LogFile::open(&path, options.columns) {
                Ok(file) => {
                    let index = files.len();
                    groups.extend(file.groups.iter().enumerate().map(|(row_group, group)| Group {
                        file: index,
                        row_group,
                        rows: group.rows,
                        bytes: file.bytes(row_group),
                    }));
                    paths.push(path);
                    files.push(file);
                }
                Err(error) if options.skip_bad => {
                    passed_over.files += 1;
                    passed_over.tell(&error);
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first_error {
            Some(error) if files.is_empty() => Err(error),
            _ => Ok(Self { options, paths, files, groups, passed_over: Mutex::new(passed_over) }),
        }
    }

    /// Returns the files, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns information about a file of [`files`](Self::files).
    pub fn info(&self, file: usize) -> FileInfo {
        let LogFile { path, is_cut, is_ours, groups, selection, .. } = &self.files[file];
        FileInfo {
            path: path.clone(),
            rows: groups.iter().map(|group| group.rows).sum(),
            row_groups: groups.len(),
            is_cut: *is_cut,
            has_checksums: *is_ours,
            columns: selection.columns.iter().map(|column| column.name).collect(),
        }
    }

    /// Returns the row groups of all files, in order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the counts of data skipped so far with `skip_bad`.
    pub fn skipped(&self) -> Skipped {
        let PassedOver { files, row_groups, episodes, reasons } = &*self.passed_over();
        Skipped { files: *files, row_groups: row_groups.len(), episodes: episodes.len(), reasons: reasons.clone() }
    }

    pub(super) fn file(&self, index: usize) -> &LogFile {
        &self.files[index]
    }

    /// True if an error in a row group is to be skipped. The error is then counted.
    pub(super) fn passes_over(&self, file: usize, row_group: usize, error: &Error) -> bool {
        if !self.options.skip_bad {
            return false;
        }
        let mut passed_over = self.passed_over();
        let is_new = match error {
            Error::Row { row, .. } => passed_over.episodes.insert((file, *row)),
            Error::RowGroup { row_group, .. } => passed_over.row_groups.insert((file, *row_group)),
            _ => passed_over.row_groups.insert((file, row_group)),
        };
        if is_new {
            passed_over.tell(error);
        }
        true
    }

    fn passed_over(&self) -> MutexGuard<'_, PassedOver> {
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Skipped {
    /// Returns the total number of files, row groups and episodes.
    pub fn total(&self) -> usize {
        self.files + self.row_groups + self.episodes
    }
}

impl PassedOver {
    fn tell(&mut self, error: &Error) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(error.to_string());
        }
    }
}
