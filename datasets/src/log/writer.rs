//! Writing of a log, so that a kill at any moment loses at most the row group in progress.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use palestra_files::OutputFile;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, KeyValue};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::record;
use super::rows::{RowBuilders, bytes_of};
use super::rules::check_turn;
use super::schema::{SCHEMA_VERSION, written};
use crate::error::{Error, Result};
use crate::{Episode, Turn};

/// Rows are passed to the encoder in batches of this many bytes, to keep the builders small.
const BATCH_BYTES: usize = 1 << 20;
/// Far above the size of any real episode, and far below the limit of 32-bit offsets.
const MAX_BYTES_OF_AN_EPISODE: usize = 1 << 30;

/// Options of the log writer.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Uncompressed bytes of text and ids at which a row group ends, after the episode that reaches them. Larger row
    /// groups cost memory, because a reader holds a row group in memory and data is shuffled by row group. Smaller ones
    /// compress worse.
    pub row_group_bytes: usize,
    /// Rows at which a row group ends, after the episode that reaches them.
    pub row_group_rows: usize,
    /// zstd compression level, 1 to 22: higher is smaller and slower to write, and as fast to read.
    pub zstd_level: i32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { row_group_bytes: 8 << 20, row_group_rows: 65_536, zstd_level: 3 }
    }
}

/// Writes episodes to one Parquet file. If dropped without [`finish`](Self::finish), it leaves a truncated file.
/// Readers of this crate open such a file up to the last whole row group, other tools after [`repair`](super::repair).
pub struct LogWriter {
    path: PathBuf,
    file: OutputFile,
    /// Encodes into memory, so that a row group and its record reach the file in one write.
    encoder: ArrowWriter<Vec<u8>>,
    metadata: FileMetaData,
    options: WriteOptions,
    rows: RowBuilders,
    /// Rows and bytes of the open row group that the encoder already has.
    encoded: (usize, usize),
    total_rows: u64,
    /// One checksum for each column chunk written.
    checksums: Vec<u32>,
    /// The file's length, which is the offset of the next bytes.
    len: u64,
    /// End offset of the last record.
    last_record: u64,
    /// Reason why the file can no longer be written to.
    broken: Option<String>,
}

impl LogWriter {
    /// Starts a log in a new file. Fails if the file exists: two runs never write to one log.
    pub fn create(path: &Path, options: WriteOptions) -> Result<Self> {
        let refused = |source: ParquetError| Error::file(path, format!("cannot write a log: {source}"));
        let key_values = vec![KeyValue::new("schema_version".to_string(), SCHEMA_VERSION.to_string())];
        let created_by = concat!("palestra-datasets version ", env!("CARGO_PKG_VERSION")).to_string();
        let level = ZstdLevel::try_new(options.zstd_level).map_err(refused)?;
        let properties = WriterProperties::builder()
            .set_created_by(created_by.clone())
            .set_key_value_metadata(Some(key_values.clone()))
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(None)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            // Half a row group, because episodes repeat the same few thousand observations.
            .set_dictionary_page_size_limit(4 << 20)
            // Almost all values are distinct.
            .set_column_dictionary_enabled(ColumnPath::new(names(&["log_probs", "list", "element"])), false)
            .set_column_dictionary_enabled(ColumnPath::new(names(&["timestamp"])), false)
            .build();
        let schema = std::sync::Arc::new(ArrowSchemaConverter::new().convert(&written()).map_err(refused)?);
        let version = properties.writer_version().as_num();
        let metadata = FileMetaData::new(version, 0, Some(created_by), Some(key_values), schema, None);
        let encoding = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let encoder = ArrowWriter::try_new_with_options(Vec::new(), written(), encoding).map_err(refused)?;
        let file = OutputFile::create_new(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::file(path, "there is a file already; a log is never written over")
            }
            _ => Error::io(path, "create it")(source),
        })?;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            encoder,
            metadata,
            options,
            rows: RowBuilders::new(),
            encoded: (0, 0),
            total_rows: 0,
            checksums: Vec::new(),
            len: 0,
            last_record: 0,
            broken: None,
        };
        writer.guarded(Self::write_record)?;
        // Makes the file's name survive a power failure too, on systems that can sync folders.
        if let Some(Ok(folder)) = path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(writer)
    }

    /// Adds an episode. An episode that breaks the log's rules is refused as a whole, and the log continues without it.
    pub fn write(&mut self, episode: &Episode) -> Result<()> {
        check_episode(episode)?;
        self.guarded(|writer| {
            writer.rows.append(episode);
            if writer.rows.bytes >= BATCH_BYTES {
                writer.encode()?;
            }
            let rows = writer.encoded.0 + writer.rows.count;
            let bytes = writer.encoded.1 + writer.rows.bytes;
            if rows >= writer.options.row_group_rows || bytes >= writer.options.row_group_bytes {
                writer.end_row_group()?;
            }
            Ok(())
        })
    }

    /// Ends the row group and waits until it is on disk: everything written so far survives a kill and a power failure.
    /// Intended for checkpoints rather than for every episode: a row group of any size costs about 5 KB of file and 25
    /// KB of memory until the end of the log.
    pub fn flush(&mut self) -> Result<()> {
        self.guarded(|writer| {
            writer.end_row_group()?;
            writer.file.sync_data()?;
            Ok(())
        })
    }

    /// Writes the Parquet footer and waits until it is on disk. Returns the number of rows in the log.
    pub fn finish(mut self) -> Result<u64> {
        self.guarded(|writer| {
            writer.end_row_group()?;
            writer.encoder.finish()?;
            let footer = std::mem::take(writer.encoder.inner_mut());
            let closing = record::closing(footer, &writer.checksums, writer.len, writer.last_record);
            writer.file.write_all(&closing)?;
            writer.file.sync_all()?;
            Ok(())
        })?;
        Ok(self.total_rows)
    }

    /// Passes the waiting rows to the encoder.
    fn encode(&mut self) -> Result<(), ParquetError> {
        self.encoded.0 += self.rows.count;
        self.encoded.1 += self.rows.bytes;
        self.encoder.write(&self.rows.take())
    }

    fn end_row_group(&mut self) -> Result<(), ParquetError> {
        self.encode()?;
        if self.encoded.0 == 0 {
            return Ok(());
        }
        self.encoder.flush()?;
        self.total_rows += self.encoded.0 as u64;
        self.encoded = (0, 0);
        self.write_record()
    }

    /// Writes the bytes that the encoder has ready, a row group or the head of the file, and a record of it.
    fn write_record(&mut self) -> Result<(), ParquetError> {
        self.encoder.sync()?;
        let mut bytes = std::mem::take(self.encoder.inner_mut());
        let group = self.encoder.flushed_row_groups().last();
        let checksum = |(start, len): (u64, u64)| {
            let start = (start - self.len) as usize;
            crc32fast::hash(&bytes[start..start + len as usize])
        };
        let checksums: Vec<u32> =
            group.map_or(&[][..], |group| group.columns()).iter().map(|chunk| checksum(chunk.byte_range())).collect();
        let start = self.len + bytes.len() as u64;
        let record = record::group_record(&self.metadata, group, &checksums, start, self.last_record)?;
        self.checksums.extend(checksums);
        // Written through the encoder, because it counts the bytes before the next row group.
        self.encoder.write_all(&record)?;
        self.encoder.sync()?;
        bytes.append(self.encoder.inner_mut());
        self.file.write_all(&bytes)?;
        self.len += bytes.len() as u64;
        self.last_record = self.len;
        Ok(())
    }

    /// Runs a write, unless an earlier one failed. After a failed write the contents of the file are unknown, so
    /// nothing is added to it.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), ParquetError>) -> Result<()> {
        if let Some(reason) = &self.broken {
            let reason = format!("nothing more can be written, because a write failed: {reason}");
            return Err(Error::file(&self.path, reason));
        }
        work(self).map_err(|error| {
            self.broken = Some(error.to_string());
            Error::file(&self.path, format!("cannot write: {error}"))
        })
    }
}

fn check_episode(episode: &Episode) -> Result<()> {
    let refuse = |step, column, reason: String| Err(Error::Episode { id: episode.id.clone(), step, column, reason });
    if episode.id.is_empty() {
        return refuse(0, "episode_id", "is empty; every episode of a log has its own id".to_string());
    }
    if episode.turns.is_empty() {
        return refuse(0, "step", "the episode has no turns, and a log has a row for each turn".to_string());
    }
    for (column, value) in [("temperature", episode.temperature), ("top_p", episode.top_p)] {
        if let Some(value) = value.filter(|value| !value.is_finite()) {
            return refuse(0, column, format!("{value} is not a finite number"));
        }
    }
    let breach = |(step, turn): (usize, &Turn)| check_turn(turn).err().map(|breach| (step, breach));
    if let Some((step, (column, reason))) = episode.turns.iter().enumerate().find_map(breach) {
        return refuse(step, column, reason);
    }
    let bytes = bytes_of(episode);
    if bytes > MAX_BYTES_OF_AN_EPISODE {
        let reason = format!("the episode has {bytes} bytes of text and ids; at most {MAX_BYTES_OF_AN_EPISODE} fit");
        return refuse(0, "observation", reason);
    }
    Ok(())
}

fn names(path: &[&str]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}
