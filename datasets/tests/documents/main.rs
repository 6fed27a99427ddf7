//! Reading of documents from plain text, JSON lines and Parquet files, with errors that name the problem.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, LargeStringArray, RecordBatch, StringArray};
use palestra_datasets::documents::{DocumentOptions, Documents};
use parquet::arrow::ArrowWriter;

fn read(folder: &Path, name: &str, options: DocumentOptions) -> Result<Vec<String>, String> {
    let path = folder.join(name).display().to_string();
    let documents = Documents::open(&[path], options).map_err(|error| error.to_string())?;
    documents.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn of_split(split: &str) -> DocumentOptions {
    DocumentOptions { split: Some(split.to_string()), ..DocumentOptions::default() }
}

fn write_parquet(path: &Path, column: &str) {
    let texts: ArrayRef = Arc::new(LargeStringArray::from_iter_values((0..600).map(|row| format!("text {row}"))));
    let split = (0..600).map(|row| if row % 100 == 0 { "validation" } else { "train" });
    let splits: ArrayRef = Arc::new(StringArray::from_iter_values(split));
    let batch = RecordBatch::try_from_iter([(column, texts), ("split", splits)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn every_kind_of_file_is_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.txt"), "one\ntwo\n").unwrap();
    std::fs::write(at("b.jsonl"), "{\"text\": \"three\"}\n\n{\"id\": 1, \"text\": \"four\"}").unwrap();
    write_parquet(&at("c.parquet"), "text");
    let all = read(folder.path(), "", DocumentOptions::default()).unwrap();
    assert_eq!(all[..3], ["one\ntwo\n", "three", "four"]);
    assert_eq!((all.len(), all[3].as_str(), all[602].as_str()), (603, "text 0", "text 599"));
    let held_out = read(folder.path(), "c.parquet", of_split("validation")).unwrap();
    assert_eq!(held_out, ["text 0", "text 100", "text 200", "text 300", "text 400", "text 500"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.txt"), b"fine\nnot \xff fine").unwrap();
    std::fs::write(at("b.jsonl"), "{\"text\": \"x\"}\n{\"body\": \"y\"}\n").unwrap();
    std::fs::write(at("c.jsonl"), "{\"text\": \"x\"}\n{\"text\": 3}\n").unwrap();
    std::fs::write(at("d.jsonl"), "{\"text\"").unwrap();
    std::fs::write(at("e.parquet"), "PAR1 or not").unwrap();
    write_parquet(&at("f.parquet"), "body");
    let plain = DocumentOptions::default;
    for (name, options, part) in [
        ("a.txt", plain(), "a.txt: byte 9, in line 2, is no UTF-8"),
        ("a.txt", of_split("train"), "a.txt: a file of plain text has no splits"),
        ("b.jsonl", plain(), "b.jsonl: line 2, text: is missing; the line has [\"body\"]"),
        ("c.jsonl", plain(), "c.jsonl: line 2, text: 3 is no text"),
        ("c.jsonl", of_split("train"), "c.jsonl: line 1, split: is no text"),
        ("d.jsonl", plain(), "d.jsonl: line 1, the line: is no JSON"),
        ("e.parquet", plain(), "e.parquet: "),
        ("f.parquet", plain(), "f.parquet: it has no column text; its columns are body, split"),
        ("g.txt", plain(), "g.txt: no such file or folder"),
    ] {
        let error = read(folder.path(), name, options).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
