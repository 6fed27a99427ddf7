//! TOML files, and errors in them by file, line and field. Must not know which settings there are.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::{Error, Result};

/// Parses the text of a TOML file written by a user; `file` is its name in error messages.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Game {
///     size: u32,
/// }
/// let error = palestra_settings::parse_toml::<Game>("my.toml", "sise = 4").unwrap_err();
/// assert_eq!(error.to_string(), "my.toml:1: unknown key `sise`; did you mean `size`? known keys: size");
/// let error = palestra_settings::parse_toml::<Game>("my.toml", "size = -4").unwrap_err();
/// assert_eq!(error.to_string(), "my.toml:1: size: found integer `-4`, expected a whole number, 0 or more");
/// ```
///
/// # Errors
/// Text that is not TOML, or not of this type. The message has the line, the key or value, and what would be right.
pub fn parse_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T> {
    Origin::new(file, text, "").parse()
}

/// Variant of [`parse_toml`] for a table without source text; `origin` is its name in error messages.
pub fn parse_toml_table<T: DeserializeOwned>(origin: &str, table: &toml::Table) -> Result<T> {
    T::deserialize(table.clone())
        .map_err(|error| Error(format!("{origin}: {}", explain(&keys_of(&error), error.message()))))
}

/// Origin of a TOML table: the file, its text, and the path of the table in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    file: Arc<str>,
    text: Arc<str>,
    table: Vec<String>,
}

impl Origin {
    /// The table at a dotted path of a file's text; the whole file if the path is empty.
    pub fn new(file: &str, text: &str, table: &str) -> Self {
        let table = table.split('.').filter(|key| !key.is_empty()).map(str::to_string).collect();
        Self { file: file.into(), text: text.into(), table }
    }

    /// Parses the table as a type. Errors name the line of the file.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let tell = |error: toml::de::Error| Error(self.tell(&error));
        let root = DeTable::parse(&self.text).map_err(tell)?;
        let mut value = toml::Spanned::new(root.span(), DeValue::Table(root.into_inner()));
        for key in &self.table {
            let inner = match value.get_ref() {
                DeValue::Table(table) => {
                    table.iter().find(|(name, _)| name.get_ref() == key.as_str()).map(|(_, it)| it)
                }
                DeValue::Array(items) => key.parse().ok().and_then(|at: usize| items.get(at)),
                _ => None,
            };
            match inner.filter(|inner| matches!(inner.get_ref(), DeValue::Table(_) | DeValue::Array(_))).cloned() {
                Some(inner) => value = inner,
                None => return empty().map_err(tell),
            }
        }
        T::deserialize(ValueDeserializer::from(value)).map_err(tell)
    }

    /// File, line and path of a field of the table.
    pub fn place_inside(&self, field: &str) -> String {
        self.place(self.table.iter().map(String::as_str).chain([field]).collect())
    }

    /// File, line and path of a field next to the table.
    pub fn place_beside(&self, field: &str) -> String {
        let beside = self.table.len().saturating_sub(1);
        self.place(self.table[..beside].iter().map(String::as_str).chain([field]).collect())
    }

    fn place(&self, path: Vec<&str>) -> String {
        let line = DeTable::parse(&self.text).ok().and_then(|root| key_at(root.get_ref(), &path));
        let line = line.map_or_else(String::new, |at| format!(":{}", self.line(at)));
        format!("{}{line}: {}", self.file, path.join("."))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text[..at.min(self.text.len())].matches('\n').count()
    }

    fn tell(&self, error: &toml::de::Error) -> String {
        let root = DeTable::parse(&self.text).ok();
        // A key missing from the whole file has no line.
        let whole = root.as_ref().map(toml::Spanned::span);
        let Some(span) = error.span().filter(|span| Some(span) != whole.as_ref()) else {
            return format!("{}: {}", self.file, explain(&keys_of(error), error.message()));
        };
        let field = root.map(|root| field_at(root.get_ref(), &span)).unwrap_or_default();
        format!("{}:{}: {}", self.file, self.line(span.start), explain(&field, error.message()))
    }
}

/// Rewrites a serde message about the field at a dotted path for users, with the nearest known word if it names an
/// unknown one.
fn explain(path: &str, message: &str) -> String {
    let message = &message.trim_end().replace('\n', "; ");
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let inside = |section: &str| if section.is_empty() { String::new() } else { format!(" in [{section}]") };
    let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
    // serde writes: unknown field `wrong`, expected one of `right`, `other`
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = |what: &str| {
        let known = &words[1.min(words.len())..];
        let near = words.first().and_then(|wrong| nearest(wrong, known.iter().copied()).first().copied());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let list = if known.is_empty() { format!("no {what}") } else { format!("known {what}: {}", known.join(", ")) };
        if hint.is_empty() { format!("; {list}") } else { format!("{hint} {list}") }
    };
    if message.starts_with("unknown field") {
        let section = if words.first() == Some(&key) { section } else { path };
        format!("unknown key `{}`{}{}", words[0], inside(section), known("keys"))
    } else if message.starts_with("unknown variant") {
        format!("{place}unknown value `{}`{}", words[0], known("values"))
    } else if message.starts_with("missing field") {
        format!("missing key `{}`{}", words[0], inside(path))
    } else if let Some(found) = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: ")) {
        let (found, expected) = found.rsplit_once(", expected ").unwrap_or((found, "something else"));
        format!("{place}found {found}, expected {}", in_words(expected))
    } else {
        format!("{place}{message}")
    }
}

/// Translates a Rust type name into TOML terms.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number, at least 1",
        _ if expected.starts_with("struct ") => "a section",
        _ => expected,
    }
}

/// Dotted path of an error without a position in a text. The toml crate only prints it as the last line of the message.
fn keys_of(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let keys = text.trim_end().rsplit_once("\nin `").and_then(|(_, keys)| keys.strip_suffix('`'));
    keys.unwrap_or_default().to_string()
}

/// Candidates for a mistyped or abbreviated word, the nearest first.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
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

/// Position of the key at a path, or of the longest existing part of the path.
fn key_at(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == *first)?;
    let inner = match (value.get_ref(), rest) {
        (DeValue::Table(inner), _) => key_at(inner, rest),
        (DeValue::Array(items), [at, rest @ ..]) => {
            let item = at.parse().ok().and_then(|at: usize| items.get(at))?;
            item.get_ref().as_table().and_then(|inner| key_at(inner, rest)).or(Some(item.span().start))
        }
        _ => None,
    };
    inner.or(Some(key.span().start))
}

/// Dotted path of the innermost key whose name or value covers a position of the text.
fn field_at(table: &DeTable<'_>, place: &Range<usize>) -> String {
    for (key, value) in table {
        let covers = |span: Range<usize>| span.start <= place.start && place.start < span.end.max(span.start + 1);
        let inner = match value.get_ref() {
            DeValue::Table(inner) => field_at(inner, place),
            DeValue::Array(items) => {
                let tables = items.iter().enumerate().filter_map(|(at, item)| Some((at, item.get_ref().as_table()?)));
                let mut found = tables.map(|(at, inner)| (at, field_at(inner, place)));
                let found = found.find(|(_, field)| !field.is_empty());
                found.map_or_else(String::new, |(at, field)| format!("{at}.{field}"))
            }
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
