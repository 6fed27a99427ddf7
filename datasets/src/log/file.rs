//! One file of a log: what its end says about it, and the bytes of its row groups.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::record::{self, Body, Chain, FOOTER_TAIL, Record, read_at};
use super::schema::{COLUMNS, Column, Columns, SCHEMA_VERSION};
use super::source::Source;
use crate::error::{Error, Result};

const PARQUET_MAGIC: &[u8] = b"PAR1";
/// A row group whose columns take no more than this is read in one go; a larger one of another tool, page by page.
const READ_AT_ONCE: u64 = 16 << 20;

/// A file of a log, of which only the end has been read.
pub(super) struct LogFile {
    pub path: PathBuf,
    len: u64,
    /// Whether it ends in the middle, so that its last row group may be lost.
    pub is_cut: bool,
    /// Whether we wrote it, with checksums; an episode then never straddles two row groups.
    pub is_ours: bool,
    pub groups: Vec<RowGroup>,
    /// The columns that are read, in the file's order.
    pub columns: Vec<&'static Column>,
    schema: SchemaDescPtr,
    arrow: SchemaRef,
}

/// Where a row group lies. The Parquet crate's own form takes ten times the memory, which a large log notices.
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

/// What the end of a file says.
pub(super) struct Contents {
    pub metadata: ParquetMetaData,
    /// One for each column chunk, in files that we wrote.
    pub checksums: Option<Vec<u32>>,
    /// The end of the last whole record, where the file is cut after it.
    pub cut_at: Option<u64>,
    /// Everything that belongs to row groups lies before this place.
    data_end: u64,
}

impl LogFile {
    pub fn open(path: &Path, columns: Columns) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path, "open it"))?;
        let contents = contents(path, &mut file)?;
        let metadata = contents.metadata.file_metadata();
        check_version(path, metadata)?;
        let found = find_columns(path, metadata.schema_descr(), columns)?;
        let refused = |error: ParquetError| Error::file(path, format!("its schema cannot be read: {error}"));
        let roots: Vec<_> =
            found.iter().map(|(root, _)| metadata.schema_descr().root_schema().get_fields()[*root].clone()).collect();
        let root = Type::group_type_builder("schema").with_fields(roots).build().map_err(refused)?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
        let arrow = arrow_schema(path, &schema, &found)?;
        let is_read: Vec<bool> = (0..metadata.schema_descr().num_columns())
            .map(|leaf| found.iter().any(|(root, _)| *root == metadata.schema_descr().get_column_root_idx(leaf)))
            .collect();
        let groups = table(&contents, &is_read).map_err(|reason| Error::file(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            len: contents.data_end,
            is_cut: contents.cut_at.is_some(),
            is_ours: contents.checksums.is_some(),
            groups,
            columns: found.into_iter().map(|(_, column)| column).collect(),
            schema,
            arrow,
        })
    }

    /// Bytes of a row group before compression, of the columns that are read.
    pub fn bytes(&self, group: usize) -> u64 {
        self.groups[group].chunks.iter().map(|chunk| chunk.uncompressed).sum()
    }

    /// Starts to read a row group. Checksums are verified first, of the columns that are read.
    pub fn batches(&self, group: usize, columns: Columns, batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let refused = |reason: String| Error::RowGroup { file: self.path.clone(), row_group: group, reason };
        let roots: Vec<usize> = (0..self.columns.len()).filter(|column| self.columns[*column].is_in(columns)).collect();
        let table = &self.groups[group];
        let read: Vec<(usize, &Chunk)> = table
            .chunks
            .iter()
            .enumerate()
            .filter(|(leaf, _)| roots.contains(&self.schema.get_column_root_idx(*leaf)))
            .collect();
        let mut file = File::open(&self.path).map_err(Error::io(&self.path, "open it"))?;
        let source = if self.is_ours || read.iter().map(|(_, chunk)| chunk.len).sum::<u64>() <= READ_AT_ONCE {
            let ranges = read.iter().map(|(_, chunk)| (chunk.start, chunk.len)).collect();
            Source::load(&mut file, ranges).map_err(|error| refused(format!("cannot be read: {error}")))?
        } else {
            Source::File(Arc::new(file), self.len)
        };
        self.verify(&source, &read).map_err(refused)?;
        let build = || {
            let metadata = ArrowReaderMetadata::try_new(
                Arc::new(self.metadata(table)?),
                ArrowReaderOptions::new().with_schema(self.arrow.clone()),
            )?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata)
                .with_projection(ProjectionMask::roots(&self.schema, roots))
                .with_batch_size(batch_rows)
                .build()
        };
        build().map_err(|error: ParquetError| refused(format!("cannot be decoded: {error}")))
    }

    fn verify(&self, source: &Source, chunks: &[(usize, &Chunk)]) -> Result<(), String> {
        use parquet::file::reader::ChunkReader;
        for (leaf, chunk) in chunks {
            let Some(expected) = chunk.checksum else { continue };
            let bytes = source.get_bytes(chunk.start, chunk.len as usize).map_err(|error| error.to_string())?;
            let found = crc32fast::hash(&bytes);
            if found != expected {
                let column = self.schema.get_column_root(*leaf).name();
                return Err(format!(
                    "column {column} is damaged: its checksum is {found:08x} and was {expected:08x} when it was written"
                ));
            }
        }
        Ok(())
    }

    /// A row group for the Parquet crate, as a file of its own.
    fn metadata(&self, table: &RowGroup) -> Result<ParquetMetaData, ParquetError> {
        let mut group = RowGroupMetaData::builder(self.schema.clone()).set_num_rows(table.rows as i64);
        for (chunk, column) in table.chunks.iter().zip(self.schema.columns()) {
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
        let file = FileMetaData::new(1, table.rows as i64, None, None, self.schema.clone(), None);
        Ok(ParquetMetaData::new(file, vec![group.build()?]))
    }
}

/// What a file holds: by its Parquet footer, or by its last whole record where it was cut off.
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
            None => {
                Err(Error::file(path, format!("{reason}, and no tool of Palestra wrote it, so it cannot be repaired")))
            }
        },
    }
}

/// The inner error says why there is no usable footer.
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
                return Ok(Err(
                    "its footer is damaged: its checksum is not what it was when it was written".to_string()
                ));
            }
            Some(checksums)
        }
        _ => None,
    };
    let metadata = match ParquetMetaDataReader::decode_metadata(&footer[..size as usize]) {
        Ok(metadata) => metadata,
        Err(error) => return Ok(Err(format!("its footer is damaged: {error}"))),
    };
    Ok(Ok(Contents { metadata, checksums, cut_at: None, data_end: start }))
}

/// A file without a usable footer. Where the seal and as many bytes as it tells of are there, the file is not cut but
/// damaged, and whoever has it should know.
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

fn check_version(path: &Path, metadata: &FileMetaData) -> Result<()> {
    let key_values = metadata.key_value_metadata().map_or(&[][..], Vec::as_slice);
    let version = key_values.iter().find(|pair| pair.key == "schema_version").and_then(|pair| pair.value.as_deref());
    match version {
        Some(version) if version != SCHEMA_VERSION => Err(Error::file(
            path,
            format!("schema_version {version}; this version of Palestra reads schema_version {SCHEMA_VERSION}"),
        )),
        _ => Ok(()),
    }
}

/// The columns to read, each with its place among the file's, in the file's order.
fn find_columns(path: &Path, schema: &SchemaDescriptor, columns: Columns) -> Result<Vec<(usize, &'static Column)>> {
    let names: Vec<&str> = schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
    let mut found = Vec::new();
    for column in COLUMNS.iter().filter(|column| column.is_in(columns)) {
        let refused = |reason| Error::Column { file: path.to_owned(), column: column.name, reason };
        let mut places = (0..names.len()).filter(|place| names[*place] == column.name);
        match (places.next(), places.next()) {
            (Some(place), None) => found.push((place, column)),
            (Some(_), Some(_)) => return Err(refused("there are two of that name".to_string())),
            (None, _) if column.need == super::schema::Need::Required => {
                let hint = match nearest(column.name, &names) {
                    Some(near) => format!("; rename {near}, if it is that"),
                    None => String::new(),
                };
                return Err(refused(format!("missing; every log needs it, {}{hint}", column.kind.wanted())));
            }
            (None, _) => {}
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found)
}

/// The name that may stand for a missing column: mistyped, shortened, or with something added.
fn nearest<'a>(column: &str, names: &[&'a str]) -> Option<&'a str> {
    let is_known = |name: &str| COLUMNS.iter().any(|column| column.name == name);
    names
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| (strsim::damerau_levenshtein(column, &name.to_lowercase()), *name))
        .filter(|(distance, name)| {
            let name = name.to_lowercase();
            *distance <= (column.len() / 3).max(2)
                || name.len() > 2 && (column.contains(&name) || name.contains(column))
        })
        .min()
        .map(|(_, name)| name)
}

/// The Arrow types to read: the file's own, with text as views, which do not copy it.
fn arrow_schema(path: &Path, schema: &SchemaDescriptor, columns: &[(usize, &'static Column)]) -> Result<SchemaRef> {
    let own = parquet_to_arrow_schema(schema, None)
        .map_err(|error| Error::file(path, format!("its schema cannot be read: {error}")))?;
    let mut fields = Vec::new();
    for (field, (_, column)) in own.fields().iter().zip(columns) {
        let found = field.data_type();
        if !column.accepts(found) {
            let reason = format!("is of type {found}; it should be {}", column.kind.wanted());
            return Err(Error::Column { file: path.to_owned(), column: column.name, reason });
        }
        let is_text = matches!(found, DataType::Utf8 | DataType::Binary);
        let kind = if is_text { DataType::Utf8View } else { found.clone() };
        fields.push(Field::new(field.name(), kind, field.is_nullable()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Where the row groups lie. Everything that is computed with later is checked here.
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
            // Some writers say 0 for "none".
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
