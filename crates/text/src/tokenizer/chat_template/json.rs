//! The filter `tojson` of chat templates: JSON as Python's `json.dumps` lays it out, without HTML escapes.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::python::{Arguments, bind, float};

/// Layout of JSON, by the parameters of `json.dumps`.
struct Layout {
    /// Text of one level of indentation; `None`: all on one line.
    indent: Option<String>,
    between_items: String,
    after_keys: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

/// Returns a value as JSON. The parameters are those of transformers' filter, in their order.
pub(super) fn tojson(value: Value, options: Arguments) -> Result<String, Error> {
    let [ensure_ascii, indent, separators, sort_keys] =
        bind(&options.into_values(), ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        Some(text) if text.as_str().is_some() => Some(text.to_string()),
        Some(spaces) => Some(" ".repeat(usize::try_from(spaces)?)),
        None => None,
    };
    let comma = if indent.is_some() { "," } else { ", " };
    let (between_items, after_keys) = match separators {
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
        None => (comma.to_string(), ": ".to_string()),
    };
    let is_true = |option: Option<Value>| option.is_some_and(|value| value.is_true());
    let (ensure_ascii, sort_keys) = (is_true(ensure_ascii), is_true(sort_keys));
    let mut json = String::new();
    Layout { indent, between_items, after_keys, ensure_ascii, sort_keys }.write(&mut json, &value, 0)?;
    Ok(json)
}

impl Layout {
    fn write(&self, json: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => json.push_str("null"),
            ValueKind::Bool => json.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => json.push_str(&number(value)),
            ValueKind::String => self.write_text(json, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect::<Vec<_>>();
                self.write_all(json, ['[', ']'], depth, &items, |json, item| self.write(json, item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    let text = match key.kind() {
                        ValueKind::String => key.to_string(),
                        ValueKind::None => "null".to_string(),
                        ValueKind::Bool => key.to_string().to_lowercase(),
                        _ => number(&key),
                    };
                    items.push((text, value.get_item(&key)?));
                }
                if self.sort_keys {
                    items.sort_by(|left, right| left.0.cmp(&right.0));
                }
                self.write_all(json, ['{', '}'], depth, &items, |json, (key, item)| {
                    self.write_text(json, key);
                    json.push_str(&self.after_keys);
                    self.write(json, item, depth + 1)
                })?;
            }
            kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} has no form in JSON"))),
        }
        Ok(())
    }

    fn write_all<T>(
        &self,
        json: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: &[T],
        mut write: impl FnMut(&mut String, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let break_line = |json: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                json.push('\n');
                json.push_str(&indent.repeat(depth));
            }
        };
        json.push(open);
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                json.push_str(&self.between_items);
            }
            break_line(json, depth + 1);
            write(json, item)?;
        }
        if !items.is_empty() {
            break_line(json, depth);
        }
        json.push(close);
        Ok(())
    }

    fn write_text(&self, json: &mut String, text: &str) {
        json.push('"');
        for character in text.chars() {
            match character {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                '\n' => json.push_str("\\n"),
                '\r' => json.push_str("\\r"),
                '\t' => json.push_str("\\t"),
                '\u{8}' => json.push_str("\\b"),
                '\u{c}' => json.push_str("\\f"),
                ' '..='~' => json.push(character),
                '\u{80}'.. | '\u{7f}' if !self.ensure_ascii => json.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(json, "\\u{unit:04x}");
                    }
                }
            }
        }
        json.push('"');
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match float(number).as_str() {
            "nan" => "NaN".to_string(),
            "inf" => "Infinity".to_string(),
            "-inf" => "-Infinity".to_string(),
            digits => digits.to_string(),
        },
        _ => value.to_string(),
    }
}
