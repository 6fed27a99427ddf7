//! Rows of files that are no JSON and no Parquet: CSV and TSV with a line of names, and plain lines.
//!
//! A cell is a text. A column holds JSON only where its name says so: lists (`completions`, `policies`, `scores`), `gold`,
//! and `<name>_messages`, the messages of the column `<name>`. An empty cell is a missing one. `completion_1`,
//! `completion_2`, ... are the answers of one row, with `policy_1`, ... as the policies that wrote them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use palestra_datasets::preferences::{Origin, PreferenceRows, Row, RowPlace};
use serde_json::{Map, Value};

type Rows = Box<dyn Iterator<Item = palestra_datasets::Result<Row>>>;

/// Columns of JSON values.
const JSON: [&str; 6] = ["completions", "policies", "scores", "gold", "label", "best"];

/// End of the name of a column of messages.
const MESSAGES: &str = "_messages";

/// Rows of a file, by the ending of its name: `.csv`, `.tsv`, `.txt` (each line is the cell of this column), and JSON lines
/// or Parquet.
pub(crate) fn rows(file: &Path, column_of_lines: &'static str) -> palestra_datasets::Result<Rows> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("txt") => lines(file, column_of_lines),
        Some(ending) if ["csv", "tsv"].iter().any(|table| table.eq_ignore_ascii_case(ending)) => {
            Ok(Box::new(PreferenceRows::open(file)?.map(|row| row.and_then(of_table))))
        }
        _ => Ok(Box::new(PreferenceRows::open(file)?)),
    }
}

/// The row of a table, whose cells are texts, with its columns as a row of JSON has them.
fn of_table(mut row: Row) -> palestra_datasets::Result<Row> {
    let mut columns = Map::new();
    let [mut completions, mut policies] = [const { Vec::new() }; 2];
    for (name, cell) in std::mem::take(&mut row.columns) {
        let json = |cell: &Value| {
            serde_json::from_str::<Value>(cell.as_str().unwrap_or_default())
                .map_err(|error| row.error(&name, format!("is no JSON: {error}")))
        };
        if let Some(of) = name.strip_suffix(MESSAGES) {
            columns.insert(of.to_string(), json(&cell)?);
        } else if is_numbered(&name, "completion_") {
            completions.push(cell);
        } else if is_numbered(&name, "policy_") {
            policies.push(cell);
        } else if JSON.contains(&name.as_str()) {
            columns.insert(name.clone(), json(&cell)?);
        } else {
            columns.insert(name, cell);
        }
    }
    for (name, list) in [("completions", completions), ("policies", policies)] {
        if !list.is_empty() {
            columns.insert(name.to_string(), list.into());
        }
    }
    row.columns = columns;
    Ok(row)
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|number| number.parse::<u8>().is_ok())
}

fn lines(file: &Path, column: &'static str) -> palestra_datasets::Result<Rows> {
    let place = Origin { file: file.into(), place: RowPlace::Line(1) };
    let lines = BufReader::new(opened(file)?).lines().enumerate();
    let is_text =
        |(_, line): &(usize, std::io::Result<String>)| !line.as_ref().is_ok_and(|line| line.trim().is_empty());
    Ok(Box::new(lines.filter(is_text).map(move |(number, line)| {
        let origin = Origin { place: RowPlace::Line(number as u64 + 1), ..place.clone() };
        let line = line.map_err(|error| origin.error("the line", error.to_string()))?;
        let line = line.trim_start_matches('\u{feff}').trim_end();
        let prompt = (column != "prompt").then(|| ("prompt".to_string(), Value::from("")));
        let columns = prompt.into_iter().chain([(column.to_string(), Value::from(line))]).collect();
        Ok(Row::new(origin, columns))
    })))
}

fn opened(file: &Path) -> palestra_datasets::Result<File> {
    let doing = "open it";
    File::open(file).map_err(|source| palestra_datasets::Error::Io { file: file.to_owned(), doing, source })
}

/// Writes rows as CSV or TSV. Cells that are no texts are JSON, and a list of messages stands in `<name>_messages`.
pub(crate) fn write(rows: &[Map<String, Value>], delimiter: u8) -> Result<Vec<u8>, String> {
    let cells: Vec<Map<String, Value>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let mut names: Vec<&str> = Vec::new();
    for name in cells.iter().flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(&names).map_err(|error| error.to_string())?;
    for row in &cells {
        let cells = names.iter().map(|name| row.get(*name).and_then(Value::as_str).unwrap_or_default());
        writer.write_record(cells).map_err(|error| error.to_string())?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

fn cell((name, value): (&String, &Value)) -> (String, Value) {
    match value {
        Value::String(_) => (name.clone(), value.clone()),
        Value::Array(list) if list.iter().all(|message| message["role"].is_string()) => {
            (format!("{name}{MESSAGES}"), value.to_string().into())
        }
        other => (name.clone(), other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Map<String, Value>>, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        let rows = rows(&file, "completion").map_err(|error| error.to_string())?;
        rows.map(|row| row.map(|row| row.columns).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn tables_with_names_and_plain_lines() {
        let rows = read("a.csv", "\u{feff}prompt,chosen,rejected\n\"a, b\nc\",[1],\n").unwrap();
        assert_eq!(Value::from(rows[0].clone()), serde_json::json!({"prompt": "a, b\nc", "chosen": "[1]"}));
        let rows = read(
            "a.tsv",
            "prompt_messages\tcompletion_1\tcompletion_2\tpolicy_1\tpolicy_2\n\
            [{\"\"role\"\": \"\"user\"\"}]\tx\ty\told\tnew\n",
        )
        .unwrap_err();
        assert!(rows.contains("line 2, prompt_messages: is no JSON"), "{rows}");
        let rows =
            read("a.tsv", "prompt\tcompletion_1\tcompletion_2\tpolicy_1\tpolicy_2\np\tx\ty\told\tnew\n").unwrap();
        let expected = serde_json::json!({"prompt": "p", "completions": ["x", "y"], "policies": ["old", "new"]});
        assert_eq!(Value::from(rows[0].clone()), expected);
        let rows = read("a.txt", "one\n\n two \r\n").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(Value::from(rows[1].clone()), serde_json::json!({"prompt": "", "completion": " two"}));
        let error = read("a.csv", "prompt,chosen\np\n").unwrap_err();
        assert!(error.contains("a.csv: line 2, the row: has 1 cells"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let json = serde_json::json!([
            {"prompt": "a,\t\"b\"\n", "chosen": "[1]", "rejected": "x", "item": 3},
            {"prompt": [{"role": "user", "content": "Hi"}], "completions": ["x", "y"], "best": 1},
        ]);
        let rows: Vec<Map<String, Value>> = serde_json::from_value(json).unwrap();
        for (name, delimiter) in [("a.csv", b','), ("a.tsv", b'\t')] {
            let text = String::from_utf8(write(&rows, delimiter).unwrap()).unwrap();
            let mut again = read(name, &text).unwrap();
            assert_eq!(again[0].remove("item"), Some("3".into()), "a column that is not known is a text");
            assert_eq!(
                Value::from(again[0].clone()),
                serde_json::json!({"prompt": "a,\t\"b\"\n", "chosen": "[1]", "rejected": "x"})
            );
            assert_eq!(again[1], rows[1]);
        }
    }
}
