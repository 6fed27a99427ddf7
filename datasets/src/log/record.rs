//! Records between the row groups of a log, from which a truncated file is read.
//!
//! A Parquet file describes its contents only at its very end, so a killed writer would leave a file that no reader can
//! open. We therefore write a record after every row group: the Parquet metadata of that row group, the checksums of
//! its column chunks, and the end of the previous record. Parquet addresses everything by absolute offsets, so other
//! tools never see these bytes. The size of a record depends on the metadata of one row group, not on the file's
//! length.
//!
//! The last record, the seal, lies right before the Parquet footer and holds the checksums of the whole file.
//!
//! ```text
//! PAR1 | record | row group | record | row group | record | ... | seal | footer length PAR1
//! ```
//! A tool that rewrites a log drops all records, and with them checksums that would no longer match.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};

use super::shield::shield;

/// Not valid UTF-8, so no text of a log contains it; the checksum rules out other matches.
const MAGIC: [u8; 8] = *b"\xffpalLOG\xff";
/// Length and checksum of the body, start of the record, end of the previous record, magic.
const TRAILER: u64 = 4 + 4 + 8 + 8 + 8;
/// The length of a Parquet footer and `PAR1`.
pub(super) const FOOTER_TAIL: u64 = 8;

/// A record as stored in a file.
pub(super) struct Record {
    pub body: Body,
    pub start: u64,
    pub end: u64,
    /// End of the previous record; 0 for the first.
    pub previous: u64,
}

pub(super) enum Body {
    /// Record after a row group; at the start of the file, without a row group.
    Group { metadata: Box<ParquetMetaData>, checksums: Vec<u32> },
    /// Record before the footer, with the length and the checksum of the footer including its tail.
    Seal { checksums: Vec<u32>, footer_len: u32, footer_checksum: u32 },
}

/// Returns the bytes of a record that follows a row group or starts the file.
pub(super) fn group_record(
    file: &FileMetaData,
    group: Option<&RowGroupMetaData>,
    checksums: &[u32],
    start: u64,
    previous: u64,
) -> Result<Vec<u8>, ParquetError> {
    let mut footer = footer_of(file, group.into_iter().cloned().collect())?;
    footer.truncate(footer.len() - FOOTER_TAIL as usize);
    let mut body = checksums_to_bytes(0, checksums);
    body.extend(footer);
    Ok(with_trailer(body, start, previous))
}

/// Returns the bytes that end a file: the seal, then the footer, which is passed with its tail.
pub(super) fn closing(footer: Vec<u8>, checksums: &[u32], start: u64, previous: u64) -> Vec<u8> {
    let mut body = checksums_to_bytes(1, checksums);
    body.extend((footer.len() as u32).to_le_bytes());
    body.extend(crc32fast::hash(&footer).to_le_bytes());
    let mut bytes = with_trailer(body, start, previous);
    bytes.extend(footer);
    bytes
}

/// Returns a Parquet footer with its tail.
pub(super) fn footer_of(file: &FileMetaData, groups: Vec<RowGroupMetaData>) -> Result<Vec<u8>, ParquetError> {
    let mut footer = Vec::new();
    ParquetMetaDataWriter::new(&mut footer, &ParquetMetaData::new(file.clone(), groups)).finish()?;
    Ok(footer)
}

/// Returns the record that ends at an offset of a file; `None` if there is none, or a damaged one.
pub(super) fn ending_at(file: &mut File, end: u64) -> std::io::Result<Option<Record>> {
    let Some(trailer_start) = end.checked_sub(TRAILER) else { return Ok(None) };
    let trailer = read_at(file, trailer_start, TRAILER as usize)?;
    let (numbers, magic) = trailer.split_at(24);
    if magic != MAGIC {
        return Ok(None);
    }
    let (body_len, checksum) = (u32_at(numbers, 0), u32_at(numbers, 4));
    let (start, previous) = (u64_at(numbers, 8), u64_at(numbers, 16));
    if start.checked_add(body_len.into()) != Some(trailer_start) || previous > start {
        return Ok(None);
    }
    let body = read_at(file, start, body_len as usize)?;
    if checksum != checksum_of(&body, start, previous) {
        return Ok(None);
    }
    Ok(parse(&body).map(|body| Record { body, start, end, previous }))
}

/// Returns the last whole record of a file.
pub(super) fn last(file: &mut File, len: u64) -> std::io::Result<Option<Record>> {
    const STRETCH: u64 = 1 << 20;
    let mut end = len;
    while end >= TRAILER {
        let start = end.saturating_sub(STRETCH);
        let stretch = read_at(file, start, (end - start) as usize)?;
        for at in (0..=stretch.len() - MAGIC.len()).rev() {
            if stretch[at..].starts_with(&MAGIC)
                && let Some(record) = ending_at(file, start + (at + MAGIC.len()) as u64)?
            {
                return Ok(Some(record));
            }
        }
        // The next chunk overlaps with this one by less than a magic number, which may span the two.
        end = if start == 0 { 0 } else { start + MAGIC.len() as u64 - 1 };
    }
    Ok(None)
}

/// Contents of a chain of records.
pub(super) struct Chain {
    /// Schema, writer and key-value metadata.
    pub metadata: ParquetMetaData,
    pub groups: Vec<RowGroupMetaData>,
    pub checksums: Vec<u32>,
}

/// Returns all row groups up to a record. `None` if an earlier record is damaged.
pub(super) fn chain(file: &mut File, last: Record) -> std::io::Result<Option<Chain>> {
    let mut found = Vec::new();
    let mut record = last;
    loop {
        let previous = record.previous;
        if let Body::Group { metadata, checksums } = record.body {
            found.push((metadata, checksums));
        }
        if previous == 0 {
            break;
        }
        match ending_at(file, previous)? {
            Some(before) => record = before,
            None => return Ok(None),
        }
    }
    let Some((first, _)) = found.last() else { return Ok(None) };
    let metadata = first.as_ref().clone();
    let (mut groups, mut checksums) = (Vec::new(), Vec::new());
    for (metadata, sums) in found.into_iter().rev() {
        groups.extend_from_slice(metadata.row_groups());
        checksums.extend(sums);
    }
    Ok(Some(Chain { metadata, groups, checksums }))
}

/// Reads a range of bytes of a file.
pub(super) fn read_at(file: &mut File, start: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn checksums_to_bytes(kind: u8, checksums: &[u32]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((checksums.len() as u32).to_le_bytes());
    bytes.extend(checksums.iter().flat_map(|checksum| checksum.to_le_bytes()));
    bytes
}

fn with_trailer(body: Vec<u8>, start: u64, previous: u64) -> Vec<u8> {
    let mut bytes = body;
    let (len, checksum) = (bytes.len() as u32, checksum_of(&bytes, start, previous));
    bytes.extend(len.to_le_bytes());
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend(previous.to_le_bytes());
    bytes.extend(MAGIC);
    bytes
}

fn checksum_of(body: &[u8], start: u64, previous: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(&start.to_le_bytes());
    hasher.update(&previous.to_le_bytes());
    hasher.finalize()
}

fn parse(body: &[u8]) -> Option<Body> {
    let (kind, rest) = body.split_first()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (sums, rest) = rest.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(4)?)?;
    let checksums = sums.chunks_exact(4).map(|sum| u32_at(sum, 0)).collect();
    match kind {
        0 => {
            // Full statistics, so that a repaired file gets the same footer as a finished one.
            let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
            let decode = || ParquetMetaDataReader::decode_metadata_with_options(rest, Some(&options));
            let metadata = Box::new(shield(decode).ok()?);
            Some(Body::Group { metadata, checksums })
        }
        1 if rest.len() == 8 => {
            Some(Body::Seal { checksums, footer_len: u32_at(rest, 0), footer_checksum: u32_at(rest, 4) })
        }
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
