use std::fs::File;
use std::io::{Seek, copy};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_cast::cast;
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::compressed::open;
use super::files::Compression;
use super::{Content, InputFile, Reading, Records, damaged};
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
        Compression::None => File::open(&input.path).map_err(|source| Error::io(&input.path, "open", source))?,
        // A Parquet file is read from its end, so it must be complete.
        _ => {
            let mut whole = tempfile::tempfile().map_err(|source| Error::io(std::env::temp_dir(), "write", source))?;
            copy(&mut open(input, &|_| ())?, &mut whole).map_err(|error| damaged(input, error))?;
            whole.rewind().map_err(|error| damaged(input, error))?;
            whole
        }
    };
    let (mut batches, rows) = shield(input, || start(file, input, settings))??;
    let mut row = 0;
    let mut told = 0;
    while let Some(batch) = shield(input, || batches.next())? {
        let batch = batch.map_err(|error| damaged(input, error))?;
        let column = cast(batch.column(0), &DataType::LargeBinary).map_err(|error| damaged(input, error))?;
        let texts = column.as_binary::<i64>();
        let is_text =
            !matches!(batch.column(0).data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        for index in 0..texts.len() {
            row += 1;
            let flow = if texts.is_null(index) {
                let column = &settings.read.text_column;
                let error = Error::Document {
                    file: records.file.to_string(),
                    place: format!(", row {row}"),
                    reason: format!("the column `{column}` is null; a text is right, or --skip-bad"),
                };
                records.send(row, Content::Bad(Failed::new(Rule::BadRow, error.to_string()), Some(error.into())), None)
            } else if texts.value(index).len() > settings.read.max_document_bytes {
                records.too_large(row, settings)
            } else {
                let bytes = texts.value(index).to_vec();
                let format = settings.read.column_format;
                let content = match String::from_utf8(bytes) {
                    Ok(text) if is_text => Content::Column(text, format),
                    Ok(text) => Content::Bytes(text.into_bytes(), format),
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

fn start(file: File, input: &InputFile, settings: &Settings) -> Result<(ParquetRecordBatchReader, i64)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(input, error))?;
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
    let rows = builder.metadata().file_metadata().num_rows();
    let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
    let batches = builder.with_projection(mask).with_batch_size(BATCH).build();
    batches.map(|batches| (batches, rows)).map_err(|error| damaged(input, error))
}

/// Runs code of the Parquet crate, which panics on some damaged files, and returns a panic as an error.
fn shield<T>(input: &InputFile, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| damaged(input, "its pages do not fit together"))
}
