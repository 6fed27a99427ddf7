//! Fingerprints of the files that a run learns from, kept with the run: a resumed run must read what it read before.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use palestra_datasets::rows::ROW_FILES;
use palestra_datasets::{find_files, local};
use palestra_files::write_atomically;
use palestra_remote::address_of;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::RunFile;
use crate::{Error, Result};

/// A file that a run learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DataFile {
    /// Its path, or its address if the file is a copy of an object.
    path: PathBuf,
    bytes: u64,
    /// Time of its last change, in nanoseconds since 1970. A file of the same size and time is not read again.
    modified: Option<u64>,
    sha256: String,
}

/// Contents of the file of fingerprints.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DataFiles {
    files: Vec<DataFile>,
}

/// Keeps the fingerprints of a run's data in a file. Those that it has of files of the same size and time are taken over,
/// so that a resumed run reads its data once.
///
/// # Errors
/// Data that cannot be read, or a file that cannot be written.
pub(super) fn keep(file: &Path, run: &RunFile) -> Result<()> {
    let known =
        fs::read(file).ok().and_then(|text| serde_json::from_slice::<DataFiles>(&text).ok()).unwrap_or_default();
    let files = fingerprints(&paths_of(run)?, &known.files)?;
    let text = serde_json::to_string_pretty(&DataFiles { files }).expect("paths of data are text");
    Ok(write_atomically(file, format!("{text}\n").as_bytes())?)
}

/// Compares a run's data with the fingerprints in a file, if there is one: runs of earlier versions have none.
///
/// # Errors
/// Names a file that was changed, added or removed.
pub(super) fn check(file: &Path, run: &RunFile) -> Result<()> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(Error::io(file))?,
    };
    let DataFiles { files: before } = serde_json::from_slice(&text)
        .map_err(|error| Error::Data(format!("{}: not fingerprints of data: {error}", file.display())))?;
    let now = fingerprints(&paths_of(run)?, &before)?;
    let refused = |path: &Path, what: String| {
        Err(Error::Data(format!(
            "{}: {what} since the run in {} began; bring the data back, or go on with other data with \
             --accept-changed-data",
            path.display(),
            file.parent().unwrap_or(file).display()
        )))
    };
    for earlier in &before {
        match now.iter().find(|now| now.path == earlier.path) {
            None => return refused(&earlier.path, "was removed from the data".into()),
            Some(now) if now.bytes != earlier.bytes => {
                return refused(&now.path, format!("has {} bytes, and had {},", now.bytes, earlier.bytes));
            }
            Some(now) if now.sha256 != earlier.sha256 => return refused(&now.path, "was changed".into()),
            Some(_) => {}
        }
    }
    match now.iter().find(|now| !before.iter().any(|earlier| earlier.path == now.path)) {
        Some(added) => refused(&added.path, "was added to the data".into()),
        None => Ok(()),
    }
}

/// Path and hash of each file that a run learns from.
///
/// # Errors
/// Data that cannot be read.
pub(super) fn hashes(run: &RunFile) -> Result<Vec<(String, String)>> {
    let files = fingerprints(&paths_of(run)?, &[])?;
    Ok(files.into_iter().map(|file| (file.path.display().to_string(), file.sha256)).collect())
}

/// Files that a run learns from: logs, texts, preferences, the files of prompts and rewards, and what encodes them.
fn paths_of(run: &RunFile) -> Result<Vec<PathBuf>> {
    let mut run = run.clone();
    let mut paths = Vec::new();
    if let Some(data) = &run.data {
        paths.extend(find_files(&data.files, &["parquet"])?);
    }
    let texts = run.text.iter_mut().flat_map(|text| text.file_lists());
    let preferences = run.preferences.iter_mut().flat_map(|section| section.file_lists());
    for patterns in texts.chain(preferences).filter(|patterns| !patterns.is_empty()) {
        paths.extend(find_files(patterns, &[&ROW_FILES[..], &["txt", "tokens"]].concat())?);
    }
    paths.extend(run.evaluation.file.clone());
    let template = run.chat_template().and_then(|template| template.file().map(PathBuf::as_path));
    paths.extend([run.tokenizer(), template].into_iter().flatten().map(Path::to_owned));
    let env = run.env.iter().map(|env| env.options.table());
    for table in env.chain(run.all_rewards().map(|reward| reward.options.table())) {
        let named = |name: &str| match table.get(name) {
            Some(toml::Value::String(file)) => vec![file.clone()],
            Some(toml::Value::Array(files)) => files.iter().filter_map(|file| Some(file.as_str()?.into())).collect(),
            _ => Vec::new(),
        };
        let patterns = [named("file"), named("files")].concat();
        // An option of this name that names no file is for its environment or reward to refuse.
        let found =
            patterns.iter().filter_map(|pattern| find_files(&[pattern], &[&ROW_FILES[..], &["txt"]].concat()).ok());
        paths.extend(found.flatten());
    }
    let absolute = |path: PathBuf| {
        let file = local(&path)?;
        std::path::absolute(&file).map_err(Error::io(&path))
    };
    let mut paths: Vec<PathBuf> = paths.into_iter().map(absolute).collect::<Result<_>>()?;
    paths.sort();
    paths.dedup();
    paths.retain(|path| !path.is_dir());
    Ok(paths)
}

/// Fingerprints of files, several of them at once. Those of `known` are taken over for files of the same size and time.
fn fingerprints(paths: &[PathBuf], known: &[DataFile]) -> Result<Vec<DataFile>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(fingerprint(path, known)?);
        }
        Ok(done)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    let parts: Vec<Result<Vec<DataFile>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("hashing does not panic")).collect()
    });
    let mut files: Vec<DataFile> = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn fingerprint(path: &Path, known: &[DataFile]) -> Result<DataFile> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    let named = address_of(path).map_or_else(|| path.to_owned(), PathBuf::from);
    let is_same = |it: &&DataFile| {
        it.path == named && it.bytes == metadata.len() && modified.is_some() && it.modified == modified
    };
    if let Some(same) = known.iter().find(is_same) {
        return Ok(same.clone());
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(DataFile { path: named, bytes: metadata.len(), modified, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path) -> RunFile {
        let text = format!(
            "name = \"x\"\nstart_from = \"m\"\n[preferences]\nfiles = [\"{}/*.jsonl\"]\n[reward_model]\n",
            folder.display()
        );
        RunFile::from_toml("x.toml", &text, &[] as &[&str]).unwrap()
    }

    #[test]
    fn changed_added_and_removed_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (data, kept) = (folder.path().join("a.jsonl"), folder.path().join("data.json"));
        let run = run(folder.path());
        fs::write(&data, "one").unwrap();
        check(&kept, &run).expect("a run of an earlier version has no fingerprints");
        keep(&kept, &run).unwrap();
        check(&kept, &run).unwrap();
        let told = || check(&kept, &run).unwrap_err().to_string();
        fs::write(&data, "two").unwrap();
        assert!(told().contains("a.jsonl: was changed") && told().contains("--accept-changed-data"), "{}", told());
        fs::write(&data, "longer").unwrap();
        assert!(told().contains("a.jsonl: has 6 bytes, and had 3"), "{}", told());
        fs::write(&data, "one").unwrap();
        check(&kept, &run).expect("the same contents, written anew");
        fs::write(folder.path().join("b.jsonl"), "more").unwrap();
        assert!(told().contains("b.jsonl: was added"), "{}", told());
        fs::remove_file(&data).unwrap();
        assert!(told().contains("a.jsonl: was removed"), "{}", told());
    }
}
