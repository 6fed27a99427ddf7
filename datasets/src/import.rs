//! Import of other kinds of logs as experience logs.
//!
//! Every import reads episode by episode, however large the source is. The new log gets its name at the end, so a log
//! with the requested name is always complete. An episode whose end the source does
//! not give is cut, never terminated.

mod arrow_text;
mod fields;
pub mod jsonl;
mod minari;
mod preferences;
mod report;
mod turns;

use std::path::{Path, PathBuf};

use palestra_files::Temporary;

use crate::error::{Error, Result};
use crate::log::{Log, LogWriter, WriteOptions};
use crate::stats::{Seen, hash_of};
use crate::{End, Episode};

pub use minari::import_minari;
pub use preferences::import_preferences;
pub use report::ImportReport;

/// Values that an import adds to those of the source.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The environment's id, for episodes without one.
    pub env_id: Option<String>,
    /// The policy's id, for episodes without one.
    pub policy_id: Option<String>,
    /// The split, for episodes without one.
    pub split: Option<String>,
    /// Source of the rewards (`rules`, `model` or `human`), for episodes without one.
    pub reward_source: Option<String>,
    /// True if an existing file is replaced.
    pub overwrite: bool,
    /// Options of the log writer.
    pub write: WriteOptions,
}

/// Reads files of JSON lines, in the shapes that [`jsonl`] describes, into a new log `to`.
pub fn import_jsonl(inputs: &[PathBuf], to: &Path, options: &ImportOptions) -> Result<ImportReport> {
    let mut target = Target::create(to, options)?;
    for input in inputs {
        let mut episodes = jsonl::Episodes::open(input)?;
        while let Some(episode) = episodes.next() {
            target.write(episode?).map_err(|error| episodes.located(error))?;
        }
        target.report.add_notes(episodes.notes());
    }
    target.finish()
}

/// Rewrites any number of logs, of any tool, as one new log `to` with checksums and without episodes that span row
/// groups. A log opened with `skip_bad` loses its invalid parts; the report counts them.
pub fn rewrite(log: &Log, to: &Path, options: &ImportOptions) -> Result<ImportReport> {
    let mut target = Target::create(to, options)?;
    for located in log.episodes() {
        target.write(located?.episode)?;
    }
    target.report.skipped = log.skipped().total() as u64;
    target.finish()
}

/// The new log, under a temporary name until it is complete.
struct Target<'a> {
    to: &'a Path,
    /// Closed before the temporary file is published or removed.
    writer: LogWriter,
    temporary: Temporary,
    options: &'a ImportOptions,
    ids: Seen,
    report: ImportReport,
}

impl<'a> Target<'a> {
    fn create(to: &'a Path, options: &'a ImportOptions) -> Result<Self> {
        refuse_existing(to, options)?;
        if to.file_name().is_none() {
            return Err(Error::file(to, "is not the name of a file; name one like log.parquet"));
        }
        let temporary = Temporary::beside(to)?;
        let writer = LogWriter::create(temporary.path(), options.write.clone())?;
        let report = ImportReport { to: to.to_owned(), ..ImportReport::default() };
        Ok(Self { to, writer, temporary, options, ids: Seen::new(usize::MAX), report })
    }

    fn write(&mut self, mut episode: Episode) -> Result<()> {
        let ImportOptions { env_id, policy_id, split, reward_source, .. } = self.options;
        for (value, otherwise) in [(&mut episode.env_id, env_id), (&mut episode.policy_id, policy_id)] {
            if let Some(otherwise) = otherwise
                && value.is_empty()
            {
                value.clone_from(otherwise);
            }
        }
        for (value, otherwise) in [(&mut episode.split, split), (&mut episode.reward_source, reward_source)] {
            if value.is_none() {
                value.clone_from(otherwise);
            }
        }
        if !self.ids.is_new(hash_of(&episode.id)) {
            let reason =
                "stands there a second time; every episode has its own id, and its rows stand together".to_string();
            return Err(Error::Episode { id: episode.id, step: 0, column: "episode_id", reason });
        }
        self.writer.write(&episode)?;
        let report = &mut self.report;
        report.episodes += 1;
        report.rows += episode.turns.len() as u64;
        match episode.end {
            Some(End::Terminated) => report.terminated += 1,
            Some(End::Truncated) => report.truncated += 1,
            None => report.cut += 1,
        }
        Ok(())
    }

    fn finish(self) -> Result<ImportReport> {
        self.writer.finish()?;
        if self.report.episodes == 0 {
            return Err(Error::file(self.to, "not written: there is not a single episode in what was to be imported"));
        }
        // A file that was created meanwhile is not overwritten.
        refuse_existing(self.to, self.options)?;
        self.temporary.publish()?;
        Ok(self.report)
    }
}

fn refuse_existing(to: &Path, options: &ImportOptions) -> Result<()> {
    match !options.overwrite && to.try_exists().map_err(Error::io(to, "look whether it exists"))? {
        true => Err(Error::file(to, "there is a file already; a log is never written over")),
        false => Ok(()),
    }
}
