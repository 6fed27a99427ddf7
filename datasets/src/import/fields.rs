//! A JSON object that is consumed field by field.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::report::Notes;
use crate::Content;
use crate::error::shown;
use crate::error::{Error, Result};

/// Location of a value.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub file: &'a Path,
    pub line: u64,
    /// Index of the step, if the line holds many.
    pub step: Option<usize>,
}

/// Fields of an object that are not consumed yet. A null field counts as absent.
pub(super) struct Fields<'a> {
    pub at: At<'a>,
    pub object: Map<String, Value>,
}

impl At<'_> {
    pub fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        let field = self.step.map_or_else(|| field.to_string(), |step| format!("step {step}, {field}"));
        Error::Line { file: self.file.to_owned(), line: self.line, field, reason: reason.into() }
    }

    pub fn wrong(&self, field: &str, value: &Value, right: &str) -> Error {
        self.error(field, format!("{} where {right} should be", shown(value)))
    }
}

impl<'a> Fields<'a> {
    pub fn new(at: At<'a>, value: Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self { at, object }),
            other => Err(at.wrong("the line", &other, "an object {...}")),
        }
    }

    pub fn has_list(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.object.get(*name).is_some_and(Value::is_array))
    }

    /// Removes the first present field among the names, and returns it with its value.
    pub fn take<'n>(&mut self, names: &[&'n str]) -> Option<(&'n str, Value)> {
        names.iter().find_map(|name| match self.object.remove(*name) {
            None | Some(Value::Null) => None,
            Some(value) => Some((*name, value)),
        })
    }

    /// Removes a field and deserializes it with serde.
    pub fn typed<T: DeserializeOwned>(&mut self, name: &str, right: &str) -> Result<Option<T>> {
        let Some((_, value)) = self.take(&[name]) else { return Ok(None) };
        match T::deserialize(&value) {
            Ok(typed) => Ok(Some(typed)),
            Err(_) => Err(self.at.wrong(name, &value, right)),
        }
    }

    /// Removes the first present field among the names as a text; a value of another type becomes its JSON.
    pub fn text(&mut self, names: &[&str], notes: &mut Notes) -> Option<String> {
        self.take(names).map(|(_, value)| text_of(value, notes))
    }

    /// Removes the first present field among the names as a text or messages, or else the field that a log has for
    /// messages.
    pub fn content(&mut self, names: &[&str], messages: &str, notes: &mut Notes) -> Result<Option<Content>> {
        if let Some((_, value)) = self.take(names) {
            return Ok(Some(content_of(value, notes)));
        }
        let Some((_, value)) = self.take(&[messages]) else { return Ok(None) };
        let parsed = match value {
            Value::String(json) => serde_json::from_str(&json).map_err(|error| error.to_string()),
            value => Content::parse(value),
        };
        match parsed {
            Ok(Content::Messages(messages)) => Ok(Some(messages.into())),
            Ok(Content::Text(_)) => Err(self.at.error(messages, "is a text and no list of messages")),
            Err(reason) => Err(self.at.error(messages, reason)),
        }
    }

    pub fn required_content(&mut self, names: &[&str], messages: &str, notes: &mut Notes) -> Result<Content> {
        self.content(names, messages, notes)?.ok_or_else(|| self.missing(names))
    }

    pub fn required_text(&mut self, names: &[&str], notes: &mut Notes) -> Result<String> {
        self.text(names, notes).ok_or_else(|| self.missing(names))
    }

    pub fn required_number(&mut self, names: &[&str]) -> Result<f32> {
        let (name, value) = self.take(names).ok_or_else(|| self.missing(names))?;
        // Excludes values that are not numbers and numbers that f32 cannot hold.
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| self.at.wrong(name, &value, "a finite number"))
    }

    pub fn flag(&mut self, names: &[&str]) -> Result<Option<bool>> {
        let Some((name, value)) = self.take(names) else { return Ok(None) };
        match (value.as_bool(), value.as_f64()) {
            (Some(flag), _) => Ok(Some(flag)),
            (None, Some(number)) if number == 0.0 || number == 1.0 => Ok(Some(number == 1.0)),
            _ => Err(self.at.wrong(name, &value, "true, false, 1 or 0")),
        }
    }

    /// Adds the fields that were not consumed to the notes.
    pub fn end(self, notes: &mut Notes) {
        for (name, value) in self.object {
            if !value.is_null() {
                *notes.ignored_fields.entry(name).or_default() += 1;
            }
        }
    }

    fn missing(&self, names: &[&str]) -> Error {
        let found: Vec<&str> = self.object.keys().map(String::as_str).collect();
        let reason = match found.is_empty() {
            true => "missing".to_string(),
            false => format!("missing; besides what is known, there is {}", found.join(", ")),
        };
        self.at.error(&names.join(" or "), reason)
    }
}

/// Returns a text as it is, a list of messages `{"role", "content"}` as messages, any other value as compact JSON.
pub(super) fn content_of(value: Value, notes: &mut Notes) -> Content {
    match &value {
        Value::Array(list) if list.first().is_some_and(|first| first["role"].is_string()) => {
            Content::parse(value.clone()).unwrap_or_else(|_| text_of(value, notes).into())
        }
        _ => text_of(value, notes).into(),
    }
}

/// Returns a text as it is, any other value as compact JSON.
pub(super) fn text_of(value: Value, notes: &mut Notes) -> String {
    match value {
        Value::String(text) => text,
        other => {
            notes.as_json += 1;
            other.to_string()
        }
    }
}
