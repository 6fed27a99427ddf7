//! Writing of preference data to files, in the columns of the formats that are read.

use std::path::Path;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use super::columns::batch_of;
use super::{Preference, Record};
use crate::Content;
use crate::error::{Error, Result};

/// Format of a file of preference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON lines: one object per line.
    JsonLines,
    /// Parquet with zstd compression.
    Parquet,
}

impl Format {
    /// Returns the format by the extension of a file's name: `.jsonl`, `.ndjson`, `.json` or `.parquet`.
    pub fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(Error::file(file, "its name does not tell what to write; let it end in .jsonl or .parquet")),
        }
    }
}

/// Writes a new file atomically. An existing file is never overwritten.
pub fn write(file: &Path, records: &[Record]) -> Result<()> {
    let bytes = encode(records, Format::of(file)?).map_err(|reason| Error::file(file, reason))?;
    if file.try_exists().map_err(Error::io(file, "look whether it exists"))? {
        return Err(Error::file(file, "there is a file already, which is not written over; name another"));
    }
    Ok(palestra_files::write_atomically(file, &bytes)?)
}

/// Returns the bytes of a file; `Err` names the column that cannot be written in this format.
pub fn encode(records: &[Record], format: Format) -> Result<Vec<u8>, String> {
    let rows: Vec<Map<String, Value>> = records.iter().map(row_of).collect();
    let names = names_of(&rows);
    match format {
        Format::JsonLines => {
            let mut bytes = Vec::new();
            for row in &rows {
                let cells = names.iter().filter_map(|name| Some((name, row.get(name)?)));
                let cells: Vec<String> =
                    cells.map(|(name, value)| format!("{}: {value}", Value::from(name.as_str()))).collect();
                bytes.extend_from_slice(format!("{{{}}}\n", cells.join(", ")).as_bytes());
            }
            Ok(bytes)
        }
        Format::Parquet => {
            let batch = batch_of(&names, &rows).map_err(|error| error.to_string())?;
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let mut bytes = Vec::new();
            let written = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).and_then(|mut writer| {
                writer.write(&batch)?;
                writer.close()
            });
            written.map(|_| bytes).map_err(|error| error.to_string())
        }
    }
}

/// The first columns, in order; other columns follow.
const FIRST: [&str; 14] = [
    "prompt",
    "chosen",
    "rejected",
    "margin",
    "tie",
    "completion",
    "label",
    "rating",
    "completions",
    "labels",
    "best",
    "annotator",
    "weight",
    "item",
];

fn names_of(rows: &[Map<String, Value>]) -> Vec<String> {
    let mut names: Vec<String> = FIRST.iter().map(ToString::to_string).collect();
    for name in rows.iter().flat_map(Map::keys) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.retain(|name| rows.iter().any(|row| row.contains_key(name)));
    names
}

fn row_of(record: &Record) -> Map<String, Value> {
    // With its prompt in a column of its own, a record has no whole texts.
    let Record { prompt, is_parted: _, preference, annotator, weight, other } = record;
    let mut row = other.clone();
    let mut put = |name: &str, value: Value| row.insert(name.to_string(), value);
    put("prompt", json(prompt));
    match preference {
        Preference::Better { chosen, rejected, margin } => {
            put("chosen", json(chosen));
            put("rejected", json(rejected));
            margin.map(|margin| put("margin", margin.into()));
        }
        Preference::Tie { answers: [first, second] } => {
            put("chosen", json(first));
            put("rejected", json(second));
            put("tie", true.into());
        }
        Preference::Label { completion, good } => {
            put("completion", json(completion));
            put("label", (*good).into());
        }
        Preference::Steps { completions, good } => {
            put("completions", completions.iter().map(json).collect());
            put("labels", good.clone().into());
        }
        Preference::Best { completions, best } => {
            put("completions", completions.iter().map(json).collect());
            put("best", (*best).into());
        }
        Preference::Rating { completion, rating } => {
            put("completion", json(completion));
            put("rating", (*rating).into());
        }
    }
    annotator.as_ref().map(|annotator| put("annotator", annotator.as_str().into()));
    if *weight != 1.0 {
        put("weight", (*weight).into());
    }
    row
}

fn json(text: &Content) -> Value {
    serde_json::to_value(text).expect("texts and messages are JSON")
}
