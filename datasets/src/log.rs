//! The experience log: Parquet files with one row per turn, which any Parquet tool can read and write.
//!
//! [`LogWriter`] writes one file; [`Log`] reads any number of them. Readers hold a part of a row group in memory, never
//! a file. A log of another tool needs the columns `episode_id`, `step`, `observation`, `action`, `reward`,
//! `terminated` and `truncated`, and the rows of an episode contiguous and in order; all other columns may be absent or
//! null.
//!
//! An observation that is messages is a JSON list in `observation_messages`, and `observation` is null; the same holds for
//! `final_observation` and `final_observation_messages`. A text is never parsed.
//!
//! A row with both flags ends its episode as terminated. An episode without a flag was cut off; its `end_reason` is
//! `cut` if the file gives no other.
//!
//! Every row group is followed by a record of it, so a log whose writer was killed can be read up to the last whole row
//! group. Checksums detect damaged row groups. This module does not interpret the texts.
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

pub use episodes::Outcome;
pub use reader::{FileInfo, Log, ReadOptions, Skipped};
pub use repair::{Repaired, repair};
pub(crate) use rows::bytes_of;
pub use schema::Columns;
pub use shield::silence_caught_panics;
pub use writer::{LogWriter, WriteOptions};

/// A row group of a log. Every episode belongs to the row group that holds its first row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Index of the file in [`Log::files`].
    pub file: usize,
    /// Index of the row group in the file.
    pub row_group: usize,
    /// Number of rows.
    pub rows: u64,
    /// Uncompressed bytes of the columns that are read. Repeated text counts once.
    pub bytes: u64,
}

/// Location of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodePlace {
    /// Index of the file in [`Log::files`].
    pub file: usize,
    /// Index of the row group in the file.
    pub row_group: usize,
    /// Index of the first row, from 0 through the whole file.
    pub row: u64,
}

/// An episode and its location.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The episode.
    pub episode: Episode,
    /// The location.
    pub place: EpisodePlace,
}
