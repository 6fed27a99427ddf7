//! Output files of a corpus: pairs of a training and a validation shard from the same segment of the input.
//!
//! A shard gets its name when all of it is on disk. Its bytes depend on its rows only, not on timing or
//! the number of threads.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use palestra_files::AtomicFile;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::clean::CleanText;
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::tally::{Original, excerpt};

/// A finished shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The file name in the folder of the corpus.
    pub name: String,
    /// Number of rows.
    pub documents: u64,
    /// Bytes of the texts.
    pub text_bytes: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
}

/// A row of a shard.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub clean: CleanText,
    pub source: Arc<str>,
    pub row: u64,
    pub provenance: Provenance,
    pub validation: bool,
}

/// Writer of the pairs of shards, one after the other.
pub(crate) struct ShardWriter {
    folder: PathBuf,
    zstd_level: i32,
    number: usize,
    train: Open,
    validation: Open,
}

/// A shard that is being written.
struct Open {
    split: &'static str,
    writer: Option<(ArrowWriter<AtomicFile>, PathBuf)>,
    pending: Vec<Row>,
    pending_bytes: usize,
    group_bytes: usize,
    documents: u64,
    text_bytes: u64,
}

/// Limits of a batch for Parquet, in rows and bytes of text, and of a row group in bytes of text.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;
const GROUP_BYTES: usize = 16 << 20;

impl ShardWriter {
    /// Creates a writer whose next pair has this number.
    pub fn new(folder: &Path, number: usize, zstd_level: i32) -> Self {
        Self {
            folder: folder.to_owned(),
            zstd_level,
            number,
            train: Open::new("train"),
            validation: Open::new("validation"),
        }
    }

    pub fn write(&mut self, row: Row) -> Result<()> {
        let shard = if row.validation { &mut self.validation } else { &mut self.train };
        shard.pending_bytes += row.clean.text.len();
        shard.pending.push(row);
        if shard.pending.len() == BATCH_ROWS || shard.pending_bytes >= BATCH_BYTES {
            shard.write_pending(&self.folder, self.number, self.zstd_level)?;
        }
        Ok(())
    }

    /// Closes the pair: shards with rows get their names, and are on disk.
    pub fn seal(&mut self) -> Result<Vec<Shard>> {
        let mut shards = Vec::new();
        for open in [&mut self.train, &mut self.validation] {
            open.write_pending(&self.folder, self.number, self.zstd_level)?;
            shards.extend(open.close(self.number)?);
        }
        self.number += 1;
        Ok(shards)
    }
}

impl Open {
    fn new(split: &'static str) -> Self {
        Self { split, writer: None, pending: Vec::new(), pending_bytes: 0, group_bytes: 0, documents: 0, text_bytes: 0 }
    }

    fn write_pending(&mut self, folder: &Path, number: usize, zstd_level: i32) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.writer.is_none() {
            let path = folder.join(name(self.split, number));
            let writer = ArrowWriter::try_new(AtomicFile::create(&path)?, schema(), Some(properties(zstd_level)));
            self.writer = Some((writer.map_err(|error| failed(&path, error))?, path));
        }
        let (writer, path) = self.writer.as_mut().expect("it was opened");
        writer.write(&batch(&self.pending, self.split)).map_err(|error| failed(path, error))?;
        self.documents += self.pending.len() as u64;
        self.text_bytes += self.pending_bytes as u64;
        self.group_bytes += self.pending_bytes;
        if self.group_bytes >= GROUP_BYTES {
            writer.flush().map_err(|error| failed(path, error))?;
            self.group_bytes = 0;
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    fn close(&mut self, number: usize) -> Result<Option<Shard>> {
        let split = self.split;
        let Self { writer: Some((writer, path)), documents, text_bytes, .. } =
            std::mem::replace(self, Self::new(split))
        else {
            return Ok(None);
        };
        writer.into_inner().map_err(|error| failed(&path, error))?.commit()?;
        let file_bytes = fs::metadata(&path).map_err(|source| Error::io(&path, "look at", source))?.len();
        Ok(Some(Shard { name: name(split, number), documents, text_bytes, file_bytes }))
    }
}

/// Formats the id of a text: its hash in hexadecimal.
pub(crate) fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// Reads the texts of finished shards with their languages, in order.
pub(crate) fn read_back(folder: &Path, shards: &[Shard], mut each: impl FnMut(u64, &str, &str)) -> Result<()> {
    for shard in shards {
        let path = folder.join(&shard.name);
        let batches = open(&path, &["id", "text", "language"], None)?;
        for batch in batches {
            let batch = batch.map_err(|error| failed(&path, error))?;
            let column = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>().clone());
            let (Some(ids), Some(texts), Some(languages)) = (column("id"), column("text"), column("language")) else {
                return Err(failed(&path, "its columns are not those of a shard"));
            };
            for row in 0..batch.num_rows() {
                let id = u64::from_str_radix(ids.value(row), 16).map_err(|error| failed(&path, error))?;
                each(id, texts.value(row), languages.value(row));
            }
        }
    }
    Ok(())
}

/// Reads the documents of these ids as originals for the report. Only their rows are read in full.
pub(crate) fn look_up(folder: &Path, shards: &[Shard], ids: &[String]) -> Result<HashMap<String, Original>> {
    let mut found = HashMap::new();
    for shard in shards {
        let path = folder.join(&shard.name);
        let mut row = 0;
        let mut rows = Vec::new();
        for batch in open(&path, &["id"], None)? {
            let batch = batch.map_err(|error| failed(&path, error))?;
            let column = batch.column(0).as_string::<i32>();
            rows.extend((0..column.len()).filter(|at| ids.iter().any(|id| id == column.value(*at))).map(|at| row + at));
            row += column.len();
        }
        for row in rows {
            for batch in open(&path, &["id", "text", "source", "row"], Some(row))? {
                let batch = batch.map_err(|error| failed(&path, error))?;
                let text =
                    |name: &str| batch.column_by_name(name).map_or("", |column| column.as_string::<i32>().value(0));
                let row = batch.column_by_name("row").map_or(0, |rows| rows.as_primitive::<UInt64Type>().value(0));
                let id = text("id").to_string();
                let original =
                    Original { id: id.clone(), source: text("source").into(), row, excerpt: excerpt(text("text")) };
                found.insert(id, original);
            }
        }
    }
    Ok(found)
}

fn open(
    path: &Path,
    columns: &[&str],
    row: Option<usize>,
) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader> {
    let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(path, error))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let builder = builder.with_projection(mask).with_batch_size(256);
    let builder = match row {
        Some(row) => builder.with_offset(row).with_limit(1),
        None => builder,
    };
    builder.build().map_err(|error| failed(path, error))
}

fn name(split: &str, number: usize) -> String {
    format!("{split}-{number:05}.parquet")
}

/// True if a shard can have this file name.
pub(crate) fn is_shard_name(name: &str) -> bool {
    let number = name.strip_suffix(".parquet").and_then(|name| name.rsplit_once('-'));
    number.is_some_and(|(split, number)| {
        matches!(split, "train" | "validation") && number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Output(format!("{}: {error}", path.display()))
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("language", DataType::Utf8, false),
        Field::new("language_confidence", DataType::Float32, false),
        Field::new("words", DataType::UInt32, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("url", DataType::Utf8, true),
        Field::new("date", DataType::Utf8, true),
        Field::new("identified_languages", DataType::Utf8, true),
        Field::new("robots", DataType::Utf8, true),
        Field::new("license", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[Row], split: &str) -> RecordBatch {
    let strings =
        |text: &dyn Fn(&Row) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(text))) };
    let told = |text: fn(&Provenance) -> &Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(|row| text(&row.provenance).as_deref())))
    };
    let columns: Vec<ArrayRef> = vec![
        strings(&|row| id_text(row.clean.id)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.clean.text))),
        strings(&|row| row.source.to_string()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.row))),
        strings(&|row| row.clean.language.to_string()),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.clean.confidence))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.clean.words))),
        strings(&|_| split.to_string()),
        told(|of| &of.url),
        told(|of| &of.date),
        told(|of| &of.identified_languages),
        told(|of| &of.robots),
        told(|of| &of.license),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema")
}

fn properties(zstd_level: i32) -> WriterProperties {
    let level = ZstdLevel::try_new(zstd_level).expect("the settings were checked");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Texts and ids are all distinct, so a dictionary of them only costs time.
    for column in ["id", "text"] {
        let path = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    properties.build()
}
