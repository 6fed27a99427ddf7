//! Repair of a truncated file, so that every Parquet tool can open it.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::ending::contents;
use super::record::{self, Chain};
use crate::error::{Error, Result};

/// Result of [`repair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    /// Number of rows that the log has now.
    pub rows: u64,
    /// Number of row groups.
    pub row_groups: usize,
    /// Bytes of an unfinished row group or a damaged footer that were removed.
    pub bytes_dropped: u64,
}

/// Ends a log after its last whole row group, in place. `None` if its end is intact. Only logs written by this crate
/// can be repaired, and only while no process writes to them.
pub fn repair(path: &Path) -> Result<Option<Repaired>> {
    let mut file =
        OpenOptions::new().read(true).write(true).open(path).map_err(Error::io(path, "open it for writing"))?;
    match contents(path, &mut file) {
        Ok(contents) if contents.cut_at.is_none() => return Ok(None),
        _ => {}
    }
    let len = file.metadata().map_err(Error::io(path, "read it"))?.len();
    let last = record::last(&mut file, len).map_err(Error::io(path, "read it"))?;
    let beyond_repair = || Error::file(path, "cannot be repaired: it has no whole record of Palestra's");
    let last = last.ok_or_else(beyond_repair)?;
    // A seal is written again, because it must lie right before the footer.
    let end = if let record::Body::Seal { .. } = last.body { last.start } else { last.end };
    let previous = if let record::Body::Seal { .. } = last.body { last.previous } else { last.end };
    let chain = record::chain(&mut file, last).map_err(Error::io(path, "read it"))?;
    let Chain { metadata, groups, checksums } = chain.ok_or_else(beyond_repair)?;
    let repaired = Repaired {
        rows: groups.iter().map(|group| group.num_rows().max(0) as u64).sum(),
        row_groups: groups.len(),
        bytes_dropped: len - end,
    };
    let footer = record::footer_of(metadata.file_metadata(), groups)
        .map_err(|error| Error::file(path, format!("cannot be repaired: {error}")))?;
    let closing = record::closing(footer, &checksums, end, previous);
    let mut write = || {
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&closing)?;
        file.sync_all()
    };
    write().map_err(Error::io(path, "write its end"))?;
    Ok(Some(repaired))
}
