//! Working folder of a corpus run: `<out>.partial` until the corpus is complete, then `<out>`.
//!
//! Its manifest records the finished shards and the position in the input at that point. Any other file of a run's names
//! was incomplete when the run stopped, and is removed by the run that resumes it. A folder without such a manifest, or
//! one that is a link, is not ours: nothing in it is touched.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use palestra_files::{is_temporary, parent_of, publish, remove_directory, remove_temporaries, write_atomically};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::build::Options;
use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::settings::Settings;
use crate::shards::{Shard, is_shard_name};
use crate::tally::Tally;

/// Progress of a corpus. It is written with every pair of shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// The settings that determine the result.
    settings: Settings,
    /// Number of finished pairs of shards.
    pub pairs: usize,
    pub shards: Vec<Shard>,
    /// The position to resume reading from.
    pub position: Position,
    /// A hash of the names and sizes of the files, and of the versions of objects, up to that position.
    files_hash: u64,
    pub tally: Tally,
    /// True if all of the input was read.
    pub finished: bool,
}

/// The next record to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub file: usize,
    pub record: u64,
}

impl Position {
    /// The position behind this record.
    pub fn next(self) -> Self {
        Self { file: self.file, record: self.record + 1 }
    }
}

/// Builder of a corpus. One does not go on with the work of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    OneProcess,
    Ranks,
}

/// The folder of a run, locked against other runs.
pub(crate) struct Work {
    pub folder: PathBuf,
    out: PathBuf,
    _lock: File,
}

const VERSION: u32 = 2;
const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";
/// Folder of the documents that ranks have cleaned.
const PARTS: &str = "parts";
/// Files beside the shards.
const OUTPUTS: [&str; 3] = ["report.json", "report.html", "corpus.toml"];

impl Manifest {
    fn new(settings: &Settings) -> Self {
        Self {
            version: VERSION,
            settings: relevant(settings),
            pairs: 0,
            shards: Vec::new(),
            position: Position::default(),
            files_hash: hash_of(&[], Position::default()),
            tally: Tally::default(),
            finished: false,
        }
    }

    /// Records that all documents before a position are in shards.
    pub fn advance(&mut self, position: Position, files: &[InputFile]) {
        self.position = position;
        self.files_hash = hash_of(files, position);
    }

    fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(path, "read", source)),
        };
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::Output(format!("{}: {error}; start anew with --restart", path.display())))?;
        Ok((manifest.version == VERSION).then_some(manifest))
    }

    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("a manifest has text keys and finite numbers");
        Ok(write_atomically(&folder.join(MANIFEST), &text)?)
    }

    /// Refuses to go on with what another builder left.
    fn check_builder(&self, builder: Builder, folder: &Path) -> Result<()> {
        let refused = |by: &str, right: &str| {
            let folder = folder.display();
            Err(Error::Output(format!("{folder} was begun by {by}; go on {right}, or start anew with --restart")))
        };
        match builder {
            _ if self.finished => Ok(()),
            Builder::OneProcess if parts_of(folder).exists() => refused("several ranks", "with mpirun"),
            Builder::Ranks if self.pairs > 0 => refused("one process", "without mpirun"),
            _ => Ok(()),
        }
    }

    /// Refuses to resume with other settings or other files than those of the earlier run.
    fn check(&self, settings: &Settings, files: &[InputFile], folder: &Path) -> Result<()> {
        let folder = folder.display();
        if let Some(difference) = difference(&self.settings, &relevant(settings)) {
            return Err(Error::Output(format!(
                "{folder} was begun with other settings ({difference}); go on with those, name another --out, or start anew \
                 with --restart"
            )));
        }
        if files.len() < self.position.file || hash_of(files, self.position) != self.files_hash {
            let read = (self.position.file + usize::from(self.position.record > 0)).min(files.len().max(1));
            return Err(Error::Output(format!(
                "{folder} was begun with other files: the first {read} of the input, which it has read, are not of the \
                 same names and sizes; bring them back, name another --out, or start anew with --restart"
            )));
        }
        Ok(())
    }
}

/// State of the folder when a run starts.
pub(crate) enum Start {
    /// A run to start or resume, from the manifest's position on.
    Work(Work, Box<Manifest>),
    /// A complete corpus, built from the same settings and files.
    Done,
}

impl Work {
    pub fn start(settings: &Settings, files: &[InputFile], restart: bool, builder: Builder) -> Result<Start> {
        let out = PathBuf::from(settings.out.trim_end_matches('/'));
        if fs::symlink_metadata(&out).is_ok() {
            let done = Manifest::load(&out)?;
            return match done {
                Some(manifest) if manifest.finished && manifest.check(settings, files, &out).is_ok() => Ok(Start::Done),
                _ => Err(Error::Output(format!(
                    "{} is there already, and made of something else; name another --out, or remove it",
                    out.display()
                ))),
            };
        }
        let folder = folder_of(settings);
        take_up(&folder)?;
        let lock_path = folder.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|source| Error::io(&lock_path, "write", source))?;
        if lock.try_lock().is_err() {
            return Err(Error::Output(format!("{} is being written by another run", folder.display())));
        }
        let manifest = if restart { None } else { Manifest::load(&folder)? };
        let manifest = match manifest {
            Some(manifest) => {
                manifest.check(settings, files, &folder)?;
                manifest.check_builder(builder, &folder)?;
                manifest
            }
            None if !restart && folder.join(MANIFEST).exists() => {
                return Err(Error::Output(format!(
                    "{} was begun by another version of palestra; go on with that, or start anew with --restart",
                    folder.display()
                )));
            }
            None => Manifest::new(settings),
        };
        let work = Self { folder, out, _lock: lock };
        work.remove_all_but(&manifest)?;
        manifest.save(&work.folder)?;
        let parts = parts_of(&work.folder);
        if restart {
            work.remove_parts()?;
        }
        if builder == Builder::Ranks && !manifest.finished {
            fs::create_dir_all(&parts).map_err(|source| Error::io(&parts, "make the folder", source))?;
            remove_temporaries(&parts)?;
        }
        Ok(Start::Work(work, Box::new(manifest)))
    }

    /// Renames the folder to its final name.
    pub fn finish(self) -> Result<PathBuf> {
        self.remove_parts()?;
        let lock = self.folder.join(LOCK);
        fs::remove_file(&lock).map_err(|source| Error::io(lock, "remove", source))?;
        publish(&self.folder, &self.out)?;
        Ok(self.out)
    }

    /// Keeps the folder after an error, if the run can go on from what is in it; else removes it.
    pub fn leave(self, options: &Options<'_>) -> Result<()> {
        let folder = self.folder.display();
        if Manifest::load(&self.folder).ok().flatten().is_some_and(|manifest| !manifest.shards.is_empty()) {
            options.note(&format!("{folder} keeps the shards that are finished; the same command goes on behind them"));
        } else if paths_in(&parts_of(&self.folder)).is_ok_and(|parts| !parts.is_empty()) {
            options.note(&format!("{folder} keeps the files that are cleaned; the same command goes on behind them"));
        } else {
            self.discard()?;
        }
        Ok(())
    }

    /// Removes the documents that ranks have cleaned.
    fn remove_parts(&self) -> Result<()> {
        let parts = parts_of(&self.folder);
        if parts.exists() { Ok(remove_directory(&parts)?) } else { Ok(()) }
    }

    /// Removes the files of the run, if none of them is worth resuming, and the folder, unless it has others.
    pub fn discard(self) -> Result<()> {
        self.remove_parts()?;
        for path in paths_in(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_output(&path, &name) || name == MANIFEST || name == LOCK {
                fs::remove_file(&path).map_err(|source| Error::io(&path, "remove", source))?;
            }
        }
        let _ = fs::remove_dir(&self.folder); // fails if somebody put something into it, which stays
        Ok(())
    }

    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(write_atomically(&self.folder.join(name), text.as_bytes())?)
    }

    fn remove_all_but(&self, manifest: &Manifest) -> Result<()> {
        for path in paths_in(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_output(&path, &name) && !manifest.shards.iter().any(|shard| shard.name == name) {
                fs::remove_file(&path).map_err(|source| Error::io(&path, "remove", source))?;
            }
        }
        for shard in &manifest.shards {
            let path = self.folder.join(&shard.name);
            let size = fs::metadata(&path).map_err(|source| Error::io(&path, "look at", source))?.len();
            if size != shard.file_bytes {
                return Err(Error::Output(format!(
                    "{} has {size} bytes, where {} were written; start anew with --restart",
                    path.display(),
                    shard.file_bytes
                )));
            }
        }
        Ok(())
    }
}

/// The working folder of a run.
pub(crate) fn folder_of(settings: &Settings) -> PathBuf {
    PathBuf::from(format!("{}.partial", settings.out.trim_end_matches('/')))
}

/// The folder of the documents that ranks have cleaned, in the working folder.
pub(crate) fn parts_of(folder: &Path) -> PathBuf {
    folder.join(PARTS)
}

/// Makes the working folder, or takes up that of an earlier run. Nothing is written into any other.
fn take_up(folder: &Path) -> Result<()> {
    let refused = |reason: &str| {
        let folder = folder.display();
        Err(Error::Output(format!("{folder} {reason}; nothing of it was touched: remove it, or name another --out")))
    };
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = parent_of(folder);
            fs::create_dir_all(parent).map_err(|source| Error::io(parent, "make the folder", source))?;
            return fs::create_dir(folder).map_err(|source| Error::io(folder, "make the folder", source));
        }
        Err(source) => return Err(Error::io(folder, "look at", source)),
        Ok(found) if found.is_symlink() => return refused("is a link, and a corpus is not made through one"),
        Ok(found) if !found.is_dir() => return refused("is no folder"),
        Ok(_) => {}
    }
    let manifest = folder.join(MANIFEST);
    if manifest.exists() {
        let text = fs::read(&manifest).map_err(|source| Error::io(&manifest, "read", source))?;
        let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let is_ours = ["version", "settings", "shards", "files_hash"].iter().all(|key| manifest.get(key).is_some());
        return if is_ours { Ok(()) } else { refused("has a manifest.json that is not of a corpus run") };
    }
    // A run that was killed before its first manifest leaves these alone.
    let is_left = |path: &PathBuf| is_temporary(path) || path.file_name().is_some_and(|name| name == LOCK);
    if paths_in(folder)?.iter().all(is_left) { Ok(()) } else { refused("has files, and no manifest of a corpus run") }
}

/// True if a run writes a file of this name. A folder is never one.
fn is_output(path: &Path, name: &str) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir());
    is_file && (is_shard_name(name) || is_temporary(path) || OUTPUTS.contains(&name))
}

fn paths_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>();
    paths().map_err(|source| Error::io(folder, "list", source))
}

/// Returns the settings that affect the documents: without the paths, the number of threads, and the skipping of errors
/// that did not occur.
fn relevant(settings: &Settings) -> Settings {
    Settings { inputs: Vec::new(), out: String::new(), threads: 0, skip_bad: false, ..settings.clone() }
}

fn difference(ours: &Settings, theirs: &Settings) -> Option<String> {
    let table = |settings: &Settings| toml::Table::try_from(settings).expect("settings are TOML");
    first_difference(&table(ours), &table(theirs), "")
}

fn first_difference(ours: &toml::Table, theirs: &toml::Table, path: &str) -> Option<String> {
    ours.iter().find_map(|(key, value)| match (value, &theirs[key]) {
        (toml::Value::Table(ours), toml::Value::Table(theirs)) => {
            first_difference(ours, theirs, &format!("{path}{key}."))
        }
        (ours, theirs) if ours != theirs => Some(format!("`{path}{key}` was {ours} and is {theirs}")),
        _ => None,
    })
}

pub(crate) fn hash_of(files: &[InputFile], position: Position) -> u64 {
    let read = position.file + usize::from(position.record > 0);
    let version =
        |file: &InputFile| file.object.as_ref().map_or(String::new(), |object| format!("\0{}", object.version()));
    let names =
        files.iter().take(read).map(|file| format!("{}\0{}{}\n", file.path.display(), file.bytes, version(file)));
    XxHash3_64::oneshot(names.collect::<String>().as_bytes())
}
