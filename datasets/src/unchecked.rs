//! Opening of Parquet files whose text is not believed to be UTF-8.
//!
//! Writers store text as bytes without a mark, and bytes that are no text under the mark of one; Arrow's schema inside
//! of a file may call either text. The Parquet crate takes their word in places, and then holds strings that are none.
//! Files are therefore read as if nothing in them were text; who needs text checks it, cell by cell.

use std::fs::File;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::{BasicTypeInfo, SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use crate::bounds::{check_file_footer, check_pages_of};

/// Opens a file. All its text and bytes are read as [`DataType::BinaryView`].
pub(crate) fn open(file: File) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    check_file_footer(&file)?.map_err(ParquetError::General)?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
    check_pages_of(&file, &metadata, |_| true).map_err(ParquetError::General)?;
    let of_file = metadata.file_metadata();
    let schema = without_marks(of_file.schema_descr().root_schema())?;
    let arrow = with_views(&parquet_to_arrow_schema(&schema, None)?);
    let created_by = of_file.created_by().map(str::to_string);
    let of_file = FileMetaData::new(of_file.version(), of_file.num_rows(), created_by, None, schema, None);
    let metadata = ParquetMetaData::new(of_file, metadata.row_groups().to_vec());
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new().with_schema(arrow))?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata))
}

/// Returns a schema in which no column is marked as text.
pub(crate) fn without_marks(root: &Type) -> Result<SchemaDescPtr> {
    let fields = root.get_fields().iter().map(without_mark).collect::<Result<_>>()?;
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

/// Returns a schema with all text and bytes as views, which have no limit of size and avoid copies.
pub(crate) fn with_views(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(fields_with_views(schema.fields())))
}

fn without_mark(of: &TypePtr) -> Result<TypePtr> {
    let info = of.get_basic_info();
    if of.is_group() {
        let fields = of.get_fields().iter().map(without_mark).collect::<Result<_>>()?;
        let group = Type::group_type_builder(of.name())
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields);
        return group.build().map(Arc::new);
    }
    if of.get_physical_type() != PhysicalType::BYTE_ARRAY || !is_marked(info) {
        return Ok(of.clone());
    }
    let bytes = Type::primitive_type_builder(of.name(), PhysicalType::BYTE_ARRAY).with_repetition(info.repetition());
    bytes.build().map(Arc::new)
}

fn is_marked(info: &BasicTypeInfo) -> bool {
    matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Json | LogicalType::Enum))
        || matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM)
}

fn fields_with_views(fields: &Fields) -> Fields {
    fields.iter().map(field_with_views).collect()
}

fn field_with_views(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(inner) => DataType::List(field_with_views(inner)),
        DataType::LargeList(inner) => DataType::LargeList(field_with_views(inner)),
        DataType::FixedSizeList(inner, size) => DataType::FixedSizeList(field_with_views(inner), *size),
        DataType::Map(entries, is_sorted) => DataType::Map(field_with_views(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields_with_views(fields)),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}
