//! Files and directories that are written whole or not at all. Knows names and the disk; must not know contents.
//!
//! Everything is written under a hidden name in the directory of its final name, synced, and renamed; then the directory
//! is synced. A reader, or a crash at any moment, finds the old contents or the new, but never a part of them.
//!
//! - [`write_atomically`] for bytes in memory,
//! - [`AtomicFile`] for contents that are streamed, or changed until the end,
//! - [`Temporary`] for a file that another writer opens by its path,
//! - [`write_directory`] for a directory,
//! - [`publish`] for a file or directory that was written under a name of its own,
//! - [`OutputFile`] for a file that grows under its name,
//! - [`Destination`] for a file that a person named: nothing is written over by mistake, nor by two processes at once.
//!
//! An [`Address`] stands where a person names an object of a store in place of a file; `palestra-remote` opens it.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("plots/loss.svg");
//! palestra_files::write_atomically(&path, b"<svg/>")?;
//! assert_eq!(std::fs::read(&path)?, b"<svg/>");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod destination;
mod directory;
mod error;
mod failpoint;
mod file;
mod output;
mod temporaries;
#[cfg(test)]
mod tests;

pub use address::{Address, Scheme};
pub use destination::Destination;
pub use directory::{remove_directory, write_directory};
pub use error::{Error, Result};
pub use file::{AtomicFile, Temporary, is_temporary, parent_of, publish, sync_directory, write_atomically};
pub use output::OutputFile;
pub use temporaries::remove_temporaries;
