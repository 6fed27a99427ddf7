//! Whole numbers of more than 64 bits, which would lose digits as numbers: ids that are hashes, for example.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Puts the digits of a field's long whole number in its place, as a text. `Err` says that one stands deeper inside.
pub(super) fn keep_long(row: &mut Map<String, Value>, text: &[u8]) -> Result<(), String> {
    if !row.values().any(may_be_long) {
        return Ok(());
    }
    let (mut depth, mut name, mut at) = (0, String::new(), 0);
    // The digits in a field of the row, or the reason against those deeper inside. Of a name that is there twice the last counts.
    let mut long: BTreeMap<String, Result<String, String>> = BTreeMap::new();
    while at < text.len() {
        let rest = &text[at..];
        let length = match rest[0] {
            b'"' => {
                let length = length_of_string(rest);
                if depth == 1 && rest[length..].trim_ascii_start().starts_with(b":") {
                    name = serde_json::from_slice(&rest[..length]).unwrap_or_default();
                    long.remove(&name);
                }
                length
            }
            b'{' | b'[' => {
                depth += 1;
                1
            }
            b'}' | b']' => {
                depth -= 1;
                1
            }
            b'-' | b'0'..=b'9' => {
                let digits = rest.iter().take_while(|byte| b"0123456789+-.eE".contains(byte)).count();
                let number = String::from_utf8_lossy(&rest[..digits]);
                if is_long(&number) {
                    let found = match depth {
                        1 => Ok(number.into_owned()),
                        _ => Err(format!("{number} is a whole number of more than 64 bits; write it as a text")),
                    };
                    long.insert(name.clone(), found);
                }
                digits
            }
            _ => 1,
        };
        at += length;
    }
    for (name, found) in long {
        if let Some(value) = row.get_mut(&name).filter(|value| may_be_long(value)) {
            *value = Value::from(found?);
        }
    }
    Ok(())
}

/// True if there is a number that a long whole number may have become.
fn may_be_long(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64() && number.as_f64().is_some_and(|number| number.abs() >= 2f64.powi(63)),
        Value::Array(values) => values.iter().any(may_be_long),
        Value::Object(fields) => fields.values().any(may_be_long),
        _ => false,
    }
}

fn is_long(number: &str) -> bool {
    !number.contains(['.', 'e', 'E']) && number.parse::<u64>().is_err() && number.parse::<i64>().is_err()
}

/// Returns the length of a valid string with its quotes.
fn length_of_string(text: &[u8]) -> usize {
    let mut at = 1;
    while text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}
