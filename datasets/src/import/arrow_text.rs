//! Values of Arrow columns as text: strings as they are, anything else as compact JSON.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::array_value_to_string;
use arrow_schema::DataType;
use serde_json::Value;

use crate::cells::{is_text, text_of};

/// Structure of values that Arrow stores flat, from Minari's metadata: which structs are tuples, and the shapes of
/// arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Space {
    /// Structs of named spaces.
    Dict(Vec<(String, Space)>),
    /// Structs whose fields are numbered.
    Tuple(Vec<Space>),
    /// Arrays of any number of dimensions, in row-major order.
    Array(Vec<usize>),
    /// Anything else, with the structure that Arrow gives.
    Plain,
}

impl Space {
    /// Parses the serialized form of a Gymnasium space.
    pub fn parse(space: &Value) -> Self {
        let subspaces = &space["subspaces"];
        match space["type"].as_str() {
            Some("Dict") => {
                let named = subspaces.as_object().into_iter().flatten();
                Self::Dict(named.map(|(name, space)| (name.clone(), Self::parse(space))).collect())
            }
            Some("Tuple") => Self::Tuple(subspaces.as_array().into_iter().flatten().map(Self::parse).collect()),
            Some("Box") => {
                let sizes = space["shape"].as_array().into_iter().flatten();
                Self::Array(sizes.filter_map(Value::as_u64).map(|size| size as usize).collect())
            }
            _ => Self::Plain,
        }
    }

    fn field(&self, name: &str) -> &Self {
        let found = match self {
            Self::Dict(named) => named.iter().find(|(known, _)| known == name).map(|(_, space)| space),
            Self::Tuple(spaces) => name.parse::<usize>().ok().and_then(|place| spaces.get(place)),
            _ => None,
        };
        found.unwrap_or(&Self::Plain)
    }
}

/// Returns the text of a row; `Err` names a type that is neither text nor representable as JSON.
pub(super) fn text_of_row(column: &ArrayRef, row: usize, space: &Space) -> Result<String, String> {
    match column.data_type() {
        kind if is_text(kind) && column.is_valid(row) => text(column, row),
        _ => {
            let mut json = String::new();
            write_json(&mut json, column, row, space)?;
            Ok(json)
        }
    }
}

fn write_json(json: &mut String, column: &ArrayRef, row: usize, space: &Space) -> Result<(), String> {
    if column.is_null(row) {
        json.push_str("null");
        return Ok(());
    }
    match column.data_type() {
        DataType::Struct(fields) => {
            let is_tuple = matches!(space, Space::Tuple(_));
            json.push(if is_tuple { '[' } else { '{' });
            for (place, (field, values)) in fields.iter().zip(column.as_struct().columns()).enumerate() {
                if place > 0 {
                    json.push(',');
                }
                if !is_tuple {
                    json.push_str(&Value::from(field.name().as_str()).to_string());
                    json.push(':');
                }
                write_json(json, values, row, space.field(field.name()))?;
            }
            json.push(if is_tuple { ']' } else { '}' });
        }
        DataType::FixedSizeList(..) => write_list(json, &column.as_fixed_size_list().value(row), space)?,
        DataType::List(_) => write_list(json, &column.as_list::<i32>().value(row), space)?,
        DataType::LargeList(_) => write_list(json, &column.as_list::<i64>().value(row), space)?,
        // NaN and infinity, which JSON does not have, become null.
        DataType::Float32 => json.push_str(&number(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => json.push_str(&number(column.as_primitive::<Float64Type>().value(row))),
        kind if kind.is_integer() || *kind == DataType::Boolean => json.push_str(&shown(column, row)?),
        kind if is_text(kind) => json.push_str(&Value::from(text(column, row)?).to_string()),
        DataType::Dictionary(_, values) if matches!(**values, DataType::Utf8 | DataType::LargeUtf8) => {
            json.push_str(&Value::from(shown(column, row)?).to_string());
        }
        other => return Err(format!("is of type {other}, which has no form as text")),
    }
    Ok(())
}

fn write_list(json: &mut String, values: &ArrayRef, space: &Space) -> Result<(), String> {
    let flat = [values.len()];
    let shape = match space {
        Space::Array(shape) if shape.iter().product::<usize>() == values.len() => shape.as_slice(),
        _ => &flat,
    };
    write_array(json, values, shape, &mut 0)
}

/// Writes the values from `next` on as nested lists of this shape, or as a single value if the shape has no dimensions.
fn write_array(json: &mut String, values: &ArrayRef, shape: &[usize], next: &mut usize) -> Result<(), String> {
    let Some((size, inner)) = shape.split_first() else {
        *next += 1;
        return write_json(json, values, *next - 1, &Space::Plain);
    };
    json.push('[');
    for place in 0..*size {
        if place > 0 {
            json.push(',');
        }
        write_array(json, values, inner, next)?;
    }
    json.push(']');
    Ok(())
}

fn number(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).expect("numbers are JSON")
}

fn text(column: &ArrayRef, row: usize) -> Result<String, String> {
    let text = text_of(column, row);
    text.map(Cow::into_owned).map_err(|reason| format!("holds bytes that are no text, as of a picture: {reason}"))
}

fn shown(column: &ArrayRef, row: usize) -> Result<String, String> {
    array_value_to_string(column, row).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float32Array, Int64Array, StringArray, StructArray};
    use serde_json::json;

    use super::*;

    fn column(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    #[test]
    fn text_is_as_it_is_and_inside_of_others_it_is_quoted() {
        let text = column(StringArray::from(vec!["a \"b\"\n"]));
        assert_eq!(text_of_row(&text, 0, &Space::Plain).unwrap(), "a \"b\"\n");
        let fields = StructArray::try_from(vec![("say", text), ("n", column(Int64Array::from(vec![-3])))]).unwrap();
        assert_eq!(text_of_row(&column(fields), 0, &Space::Plain).unwrap(), "{\"say\":\"a \\\"b\\\"\\n\",\"n\":-3}");
    }

    #[test]
    fn floats_have_their_own_digits() {
        let floats = column(Float32Array::from(vec![0.1, -2.0, f32::NAN]));
        let texts = [0, 1, 2].map(|row| text_of_row(&floats, row, &Space::Plain).unwrap());
        assert_eq!(texts, ["0.1", "-2.0", "null"]);
    }

    #[test]
    fn spaces_are_those_of_gymnasium() {
        let space = json!({"type": "Dict", "subspaces": {
            "grid": {"type": "Box", "shape": [2, 3]},
            "pair": {"type": "Tuple", "subspaces": [{"type": "Discrete"}, {"type": "Text"}]},
        }});
        let pair = Space::Tuple(vec![Space::Plain, Space::Plain]);
        let expected = vec![("grid".to_string(), Space::Array(vec![2, 3])), ("pair".to_string(), pair)];
        assert_eq!(Space::parse(&space), Space::Dict(expected));
    }
}
