//! Resolution of paths, folders and patterns to files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::remote::files_at;

/// Returns the files that paths, folders (all files below with one of these extensions) and glob patterns match, sorted
/// and without duplicates. Of addresses, these are copies of the objects. A pattern without a match is an error: it is misspelled, or its files do not exist yet.
pub fn find_files(patterns: &[impl AsRef<str>], endings: &[&str]) -> Result<Vec<PathBuf>> {
    if patterns.is_empty() {
        let first = endings[0];
        let reason = format!("no file was named; name files, folders or patterns such as data/*.{first}");
        return Err(Error::NoFiles { pattern: "files".to_string(), reason });
    }
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let path = Path::new(pattern);
        if let Some(copies) = files_at(pattern, endings) {
            files.extend(copies?);
        } else if path.is_dir() {
            let below = |ending| format!("{}/**/*.{ending}", glob::Pattern::escape(pattern.trim_end_matches('/')));
            let found: Result<Vec<_>> = endings.iter().map(|ending| matches(pattern, &below(ending))).collect();
            let before = files.len();
            files.extend(found?.into_iter().flatten());
            if files.len() == before {
                let endings = endings.iter().map(|ending| format!("*.{ending}")).collect::<Vec<_>>().join(", ");
                return Err(no_files(pattern, &format!("a folder without any {endings} file below it")));
            }
        } else if path.is_file() {
            files.push(path.to_owned());
        } else if path.exists() {
            // A pipe would be waited for, and cannot be read from its end.
            return Err(no_files(pattern, "is no regular file; write its data to a file first"));
        } else if pattern.contains(['*', '?', '[']) {
            let found = matches(pattern, pattern)?;
            if found.is_empty() {
                return Err(no_files(pattern, "no file matches this pattern"));
            }
            files.extend(found);
        } else {
            return Err(no_files(pattern, "no such file or folder"));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn matches(named: &str, pattern: &str) -> Result<Vec<PathBuf>> {
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
    Ok(files)
}

fn no_files(pattern: &str, reason: &str) -> Error {
    Error::NoFiles { pattern: pattern.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(unix)]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("log.parquet");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = super::find_files(&[pipe.to_str().unwrap()], &["parquet"]).unwrap_err().to_string();
        assert!(error.contains("log.parquet") && error.contains("is no regular file"), "{error}");
    }
}
