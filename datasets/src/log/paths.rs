//! From what a person names to files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The files that paths, folders (all `*.parquet` below) and glob patterns stand for, sorted, each once. A pattern that
/// stands for no file is an error: it is mistyped, or its files are not there yet.
pub(super) fn find_files(patterns: &[impl AsRef<str>]) -> Result<Vec<PathBuf>> {
    if patterns.is_empty() {
        let reason = "no file was named; name Parquet files, folders or patterns such as logs/*.parquet".to_string();
        return Err(Error::NoFiles { pattern: "experience log".to_string(), reason });
    }
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let path = Path::new(pattern);
        if path.is_dir() {
            let below = format!("{}/**/*.parquet", glob::Pattern::escape(pattern.trim_end_matches('/')));
            files.extend(matches(pattern, &below, "a folder without any *.parquet file below it")?);
        } else if path.exists() {
            files.push(path.to_owned());
        } else if pattern.contains(['*', '?', '[']) {
            files.extend(matches(pattern, pattern, "no file matches this pattern")?);
        } else {
            return Err(no_files(pattern, "no such file or folder"));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn matches(named: &str, pattern: &str, otherwise: &str) -> Result<Vec<PathBuf>> {
    let found = glob::glob(pattern).map_err(|error| no_files(named, &format!("is no pattern: {error}")))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| {
            let file = error.path().to_owned();
            Error::Io { file, doing: "look into it", source: error.into() }
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() { Err(no_files(named, otherwise)) } else { Ok(files) }
}

fn no_files(pattern: &str, reason: &str) -> Error {
    Error::NoFiles { pattern: pattern.to_string(), reason: reason.to_string() }
}
