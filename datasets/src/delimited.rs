//! Rows of a CSV or TSV file, whose first line names the columns. A cell is a text; an empty one counts as absent.

mod line_starts;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::json::Utf8Reader;
use crate::origin::{Origin, RowPlace};
use line_starts::LineStarts;

/// Reader of rows. After an error in a row, it continues with the next.
pub(crate) struct DelimitedRows<R> {
    file: Arc<Path>,
    reader: Reader<LineStarts<Utf8Reader<R>>>,
    columns: Vec<String>,
    record: StringRecord,
}

/// The character between the cells of a file, by the ending of its name; `None` for files that are no CSV or TSV.
pub(crate) fn delimiter_of(path: &Path) -> Option<u8> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

impl<R: Read> DelimitedRows<R> {
    /// Reads the names of the columns; `file` is used in errors.
    ///
    /// # Errors
    /// A first line that cannot be read or names a column twice, or cells with another character between them.
    pub fn new(file: &Path, reader: R, delimiter: u8) -> Result<Self> {
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).from_reader(LineStarts::new(Utf8Reader::new(reader)));
        let file: Arc<Path> = file.into();
        let header = reader.headers().cloned().map_err(|error| fault(&file, &[], error, |_| 1))?;
        // A data frame is often written with its index, whose column has no name. It is called as pandas calls it.
        let named = header.iter().enumerate().map(|(at, name)| match name.trim() {
            "" => format!("Unnamed: {at}"),
            name => name.to_string(),
        });
        let columns: Vec<String> = named.collect();
        let wrong =
            |reason: String| Origin { file: file.clone(), place: RowPlace::Line(1) }.error("the columns", reason);
        if let [one] = columns.as_slice()
            && one.contains([';', '\t', ','])
        {
            return Err(wrong(format!(
                "{one:?} is one column; columns of .csv have commas between them, and those of .tsv tabs"
            )));
        }
        let mut known = BTreeSet::new();
        if let Some(twice) = columns.iter().find(|name| !known.insert(name.as_str())) {
            return Err(wrong(format!("{twice:?} is named twice; rename one of them")));
        }
        Ok(Self { file, reader, columns, record: StringRecord::new() })
    }

    /// Names of the columns, in their order; none of an empty file.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the number of bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Returns the next row with the line on which it begins; `None` after the last.
    pub fn next(&mut self) -> Option<Result<(u64, Map<String, Value>)>> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let byte = self.record.position().map_or(0, Position::byte);
                let line = self.reader.get_mut().line_from(byte);
                let cells = self.columns.iter().zip(&self.record).filter(|(_, cell)| !cell.is_empty());
                Some(Ok((line, cells.map(|(name, cell)| (name.clone(), cell.into())).collect())))
            }
            Err(error) => {
                let lines = self.reader.get_mut();
                Some(Err(fault(&self.file, &self.columns, error, |place| lines.line_from(place.byte()))))
            }
        }
    }
}

/// The error of a row, with its line and its column where one is at fault.
fn fault(file: &Arc<Path>, columns: &[String], error: csv::Error, line_of: impl FnOnce(&Position) -> u64) -> Error {
    let at = |position: &Option<Position>| Origin {
        file: file.clone(),
        place: RowPlace::Line(position.as_ref().map_or(1, line_of)),
    };
    match error.into_kind() {
        ErrorKind::Io(source) => Error::io(file, "read it")(source),
        ErrorKind::Utf8 { pos, err } => {
            let column = columns.get(err.field()).map_or("the columns", String::as_str);
            at(&pos).error(column, "is no UTF-8; save the file as UTF-8")
        }
        ErrorKind::UnequalLengths { pos, expected_len, len } => at(&pos).error(
            "the row",
            format!(
                "has {len} cells, and the first line names {expected_len} columns; a cell that holds the character \
                 between cells, or a line break, stands in double quotes"
            ),
        ),
        other => Error::file(file, format!("cannot be read: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(text: &[u8], name: &str) -> Result<Vec<(u64, Map<String, Value>)>> {
        let path = Path::new(name);
        let mut rows = DelimitedRows::new(path, text, delimiter_of(path).unwrap())?;
        std::iter::from_fn(|| rows.next()).collect()
    }

    fn told(text: &str, name: &str) -> String {
        rows(text.as_bytes(), name).unwrap_err().to_string()
    }

    #[test]
    fn cells_are_texts_by_the_names_of_the_first_line() {
        let text = "\u{feff}prompt,answer,level\r\n\"a, \"\"b\"\"\nc\",1,\r\n\r\nd,,2\r\n";
        let read = rows(text.as_bytes(), "a.csv").unwrap();
        let value = |at: usize| Value::Object(read[at].1.clone());
        assert_eq!((read[0].0, value(0)), (2, json!({"prompt": "a, \"b\"\nc", "answer": "1"})));
        assert_eq!((read[1].0, value(1)), (5, json!({"prompt": "d", "level": "2"})));
        assert_eq!(read.len(), 2);
        let tabs = rows(b"prompt\tanswer\na, b\tc", "a.TSV").unwrap();
        assert_eq!(Value::Object(tabs[0].1.clone()), json!({"prompt": "a, b", "answer": "c"}));
        let utf16: Vec<u8> = "\u{feff}prompt\né".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(rows(&utf16, "a.csv").unwrap()[0].1["prompt"], "é");
        assert!(rows(b"", "a.csv").unwrap().is_empty());
        assert_eq!(rows(b",prompt\n0,a", "a.csv").unwrap()[0].1["Unnamed: 0"], "0");
    }

    #[test]
    fn faults_are_told_by_line_and_column() {
        assert_eq!(
            told("prompt,answer\na,b\n\nc\n", "a.csv"),
            "a.csv: line 4, the row: has 1 cells, and the first line names 2 columns; a cell that holds the character \
             between cells, or a line break, stands in double quotes"
        );
        assert!(told("prompt;answer\n", "a.csv").starts_with("a.csv: line 1, the columns: \"prompt;answer\" is one"));
        assert!(told("a,a\n", "a.csv").contains("line 1, the columns: \"a\" is named twice"));
        let bytes = rows(b"prompt,answer\na,b\nc,\xff\n", "a.csv").unwrap_err().to_string();
        assert_eq!(bytes, "a.csv: line 3, answer: is no UTF-8; save the file as UTF-8");
    }

    #[test]
    fn reading_goes_on_after_a_bad_row() {
        let mut rows = DelimitedRows::new("a.csv".as_ref(), &b"a,b\n1\n2,3\n"[..], b',').unwrap();
        assert!(rows.next().unwrap().is_err());
        assert_eq!(rows.next().unwrap().unwrap().0, 3);
        assert!(rows.next().is_none());
    }
}
