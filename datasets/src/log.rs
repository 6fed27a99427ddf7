//! The experience log: Parquet files with a row for each turn, which any Parquet tool can read and write.
//!
//! [`LogWriter`] writes one file; [`Log`] reads any number of them. Readers hold a part of a row group in memory, never a
//! file. A log made elsewhere needs the columns `episode_id`, `step`, `observation`, `action`, `reward`, `terminated` and
//! `truncated`, an episode's rows together and in order; all other columns may be absent or null.
//!
//! A row with both flags ends its episode by the game's rules: terminated wins. An episode without a flag was cut off;
//! its `end_reason` is `cut` where the file says nothing else.
//!
//! Every row group is followed by a record of it, so that a log whose writer was killed opens up to the last whole row
//! group; checksums tell damaged row groups from whole ones. This module knows nothing of what the texts mean.
//!
//! ```
//! use palestra_datasets::{End, Episode, Turn};
//! use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
//!
//! # fn main() -> palestra_datasets::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("experience.parquet");
//! let turn = Turn { observation: "2 + 2 =".into(), action: "4".into(), reward: 1.0, ..Turn::default() };
//! let episode = Episode { id: "0".into(), turns: vec![turn], end: Some(End::Terminated), ..Episode::default() };
//! let mut writer = LogWriter::create(&path, WriteOptions::default())?;
//! writer.write(&episode)?;
//! writer.finish()?;
//!
//! let log = Log::open(&[path.display().to_string()], ReadOptions::default())?;
//! for located in log.episodes() {
//!     assert_eq!(located?.episode, episode);
//! }
//! # Ok(())
//! # }
//! ```

mod assemble;
mod batch;
mod ending;
mod episodes;
mod file;
mod matching;
pub(crate) mod paths;
mod reader;
mod record;
mod repair;
mod rows;
mod rules;
mod schema;
pub(crate) mod shield;
mod source;
mod writer;

use crate::Episode;

pub use reader::{FileInfo, Log, ReadOptions, Skipped};
pub use repair::{Repaired, repair};
pub(crate) use rows::bytes_of;
pub use schema::Columns;
pub use writer::{LogWriter, WriteOptions};

/// A row group of a log. Every episode belongs to the one in which its first row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The file's place in [`Log::files`].
    pub file: usize,
    /// The row group's place in the file.
    pub row_group: usize,
    /// How many rows it has.
    pub rows: u64,
    /// Its bytes before compression, of the columns that are read. Text that repeats counts once.
    pub bytes: u64,
}

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's place in [`Log::files`].
    pub file: usize,
    /// The row group's place in the file.
    pub row_group: usize,
    /// Its first row, counted from 0 through the whole file.
    pub row: u64,
}

/// An episode and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The episode.
    pub episode: Episode,
    /// Where it stands.
    pub place: Place,
}
