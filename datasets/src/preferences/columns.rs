//! Arrow columns to JSON values and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};

type Columns = Map<String, Value>;

/// The rows of a batch; `Err` of a row names the column and says what is wrong there. Columns of types that have no form
/// as JSON are left out.
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
        cells
            .map(|(name, column)| match value_of(column, row) {
                Ok(value) => Ok(((*name).clone(), value)),
                Err(reason) => Err(((*name).clone(), reason)),
            })
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn has_json(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().all(|field| has_json(field.data_type())),
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            has_json(inner.data_type())
        }
        DataType::Dictionary(_, values) => has_json(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
        DataType::Float32 | DataType::Float64 | DataType::Null => true,
        kind => kind.is_integer(),
    }
}

fn value_of(column: &ArrayRef, row: usize) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |values: ArrayRef| (0..values.len()).map(|place| value_of(&values, place)).collect();
    match column.data_type() {
        DataType::Struct(fields) => {
            let cells = fields.iter().zip(column.as_struct().columns());
            let cells = cells.map(|(field, values)| Ok((field.name().clone(), value_of(values, row)?)));
            cells.collect::<Result<_, String>>().map(Value::Object)
        }
        DataType::List(_) => list(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row)),
        DataType::Float32 => number(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Ok(column.as_boolean().value(row).into()),
        DataType::Dictionary(_, values) => {
            let one = cast(&column.slice(row, 1), values).map_err(|error| error.to_string())?;
            value_of(&one, 0)
        }
        kind if kind.is_integer() => {
            let digits = array_value_to_string(column, row).map_err(|error| error.to_string())?;
            serde_json::from_str(&digits).map_err(|error| error.to_string())
        }
        _ => array_value_to_string(column, row).map(Value::from).map_err(|error| error.to_string()),
    }
}

fn number(value: f64) -> Result<Value, String> {
    serde_json::Number::from_f64(value).map(Value::Number).ok_or(format!("{value} where a finite number should be"))
}

/// Rows as a batch. A column's type is that of its values: all texts, all messages, all whole numbers, ...; what is of
/// several kinds is an error.
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
