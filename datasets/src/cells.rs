//! Conversion of Arrow cells to JSON values, used by every reader of Parquet files from other tools.
//!
//! A field of a struct that is null is left out: the rows of a column share the fields of all of them, so that most are
//! null. The content of a message is kept, since null is a content that chat templates know.
//! A number keeps its shortest decimal digits. JSON has no NaN and no infinity, and null would read as a missing value,
//! so they are refused. Types without a JSON form, such as times, are refused too, and bytes that are no UTF-8: nothing
//! else tells text from other bytes ([`crate::unchecked`]).

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_cast::display::array_value_to_string;
use arrow_schema::DataType;
use serde_json::{Map, Number, Value};

/// True if values of a type have a JSON form.
pub(crate) fn has_json(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().all(|field| has_json(field.data_type())),
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            has_json(inner.data_type())
        }
        DataType::Dictionary(_, values) => has_json(values),
        DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::Null => true,
        kind if is_text(kind) => true,
        kind => kind.is_integer(),
    }
}

/// Returns the value of a row; `Err` names what has no JSON form.
pub(crate) fn value_of(column: &ArrayRef, row: usize) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let shown = || array_value_to_string(column, row).map_err(|error| error.to_string());
    let list = |values: ArrayRef| (0..values.len()).map(|place| value_of(&values, place)).collect();
    match column.data_type() {
        DataType::Struct(fields) => {
            let cells = fields.iter().zip(column.as_struct().columns());
            let cells = cells.map(|(field, values)| Ok((field.name().clone(), value_of(values, row)?)));
            let mut object = cells.collect::<Result<Map<String, Value>, String>>()?;
            let is_message = object.contains_key("role");
            object.retain(|name, value| !value.is_null() || is_message && name == "content");
            Ok(Value::Object(object))
        }
        DataType::List(_) => list(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row)),
        // Converted by its decimal digits, so that 0.1 in 32 bits becomes 0.1 and not 0.10000000149.
        DataType::Float32 => number(column.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Boolean => Ok(column.as_boolean().value(row).into()),
        DataType::Dictionary(_, values) => {
            let one = cast(&column.slice(row, 1), values).map_err(|error| error.to_string())?;
            value_of(&one, 0)
        }
        kind if is_text(kind) => text_of(column, row).map(Value::from),
        kind if kind.is_integer() => serde_json::from_str(&shown()?).map_err(|error| error.to_string()),
        other => Err(format!("is of type {other}, which has no form as JSON")),
    }
}

/// True for types of text, and of bytes, which may be text.
pub(crate) fn is_text(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(kind, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
}

/// Returns the text of a row in a column for which [`is_text`]; `Err` names the byte that is no UTF-8.
pub(crate) fn text_of(column: &ArrayRef, row: usize) -> Result<Cow<'_, str>, String> {
    let bytes = match column.data_type() {
        DataType::Utf8 => return Ok(column.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => return Ok(column.as_string::<i64>().value(row).into()),
        DataType::Utf8View => return Ok(column.as_string_view().value(row).into()),
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        _ => column.as_binary_view().value(row),
    };
    utf8(bytes).map(Cow::Borrowed)
}

/// Returns bytes as text; `Err` names the byte that is no UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        format!("byte {at} of {} ({:#04x}) is no UTF-8; a text in UTF-8 is right", bytes.len(), bytes[at])
    })
}

fn number(digits: String) -> Result<Value, String> {
    let finite = digits.parse().ok().and_then(Number::from_f64);
    finite.map(Value::Number).ok_or_else(|| format!("{digits} where a finite number should be"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::{Int32Type, Int64Type};
    use arrow_array::{
        BinaryArray, Date32Array, DictionaryArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
        StructArray,
    };
    use serde_json::json;

    use super::*;

    fn values(array: impl Array + 'static) -> Vec<Result<Value, String>> {
        let column: ArrayRef = Arc::new(array);
        (0..column.len()).map(|row| value_of(&column, row)).collect()
    }

    #[test]
    fn cells_are_what_json_makes_of_them() {
        let found = values(Float32Array::from(vec![Some(0.1), None, Some(-2.0)]));
        assert_eq!(found, [Ok(json!(0.1)), Ok(Value::Null), Ok(json!(-2.0))]);
        assert_eq!(values(Int64Array::from(vec![i64::MIN])), [Ok(json!(i64::MIN))]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        assert_eq!(values(lists), [Ok(json!([1, null])), Ok(Value::Null)]);
        let names: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        assert_eq!(values(names), ["a", "b", "a"].map(|name| Ok(json!(name))));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a \"b\"\n"]));
        let fields = StructArray::try_from(vec![("say", text)]).unwrap();
        assert_eq!(values(fields), [Ok(json!({"say": "a \"b\"\n"}))]);
    }

    #[test]
    fn nulls_of_structs_are_left_out_but_for_the_content_of_a_message() {
        let text = |values: [Option<&str>; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        let arguments = [("city", text([Some("Paris"), None])), ("city2", text([None, Some("Rome")]))];
        assert_eq!(
            values(StructArray::try_from(arguments.to_vec()).unwrap()),
            [Ok(json!({"city": "Paris"})), Ok(json!({"city2": "Rome"}))]
        );
        let role = text([Some("assistant"), Some("tool")]);
        let message = [("role", role), ("content", text([None, Some("7")])), ("name", text([None, Some("add")]))];
        assert_eq!(
            values(StructArray::try_from(message.to_vec()).unwrap()),
            [
                Ok(json!({"role": "assistant", "content": null})),
                Ok(json!({"role": "tool", "content": "7", "name": "add"}))
            ]
        );
    }

    #[test]
    fn what_json_does_not_know_is_refused() {
        let refused = |reason: &str| Err(reason.to_string());
        let found = values(Float64Array::from(vec![f64::NAN, f64::INFINITY]));
        assert_eq!(found, ["NaN", "inf"].map(|it| refused(&format!("{it} where a finite number should be"))));
        let bytes = BinaryArray::from_vec(vec!["a蛇".as_bytes(), b"caf\xe9"]);
        let reason = "byte 3 of 4 (0xe9) is no UTF-8; a text in UTF-8 is right";
        assert_eq!(values(bytes), [Ok(json!("a蛇")), refused(reason)]);
        let days = Date32Array::from(vec![1]);
        assert!(!has_json(days.data_type()));
        assert_eq!(values(days), [refused("is of type Date32, which has no form as JSON")]);
    }
}
