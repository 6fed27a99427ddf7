//! One file of a log: the locations of its row groups, and their bytes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::ending::{Contents, check_version, contents};
use super::matching::Selection;
use super::schema::Columns;
use super::shield::shield;
use super::source::Source;
use crate::bounds::check_pages;
use crate::error::{Error, Result};

/// Maximum number of bytes of a row group's columns to read at once. A larger row group of another tool is read page by
/// page.
const READ_AT_ONCE: u64 = 16 << 20;

/// A file of a log, of which only the end has been read.
pub(super) struct LogFile {
    pub path: PathBuf,
    len: u64,
    /// True if the file is truncated, so that its last row group may be lost.
    pub is_cut: bool,
    /// True if this crate wrote the file, with checksums; an episode then never spans two row groups.
    pub is_ours: bool,
    pub groups: Vec<RowGroup>,
    pub selection: Selection,
}

/// Location of a row group. The Parquet crate's own type takes ten times the memory, which matters for large logs.
pub(super) struct RowGroup {
    pub first_row: u64,
    pub rows: u64,
    chunks: Vec<Chunk>,
}

struct Chunk {
    start: u64,
    len: u64,
    uncompressed: u64,
    values: i64,
    data_page: i64,
    dictionary_page: Option<i64>,
    compression: Compression,
    checksum: Option<u32>,
}

impl LogFile {
    pub fn open(path: &Path, columns: Columns) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path, "open it"))?;
        let contents = contents(path, &mut file)?;
        let metadata = contents.metadata.file_metadata();
        check_version(path, metadata)?;
        let selection = Selection::new(path, metadata.schema_descr(), columns)?;
        let groups = table(&contents, &selection.is_read).map_err(|reason| Error::file(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            len: contents.data_end,
            is_cut: contents.cut_at.is_some(),
            is_ours: contents.checksums.is_some(),
            groups,
            selection,
        })
    }

    /// Returns the uncompressed bytes of a row group, of the columns that are read.
    pub fn bytes(&self, group: usize) -> u64 {
        self.groups[group].chunks.iter().map(|chunk| chunk.uncompressed).sum()
    }

    /// Starts to read a row group. Verifies the checksums of the columns that are read first.
    pub fn batches(&self, group: usize, columns: Columns, batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let refused = |reason: String| Error::RowGroup { file: self.path.clone(), row_group: group, reason };
        let roots: Vec<usize> =
            (0..self.selection.columns.len()).filter(|column| self.selection.columns[*column].is_in(columns)).collect();
        let table = &self.groups[group];
        let read: Vec<(usize, &Chunk)> = table
            .chunks
            .iter()
            .enumerate()
            .filter(|(leaf, _)| roots.contains(&self.selection.schema.get_column_root_idx(*leaf)))
            .collect();
        let mut file = File::open(&self.path).map_err(Error::io(&self.path, "open it"))?;
        let source = if self.is_ours || read.iter().map(|(_, chunk)| chunk.len).sum::<u64>() <= READ_AT_ONCE {
            let ranges = read.iter().map(|(_, chunk)| (chunk.start, chunk.len)).collect();
            Source::load(&mut file, ranges).map_err(|error| refused(format!("cannot be read: {error}")))?
        } else {
            Source::File(Arc::new(file), self.len)
        };
        self.verify(&source, &read).map_err(refused)?;
        if !self.is_ours {
            read.iter().try_for_each(|(_, chunk)| check_pages(&source, chunk.start, chunk.len)).map_err(refused)?;
        }
        let build = || -> Result<_, ParquetError> {
            let metadata = ArrowReaderMetadata::try_new(
                Arc::new(self.metadata(table)?),
                ArrowReaderOptions::new().with_schema(self.selection.arrow.clone()),
            )?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata)
                .with_projection(ProjectionMask::roots(&self.selection.schema, roots))
                .with_batch_size(batch_rows)
                .build()
        };
        shield(build).map_err(|reason| refused(format!("cannot be decoded: {reason}")))
    }

    fn verify(&self, source: &Source, chunks: &[(usize, &Chunk)]) -> Result<(), String> {
        for (leaf, chunk) in chunks {
            let Some(expected) = chunk.checksum else { continue };
            let bytes = source.get_bytes(chunk.start, chunk.len as usize).map_err(|error| error.to_string())?;
            let found = crc32fast::hash(&bytes);
            if found != expected {
                let column = self.selection.schema.get_column_root(*leaf).name();
                return Err(format!(
                    "column {column} is damaged: its checksum is {found:08x} and was {expected:08x} when it was written"
                ));
            }
        }
        Ok(())
    }

    /// Returns the metadata of a row group for the Parquet crate, as if it were a file of its own.
    fn metadata(&self, table: &RowGroup) -> Result<ParquetMetaData, ParquetError> {
        let mut group = RowGroupMetaData::builder(self.selection.schema.clone()).set_num_rows(table.rows as i64);
        for (chunk, column) in table.chunks.iter().zip(self.selection.schema.columns()) {
            group = group.add_column_metadata(
                ColumnChunkMetaData::builder(column.clone())
                    .set_compression(chunk.compression)
                    .set_num_values(chunk.values)
                    .set_total_compressed_size(chunk.len as i64)
                    .set_total_uncompressed_size(chunk.uncompressed as i64)
                    .set_data_page_offset(chunk.data_page)
                    .set_dictionary_page_offset(chunk.dictionary_page)
                    .build()?,
            );
        }
        let file = FileMetaData::new(1, table.rows as i64, None, None, self.selection.schema.clone(), None);
        Ok(ParquetMetaData::new(file, vec![group.build()?]))
    }
}

/// Returns the locations of the row groups. All values that later computations use are validated here.
fn table(contents: &Contents, is_read: &[bool]) -> Result<Vec<RowGroup>, String> {
    let metadata = &contents.metadata;
    let columns = is_read.len();
    if contents.checksums.as_ref().is_some_and(|sums| sums.len() != columns * metadata.num_row_groups()) {
        return Err("is damaged: it has not as many checksums as column chunks".to_string());
    }
    let mut first_row = 0;
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let damaged = || format!("row group {index}: its description is damaged");
        let rows = u64::try_from(group.num_rows()).ok().filter(|rows| *rows < 1 << 40).ok_or_else(damaged)?;
        if group.num_columns() != columns {
            return Err(damaged());
        }
        let mut chunks = Vec::new();
        for (leaf, chunk) in group.columns().iter().enumerate().filter(|(leaf, _)| is_read[*leaf]) {
            if chunk.file_path().is_some() {
                return Err(format!("row group {index}: its data lies in another file, which is not supported"));
            }
            // Some writers use 0 for "none".
            let dictionary_page =
                chunk.dictionary_page_offset().filter(|page| (1..chunk.data_page_offset()).contains(page));
            let start = u64::try_from(dictionary_page.unwrap_or(chunk.data_page_offset())).map_err(|_| damaged())?;
            let len = u64::try_from(chunk.compressed_size()).map_err(|_| damaged())?;
            if start.checked_add(len).is_none_or(|end| end > contents.data_end) || chunk.num_values() < 0 {
                return Err(damaged());
            }
            chunks.push(Chunk {
                start,
                len,
                uncompressed: chunk.uncompressed_size().max(0) as u64,
                values: chunk.num_values(),
                data_page: chunk.data_page_offset(),
                dictionary_page,
                compression: chunk.compression(),
                checksum: contents.checksums.as_ref().map(|sums| sums[index * columns + leaf]),
            });
        }
        groups.push(RowGroup { first_row, rows, chunks });
        first_row += rows;
    }
    let told = metadata.file_metadata().num_rows();
    if contents.cut_at.is_none() && u64::try_from(told) != Ok(first_row) {
        return Err(format!("its footer is damaged: {told} rows in all, and {first_row} in its row groups"));
    }
    Ok(groups)
}
