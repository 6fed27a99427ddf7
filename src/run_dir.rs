//! The directory that one run writes, and that `resume`, `evaluate` and `report` read. Knows names and the lock;
//! knows nothing of the files' contents.
//!
//! ```text
//! runs/<name>/
//!   run.toml        the resolved configuration
//!   env.json        spec of the environment; `reproducible` says if its seeds fix its episodes
//!   checkpoints/    step-00000100, step-00000200, ...
//!   best/           the checkpoint with the best value of train.keep_best
//!   metrics.jsonl   one line a log step
//!   episodes.jsonl  sample episodes
//!   samples.jsonl   held-out texts, continued by a language model as it learned
//!   data.json       sizes and hashes of the files that it learns from
//!   reference.json  log-probabilities of labelled answers before training
//!   experience/     logged experience, if it is kept
//!   plots/          SVG
//!   report.html
//!   tensorboard/
//!   rank-1.log      log of a rank other than 0, of a run on several processes
//!   lock            process id of the process that trains in it
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use palestra_files::{Address, is_temporary, remove_temporaries};

use crate::{Error, Result};

const LOCK: &str = "lock";
const RUN_FILE: &str = "run.toml";

/// The directory of one run. One that is opened for training keeps other processes from training in it until it is
/// dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Lock, held while training; the system releases it however the process ends.
    _lock: Option<File>,
}

/// Result of claiming a directory for training.
enum Claim {
    Ours(RunDir),
    /// Reason why the directory is not free.
    Taken(Error),
}

impl RunDir {
    /// Claims a new or empty directory for training.
    ///
    /// # Errors
    /// A directory that is not empty, or that another process uses; its contents stay untouched.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        match claim(path.into())? {
            Claim::Ours(run) => Ok(run),
            Claim::Taken(reason) => Err(reason),
        }
    }

    /// Claims the first free one of `<runs>/<name>`, `<runs>/<name>-2`, `<runs>/<name>-3`, ... for training.
    ///
    /// # Errors
    /// A directory that cannot be created.
    pub fn create_numbered(runs: &Path, name: &str) -> Result<Self> {
        let mut number = 1;
        loop {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            if let Claim::Ours(run) = claim(runs.join(name))? {
                return Ok(run);
            }
            number += 1;
        }
    }

    /// Claims the directory of an earlier run to resume training in it.
    ///
    /// # Errors
    /// A path that is not a run's directory, or one that another process uses.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self> {
        let Self { path, .. } = Self::open(path)?;
        let lock = lock(&path)?;
        remove_temporaries(&path)?;
        Ok(Self { path, _lock: Some(lock) })
    }

    /// Opens the directory of a run for reading, also while it trains.
    ///
    /// # Errors
    /// A path that is not a run's directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !path.join(RUN_FILE).is_file() {
            let shown = path.display();
            let reason = if path.is_dir() { "has no run.toml" } else { "is no directory" };
            return Err(Error::Config(format!("{shown} {reason}; give the directory of a run, like runs/<name>")));
        }
        Ok(Self { path, _lock: None })
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the resolved configuration.
    pub fn run_file(&self) -> PathBuf {
        self.path.join(RUN_FILE)
    }

    /// Path of the lock.
    pub fn lock(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Path of the log of a rank other than 0.
    pub fn rank_log(&self, rank: usize) -> PathBuf {
        self.path.join(format!("rank-{rank}.log"))
    }

    /// Path of the spec of the environment.
    pub fn env(&self) -> PathBuf {
        self.path.join("env.json")
    }

    /// Directory in which [`checkpoint::save`](palestra_model::checkpoint::save) puts checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Directory of the checkpoint with the best value of `train.keep_best`.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// Path of the metrics, one JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Path of the sample episodes, one JSON object a line.
    pub fn episodes(&self) -> PathBuf {
        self.path.join("episodes.jsonl")
    }

    /// Path of the texts that a language model wrote during training, one JSON object a line.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// Path of the sizes and hashes of the files that the run learns from.
    pub fn data(&self) -> PathBuf {
        self.path.join("data.json")
    }

    /// Path of the log-probabilities of labelled answers under the initial policy.
    pub fn reference(&self) -> PathBuf {
        self.path.join("reference.json")
    }

    /// Path of the log of the experience that was collected for training.
    pub fn experience(&self) -> PathBuf {
        self.path.join("experience")
    }

    /// Directory of the plots.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }

    /// Path of the report.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Directory of TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }
}

fn claim(path: PathBuf) -> Result<Claim> {
    if Address::is_in(&path) {
        let shown = path.display();
        let right = format!("choose a path for --out, and mirror the run with train.upload = \"{shown}\"");
        return Err(Error::Config(format!("{shown}: the directory of a run is on this machine; {right}")));
    }
    let taken = |path: &Path| {
        let shown = path.display();
        Claim::Taken(Error::Config(if path.join(RUN_FILE).is_file() {
            format!("{shown} holds a run already; go on with it by --out {shown} --resume, or choose another --out")
        } else {
            format!("{shown} is not an empty directory; choose another --out")
        }))
    };
    if path.exists() && !is_free(&path)? {
        return Ok(taken(&path)); // before the lock: a directory that is not ours gets no file
    }
    fs::create_dir_all(&path).map_err(Error::io(&path))?;
    let lock = match lock(&path) {
        Err(reason @ Error::Config(_)) => return Ok(Claim::Taken(reason)),
        lock => lock?,
    };
    if !is_free(&path)? {
        return Ok(taken(&path)); // another process trained in it meanwhile
    }
    remove_temporaries(&path)?;
    Ok(Claim::Ours(RunDir { path, _lock: Some(lock) }))
}

/// True if a path is a directory that is empty except for what a run that was killed as it started leaves: its lock, and
/// files that have no name yet.
fn is_free(path: &Path) -> Result<bool> {
    if !path.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let entry = entry.map_err(Error::io(path))?;
        if entry.file_name() != LOCK && !is_temporary(&entry.path()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Locks a run's directory for this process, and writes its process id into the lock file for error messages.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid); // only to be helpful
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            return Err(Error::Config(format!(
                "run directory {} is in use by another process (pid {pid}); wait until it ends, or choose another --out",
                directory.display()
            )));
        }
    }
    let sign = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    sign(&mut file).map_err(Error::io(&path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use palestra_files::write_atomically;

    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_ends() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a");
        let first = RunDir::create(&path).unwrap();
        write_atomically(&first.run_file(), b"seed = 1\n").unwrap();
        let refused = message(RunDir::resume(&path));
        let pid = std::process::id();
        assert!(refused.contains(&format!("in use by another process (pid {pid})")), "{refused}");
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert!(RunDir::open(&path).is_ok(), "reading needs no lock");
        drop(first);
        assert!(RunDir::resume(&path).is_ok());
    }

    #[test]
    fn an_empty_directory_that_another_process_has_just_taken_is_refused() {
        let path = tempfile::tempdir().unwrap();
        let _first = RunDir::create(path.path()).unwrap();
        assert!(message(RunDir::create(path.path())).contains("in use by another process"));
    }

    #[test]
    fn a_directory_with_files_is_refused_and_left_alone() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join("thesis.txt"), "mine").unwrap();
        assert!(message(RunDir::create(path.path())).contains("is not an empty directory; choose another --out"));
        assert_eq!(fs::read_dir(path.path()).unwrap().count(), 1, "no lock file either");
        let file = path.path().join("thesis.txt");
        assert!(message(RunDir::create(&file)).contains("is not an empty directory"));
        assert_eq!(fs::read(file).unwrap(), b"mine");

        fs::write(path.path().join(RUN_FILE), "seed = 1").unwrap();
        let refused = message(RunDir::create(path.path()));
        assert!(refused.contains("--resume") && refused.contains("--out"), "{refused}");
    }

    #[test]
    fn a_run_that_was_killed_as_it_started_starts_again() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join(LOCK), "7\n").unwrap();
        fs::write(path.path().join(".tmp-run.toml.7-0"), "seed").unwrap();
        let run = RunDir::create(path.path()).unwrap();
        assert_eq!(fs::read_dir(path.path()).unwrap().count(), 1, "only the lock is left");
        write_atomically(&run.run_file(), b"seed = 1\n").unwrap();
        drop(run);
        fs::create_dir_all(path.path().join("checkpoints/.tmp-step-00000003")).unwrap();
        let run = RunDir::resume(path.path()).unwrap();
        assert_eq!(fs::read_dir(run.checkpoints()).unwrap().count(), 0);
    }

    #[test]
    fn a_recipe_run_again_gets_the_next_number() {
        let runs = tempfile::tempdir().unwrap();
        let next = || RunDir::create_numbered(runs.path(), "wordle").unwrap();
        let (first, second) = (next(), next()); // both alive, the second finds the first locked
        write_atomically(&first.run_file(), b"x").unwrap();
        drop(first);
        let third = next(); // and a finished one full
        let name = |run: &RunDir| run.path().file_name().unwrap().to_owned();
        assert_eq!((name(&second), name(&third)), ("wordle-2".into(), "wordle-3".into()));
    }

    #[test]
    fn what_is_no_run_cannot_be_resumed() {
        let path = tempfile::tempdir().unwrap();
        assert!(message(RunDir::resume(path.path())).contains("has no run.toml"));
        assert!(message(RunDir::open(path.path().join("absent"))).contains("is no directory"));
        assert_eq!(fs::read_dir(path.path()).unwrap().count(), 0, "a refusal leaves no lock file");
    }
}
