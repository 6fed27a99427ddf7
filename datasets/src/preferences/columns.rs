//! Conversion between batches of Arrow columns and rows of JSON values.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields};
use serde_json::{Map, Value};

use crate::cells::{has_json, value_of};

type Columns = Map<String, Value>;

/// Columns whose bytes must be text. Others, such as images, are left out if they are not.
const TEXTS: [&str; 14] = [
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "completions",
    "input",
    "preferred_output",
    "non_preferred_output",
    "summaries",
    "info",
    "question",
    "answer_0",
    "answer_1",
    "annotator",
];

/// Returns the rows of a batch; `Err` of a row names the column and the problem. Columns of types without a JSON form
/// are left out: data sets contain dates and images beside the preference data.
pub(super) fn rows_of(batch: &RecordBatch) -> Vec<Result<Columns, (String, String)>> {
    let schema = batch.schema();
    let columns: Vec<(&String, &ArrayRef)> = schema
        .fields()
        .iter()
        .map(|field| field.name())
        .zip(batch.columns())
        .filter(|(_, column)| has_json(column.data_type()))
        .collect();
    let row = |row: usize| {
        let cells = columns.iter().filter(|(_, column)| column.is_valid(row));
        let values = cells.filter_map(|(name, column)| match value_of(column, row) {
            Ok(value) => Some(Ok(((*name).clone(), value))),
            Err(_) if holds_bytes(column.data_type()) && !TEXTS.contains(&name.as_str()) => None,
            Err(reason) => Some(Err(((*name).clone(), reason))),
        });
        values.collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn holds_bytes(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| holds_bytes(field.data_type())),
        DataType::List(inner) => holds_bytes(inner.data_type()),
        kind => *kind == DataType::BinaryView,
    }
}

/// Returns rows as a batch. A column's type is that of its values: all texts, all messages, all whole numbers, ...;
/// mixed types are an error.
pub(super) fn batch_of(names: &[String], rows: &[Columns]) -> Result<RecordBatch, ArrowError> {
    let columns = names.iter().map(|name| {
        let values: Vec<&Value> = rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect();
        let array =
            array_of(&values).map_err(|reason| ArrowError::InvalidArgumentError(format!("column {name} {reason}")))?;
        Ok((name, array, true))
    });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

fn array_of(values: &[&Value]) -> Result<ArrayRef, String> {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || is(value));
    if all(Value::is_string) {
        return Ok(Arc::new(values.iter().map(|value| value.as_str()).collect::<StringArray>()));
    }
    if all(Value::is_boolean) {
        return Ok(Arc::new(values.iter().map(|value| value.as_bool()).collect::<BooleanArray>()));
    }
    if all(Value::is_i64) {
        return Ok(Arc::new(values.iter().map(|value| value.as_i64()).collect::<Int64Array>()));
    }
    if all(Value::is_number) {
        return Ok(Arc::new(values.iter().map(|value| value.as_f64()).collect::<Float64Array>()));
    }
    if all(Value::is_array) {
        let lengths = values.iter().map(|value| value.as_array().map_or(0, Vec::len));
        let inner: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        let array = array_of(&inner)?;
        let field = Arc::new(Field::new_list_field(array.data_type().clone(), true));
        let valid = values.iter().map(|value| value.is_array()).collect::<Vec<bool>>().into();
        let list = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), array, Some(valid));
        return list.map(|list| Arc::new(list) as ArrayRef).map_err(|error| error.to_string());
    }
    if all(Value::is_object) {
        let mut names: Vec<&String> = Vec::new();
        for name in values.iter().filter_map(|value| value.as_object()).flat_map(Map::keys) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let field_of = |name: &String| {
            let array = array_of(&values.iter().map(|value| &value[name.as_str()]).collect::<Vec<_>>())?;
            Ok((Field::new(name, array.data_type().clone(), true), array))
        };
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
            names.iter().map(|name| field_of(name)).collect::<Result<Vec<_>, String>>()?.into_iter().unzip();
        let valid = values.iter().map(|value| value.is_object()).collect::<Vec<bool>>().into();
        let array = StructArray::try_new(Fields::from(fields), arrays, Some(valid));
        return array.map(|array| Arc::new(array) as ArrayRef).map_err(|error| error.to_string());
    }
    Err("holds values of several kinds, such as texts beside messages; Parquet columns have one type, so write .jsonl"
        .to_string())
}
