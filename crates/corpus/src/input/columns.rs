use std::fs::File;
use std::io::{Seek, copy};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Field, Schema};
use palestra_datasets::bounds::{check_file_footer, check_pages_of};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::compressed::open;
use super::files::Compression;
use super::{Content, InputFile, Reading, Records, damaged, unreadable};
use crate::clean::no_column;
use crate::error::{Error, Result};
use crate::rule::{Failed, Rule};
use crate::settings::Settings;

/// Number of rows decoded at a time: small, since a row may hold a book.
const BATCH: usize = 64;

/// Sends the texts of a column of a Parquet file, row by row.
pub(super) fn read_parquet(
    input: &InputFile,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    records: &mut Records<'_>,
) -> Reading {
    let file = match input.compression {
        Compression::None if input.object.is_none() => {
            File::open(&input.path).map_err(|source| Error::io(&input.path, "open", source))?
        }
        // A Parquet file is read from its end, so it must be complete and here.
        _ => {
            let mut whole = tempfile::tempfile().map_err(|source| Error::io(std::env::temp_dir(), "write", source))?;
            copy(&mut open(input, &|_| ())?.reader, &mut whole).map_err(|error| unreadable(input, error))?;
            whole.rewind().map_err(|error| damaged(input, error))?;
            whole
        }
    };
    let Column { mut batches, rows, is_text } = shield(input, || start(file, input, settings))??;
    let mut row = 0;
    let mut told = 0;
    while let Some(batch) = shield(input, || batches.next())? {
        let batch = batch.map_err(|error| damaged(input, error))?;
        let texts = batch.column(0).as_binary::<i64>();
        for index in 0..texts.len() {
            row += 1;
            let bad = |problem: String| {
                let column = &settings.read.text_column;
                let reason = format!("the column `{column}` {problem}; a text is right, or --skip-bad");
                let error =
                    Error::Document { file: input.path.display().to_string(), place: format!(", row {row}"), reason };
                Content::Bad(Failed::new(Rule::BadRow, error.to_string()), Some(error.into()))
            };
            let flow = if texts.is_null(index) {
                records.send(row, bad("is null".to_string()), None)
            } else if texts.value(index).len() > settings.read.max_document_bytes {
                records.too_large(row, settings)
            } else {
                let bytes = texts.value(index).to_vec();
                let format = settings.read.column_format;
                let content = match String::from_utf8(bytes) {
                    Ok(text) if is_text => Content::Column(text, format),
                    Ok(text) => Content::Bytes(text.into_bytes(), format),
                    Err(error) if is_text => {
                        let at = error.utf8_error().valid_up_to();
                        bad(format!("is marked as text, and its byte {at} ({:#04x}) is no UTF-8", error.as_bytes()[at]))
                    }
                    Err(error) => Content::Bytes(error.into_bytes(), format),
                };
                records.send(row, content, None)
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        let share = (row as f64 / rows.max(1) as f64 * input.bytes as f64) as u64;
        on_bytes(share - told);
        told = share;
    }
    Ok(ControlFlow::Continue(()))
}

/// The text column of a file.
struct Column {
    /// Batches of that column as bytes.
    batches: ParquetRecordBatchReader,
    rows: i64,
    /// True if the file says that it is text, right or wrong.
    is_text: bool,
}

fn start(file: File, input: &InputFile, settings: &Settings) -> Result<Column> {
    let refused = |reason: String| damaged(input, reason);
    let footer = check_file_footer(&file).map_err(|source| Error::io(&input.path, "read", source))?;
    footer.map_err(refused)?;
    let builder = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| damaged(input, error))?;
    let column = &settings.read.text_column;
    let name = || input.path.display().to_string();
    let names: Vec<&str> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let Some(index) = names.iter().position(|name| name == column) else {
        return Err(Error::Document { file: name(), place: String::new(), reason: no_column(column, &names) });
    };
    let kind = builder.schema().field(index).data_type();
    let value = if let DataType::Dictionary(_, value) = kind { value } else { kind };
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    if !matches!(value, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView) {
        let reason = format!("the column `{column}` holds {kind}; texts are right");
        return Err(Error::Document { file: name(), place: String::new(), reason });
    }
    let is_text = !matches!(value, Binary | LargeBinary | BinaryView);
    let of_file = builder.metadata().file_metadata();
    let is_read = |leaf: usize| of_file.schema_descr().get_column_root_idx(leaf) == index;
    check_pages_of(&file, builder.metadata(), is_read).map_err(refused)?;
    let rows = of_file.num_rows();
    let batches = as_bytes(file, builder.metadata(), index).map_err(|error| damaged(input, error))?;
    Ok(Column { batches, rows, is_text })
}

/// Reads a column as bytes, whatever the file says that it is: the Parquet crate takes its word for text in places.
fn as_bytes(file: File, metadata: &ParquetMetaData, index: usize) -> Result<ParquetRecordBatchReader, ParquetError> {
    let of_file = metadata.file_metadata();
    let root = of_file.schema_descr().root_schema();
    let mut fields = root.get_fields().to_vec();
    let column = &fields[index];
    let bytes = Type::primitive_type_builder(column.name(), column.get_physical_type())
        .with_repetition(column.get_basic_info().repetition());
    fields[index] = Arc::new(bytes.build()?);
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let mut arrow = parquet_to_arrow_schema(&schema, None)?.fields().to_vec();
    arrow[index] = Arc::new(Field::clone(&arrow[index]).with_data_type(DataType::LargeBinary));
    let mask = ProjectionMask::roots(&schema, [index]);
    let of_file = FileMetaData::new(of_file.version(), of_file.num_rows(), None, None, schema, None);
    let metadata = ParquetMetaData::new(of_file, metadata.row_groups().to_vec());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(arrow)));
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    builder.with_projection(mask).with_batch_size(BATCH).build()
}

/// Runs code of the Parquet crate, which panics on some damaged files, and returns a panic as an error.
fn shield<T>(input: &InputFile, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| damaged(input, "its pages do not fit together"))
}
