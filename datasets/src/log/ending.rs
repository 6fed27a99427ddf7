//! Contents of a file, read from its end: from the Parquet footer, or from our last record if the footer is missing.

use std::fs::File;
use std::path::Path;

use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader};

use super::record::{self, Body, Chain, FOOTER_TAIL, Record, read_at};
use super::schema::SCHEMA_VERSION;
use super::shield::shield;
use crate::bounds::check_footer;
use crate::error::{Error, Result};

const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Contents of a file, as its end describes them.
pub(super) struct Contents {
    pub metadata: ParquetMetaData,
    /// One checksum for each column chunk, in files that this crate wrote.
    pub checksums: Option<Vec<u32>>,
    /// The end of the last whole record, if the file is cut after it.
    pub cut_at: Option<u64>,
    /// Offset before which all data of row groups lies.
    pub data_end: u64,
}

/// Returns the contents of a file: from its Parquet footer, or from its last whole record if the file was cut off.
pub(super) fn contents(path: &Path, file: &mut File) -> Result<Contents> {
    let io = || Error::io(path, "read it");
    let len = file.metadata().map_err(io())?.len();
    let smallest = 2 * PARQUET_MAGIC.len() as u64 + 4;
    if len < smallest {
        return Err(Error::file(path, format!("is no Parquet file: {len} bytes, less than the smallest has")));
    }
    if read_at(file, 0, PARQUET_MAGIC.len()).map_err(io())? != PARQUET_MAGIC {
        return Err(Error::file(path, "is no Parquet file: it does not start with PAR1"));
    }
    match by_footer(file, len).map_err(io())? {
        Ok(contents) => Ok(contents),
        Err(reason) => match record::last(file, len).map_err(io())? {
            Some(last) => by_records(path, file, len, last, &reason),
            None => Err(Error::file(path, format!("{reason}, and it has no record of Palestra's to be read from"))),
        },
    }
}

/// Refuses files with a later schema version.
pub(super) fn check_version(path: &Path, metadata: &FileMetaData) -> Result<()> {
    let key_values = metadata.key_value_metadata().map_or(&[][..], Vec::as_slice);
    let version = key_values.iter().find(|pair| pair.key == "schema_version").and_then(|pair| pair.value.as_deref());
    match version {
        Some(version) if version != SCHEMA_VERSION => {
            let reason = format!("schema_version {version}; this version of Palestra reads {SCHEMA_VERSION}");
            Err(Error::file(path, reason))
        }
        _ => Ok(()),
    }
}

/// Reads the contents from the Parquet footer. The inner error says why there is no usable footer.
fn by_footer(file: &mut File, len: u64) -> std::io::Result<Result<Contents, String>> {
    let tail = read_at(file, len - FOOTER_TAIL, FOOTER_TAIL as usize)?;
    let (size, magic) = tail.split_at(4);
    if magic != PARQUET_MAGIC {
        let reason = if magic == b"PARE" { "it is encrypted" } else { "it was cut off: no PAR1 at its end" };
        return Ok(Err(reason.to_string()));
    }
    let size = u64::from(u32::from_le_bytes(size.try_into().expect("four bytes")));
    let Some(start) = (len - FOOTER_TAIL).checked_sub(size).filter(|start| *start >= PARQUET_MAGIC.len() as u64) else {
        return Ok(Err(format!("its footer is damaged: {size} bytes long, in a file of {len}")));
    };
    let footer = read_at(file, start, (size + FOOTER_TAIL) as usize)?;
    let seal = record::ending_at(file, start)?;
    let checksums = match seal {
        Some(Record { body: Body::Seal { checksums, footer_len, footer_checksum }, .. }) => {
            if footer_len as usize != footer.len() || footer_checksum != crc32fast::hash(&footer) {
                return Ok(Err("its footer is damaged: the checksum differs".to_string()));
            }
            Some(checksums)
        }
        _ => None,
    };
    if let Err(reason) = check_footer(&footer[..size as usize]) {
        return Ok(Err(reason));
    }
    let metadata = shield(|| ParquetMetaDataReader::decode_metadata(&footer[..size as usize]));
    Ok(metadata
        .map(|metadata| Contents { metadata, checksums, cut_at: None, data_end: start })
        .map_err(|reason| format!("its footer is damaged: {reason}")))
}

/// Reads the contents of a file without a usable footer from its records. A file with a seal and as many bytes after it
/// as the seal announces is not cut but damaged, and is refused.
fn by_records(path: &Path, file: &mut File, len: u64, last: Record, reason: &str) -> Result<Contents> {
    let end = last.end;
    if let Body::Seal { footer_len, .. } = &last.body
        && end + u64::from(*footer_len) <= len
    {
        return Err(Error::file(path, format!("{reason}; its row groups can be saved by repairing it")));
    }
    let chain = record::chain(file, last).map_err(Error::io(path, "read it"))?;
    let Some(Chain { metadata, groups, checksums }) = chain else {
        return Err(Error::file(path, format!("{reason}, and a record before that is damaged")));
    };
    let metadata = ParquetMetaData::new(metadata.file_metadata().clone(), groups);
    Ok(Contents { metadata, checksums: Some(checksums), cut_at: Some(end), data_end: end })
}
