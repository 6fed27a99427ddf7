//! Experience that a run learns from, kept in one file for each span of updates between two checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use palestra_datasets::log::{LogWriter, WriteOptions};
use palestra_envs::Episode;

use super::Provenance;
use crate::{Error, Result};

/// Name of the file that is being written. It is incomplete.
const UNFINISHED: &str = ".recording";

/// Experience of a run in training: `updates-000000-000049.parquet` holds the episodes of updates 0 to 49.
///
/// A file gets its name just before the checkpoint after its last update. A resumed run repeats the updates after its
/// checkpoint, and first removes the experience of these updates. No episode is lost, and none is kept twice.
pub struct Spans {
    folder: PathBuf,
    provenance: Provenance,
    /// First update of the file that is being written.
    first: u64,
    log: Option<LogWriter>,
}

impl Spans {
    /// Begins after `done` updates. Each update sets the policy's step in `provenance`.
    ///
    /// # Errors
    /// A folder that cannot be made, or a file of a repeated update that cannot be removed.
    pub fn begin(folder: PathBuf, done: u64, provenance: Provenance) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            if is_unfinished(&path) || last_update(&path).is_some_and(|last| last >= done) {
                if folder.is_symlink() {
                    return Err(Error::Config(format!(
                        "{}: is a link, and {} behind it would have to be removed to go on after update {done}; remove it \
                         yourself, or make the folder a real one",
                        folder.display(),
                        path.display()
                    )));
                }
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(Self { folder, provenance, first: done, log: None })
    }

    /// Adds the episodes of an update.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, update: u64, episodes: Vec<&Episode>) -> Result<()> {
        let log = match &mut self.log {
            Some(log) => log,
            None => self.log.insert(LogWriter::create(&self.folder.join(UNFINISHED), WriteOptions::default())?),
        };
        self.provenance.policy_step = update;
        for episode in episodes {
            log.write(&self.provenance.label(episode.clone()))?;
        }
        Ok(())
    }

    /// Ends the span, and gives its file its name. Must be called before the checkpoint after `done` updates.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self, done: u64) -> Result<()> {
        let Some(log) = self.log.take() else { return Ok(()) };
        log.finish()?;
        let path = self.folder.join(format!("updates-{:06}-{:06}.parquet", self.first, done - 1));
        palestra_files::publish(&self.folder.join(UNFINISHED), &path)?;
        self.first = done;
        Ok(())
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == UNFINISHED)
}

/// Last update whose episodes a finished file holds.
fn last_update(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix("updates-")?.strip_suffix(".parquet")?;
    name.split_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use palestra_datasets::log::{Log, ReadOptions};
    use palestra_envs::{End, Turn};

    use super::*;

    fn provenance() -> Provenance {
        Provenance { policy_id: "lake".into(), ..Provenance::default() }
    }

    fn play(spans: &mut Spans, update: u64) {
        let turn = Turn { observation: "o".into(), action: "a".into(), ..Turn::default() };
        let id = format!("0-{update}");
        let episode = Episode { id, turns: vec![turn], end: Some(End::Terminated), ..Episode::default() };
        spans.add(update, vec![&episode]).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn steps(folder: &Path) -> Vec<u64> {
        let log = Log::open(&[folder.display().to_string()], ReadOptions::default()).unwrap();
        log.episodes().map(|located| located.unwrap().episode.policy_step).collect()
    }

    #[test]
    fn what_a_checkpoint_does_not_know_is_played_and_kept_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("experience");
        let mut spans = Spans::begin(folder.clone(), 0, provenance()).unwrap();
        for update in 0..5 {
            play(&mut spans, update);
            if update == 1 || update == 3 {
                spans.end(update + 1).unwrap();
            }
        }
        drop(spans); // killed, before or after the checkpoint that follows update 3
        let whole = ["updates-000000-000001.parquet", "updates-000002-000003.parquet"];
        assert_eq!(names(&folder), [".recording", whole[0], whole[1]]);
        assert_eq!(steps(&folder), [0, 1, 2, 3], "a reader takes nothing unfinished");

        Spans::begin(folder.clone(), 4, provenance()).unwrap();
        assert_eq!(names(&folder), whole);
        let mut spans = Spans::begin(folder.clone(), 2, provenance()).unwrap();
        assert_eq!(names(&folder), whole[..1]);
        (2..5).for_each(|update| play(&mut spans, update));
        spans.end(5).unwrap();
        spans.end(5).unwrap();
        assert_eq!(names(&folder), [whole[0], "updates-000002-000004.parquet"]);
        assert_eq!(steps(&folder), [0, 1, 2, 3, 4]);
    }
}
