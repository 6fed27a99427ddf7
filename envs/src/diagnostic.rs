//! Mistakes in TOML files, told with file, line, field and the nearest word that would be right.
//!
//! It knows TOML and serde, and nothing of environments.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::{Error, Result};

/// Where a person wrote a TOML table: the file, its text, and the path of the table in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Origin {
    file: Arc<str>,
    text: Arc<str>,
    table: Vec<String>,
}

impl Origin {
    /// The table at a dotted path of a file's text; the whole file where the path is empty.
    pub(crate) fn new(file: &str, text: &str, table: &str) -> Self {
        let table = table.split('.').filter(|key| !key.is_empty()).map(str::to_string).collect();
        Self { file: file.into(), text: text.into(), table }
    }

    /// The table as a type, or an error that says in which line the file is wrong.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let tell = |error: toml::de::Error| Error::Definition(self.tell(&error));
        let mut value = DeTable::parse(&self.text).map_err(tell)?;
        let mut span = value.span();
        for key in &self.table {
            let entry = value.get_mut().iter().find(|(name, _)| name.get_ref() == key.as_str());
            let Some((_, DeValue::Table(table))) = entry.map(|(_, entry)| (entry.span(), entry.get_ref().clone()))
            else {
                return empty().map_err(tell);
            };
            span = entry.map_or(span, |(_, entry)| entry.span());
            value = toml::Spanned::new(span.clone(), table);
        }
        let table = toml::Spanned::new(span, DeValue::Table(value.into_inner()));
        T::deserialize(ValueDeserializer::from(table)).map_err(tell)
    }

    /// File, line and path of a field that stands beside the table.
    pub(crate) fn place_beside(&self, field: &str) -> String {
        let mut path: Vec<&str> = self.table.iter().map(String::as_str).collect();
        path.pop();
        path.push(field);
        let line = DeTable::parse(&self.text).ok().and_then(|root| key_at(root.get_ref(), &path));
        let line = line.map_or_else(String::new, |at| format!(":{}", self.line(at)));
        format!("{}{line}: {}", self.file, path.join("."))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text[..at.min(self.text.len())].matches('\n').count()
    }

    fn tell(&self, error: &toml::de::Error) -> String {
        let explanation = explain(error.message());
        let Some(span) = error.span() else { return format!("{}: {explanation}", self.file) };
        let line = self.line(span.start);
        let field = DeTable::parse(&self.text).ok().map(|root| field_at(root.get_ref(), &span)).unwrap_or_default();
        let separator = if field.is_empty() { "" } else { ": " };
        format!("{}:{line}: {field}{separator}{explanation}", self.file)
    }
}

/// A message of serde, with the nearest known word added where it names an unknown one.
pub(crate) fn explain(message: &str) -> String {
    let message = message.trim_end();
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message.to_string();
    }
    // serde writes: unknown field `wrong`, expected one of `right`, `other`
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match words.split_first().and_then(|(wrong, known)| nearest(wrong, known.iter().copied()).first().copied()) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_string(),
    }
}

/// The candidates that a mistyped or shortened word may stand for, the nearest first.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(2);
    let mut near: Vec<(usize, &str)> = candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || (word.len() > 2 && candidate.contains(&word)))
        .collect();
    near.sort();
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

fn empty<T: DeserializeOwned>() -> Result<T, toml::de::Error> {
    T::deserialize(toml::Table::new())
}

/// Where the key at a path begins.
fn key_at(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == *first)?;
    if rest.is_empty() { Some(key.span().start) } else { key_at(value.get_ref().as_table()?, rest) }
}

/// The dotted path of the innermost key whose name or value covers a place of the text.
fn field_at(table: &DeTable<'_>, place: &Range<usize>) -> String {
    for (key, value) in table {
        let covers = |span: Range<usize>| span.start <= place.start && place.start < span.end.max(span.start + 1);
        let inner = match value.get_ref() {
            DeValue::Table(inner) => field_at(inner, place),
            _ => String::new(),
        };
        if !inner.is_empty() {
            return format!("{}.{inner}", key.get_ref());
        }
        if covers(key.span()) || covers(value.span()) {
            return key.get_ref().to_string();
        }
    }
    String::new()
}
