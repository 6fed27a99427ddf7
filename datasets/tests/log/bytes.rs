//! Texts that other tools stored as bytes: read if they are UTF-8, and refused with their row if not.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray, Float32Array, Int32Array, LargeBinaryArray,
    RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{DataType, Field, Schema};
use palestra_datasets::log::{Columns, ReadOptions};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::file::properties::WriterProperties;

use crate::made::{episodes, open, place, try_open};

/// Writes a log of two episodes with some columns replaced. With `lies`, Arrow's schema in the file calls all bytes
/// text.
fn write(path: &Path, replaced: Vec<(&str, ArrayRef)>, lies: bool) {
    let texts = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("episode_id", texts(["a", "b"])),
        ("step", Arc::new(UInt32Array::from(vec![0, 0]))),
        ("observation", texts(["here", "there"])),
        ("action", texts(["left", "right"])),
        ("reward", Arc::new(Float32Array::from(vec![1.0, 2.0]))),
        ("terminated", Arc::new(BooleanArray::from(vec![true, true]))),
        ("truncated", Arc::new(BooleanArray::from(vec![false, false]))),
    ];
    columns.retain(|(name, _)| replaced.iter().all(|(other, _)| other != name));
    columns.extend(replaced);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut properties = WriterProperties::builder().build();
    if lies {
        let text = |field: &Field| match field.data_type() {
            DataType::Binary => field.clone().with_data_type(DataType::Utf8),
            _ => field.clone(),
        };
        let schema = Schema::new(batch.schema().fields().iter().map(|field| text(field)).collect::<Vec<_>>());
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
    }
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(lies);
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new_with_options(file, batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn refusal(path: &Path) -> String {
    let log = open(path);
    log.episodes().find_map(Result::err).unwrap().to_string()
}

#[test]
fn bytes_of_every_kind_are_read_if_they_are_text() {
    let (_folder, path) = place();
    let kinds = |second: &'static [u8]| -> [ArrayRef; 4] {
        let bytes: Vec<&[u8]> = vec!["ü 蛇".as_bytes(), second];
        let keys = Int32Array::from(vec![0, 1]);
        let values = Arc::new(BinaryArray::from(bytes.clone()));
        [
            Arc::new(BinaryArray::from(bytes.clone())),
            Arc::new(LargeBinaryArray::from(bytes.clone())),
            Arc::new(BinaryViewArray::from(bytes)),
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).unwrap()),
        ]
    };
    let long = b"a text that is too long to stand in the view itself, with an \xe9 in Latin-1";
    for (name, lies) in [("observation", false), ("observation", true), ("action", true), ("info", false)] {
        for column in kinds(b"fine") {
            write(&path, vec![(name, column)], lies);
            let read = episodes(&open(&path));
            let turn = &read[0].turns[0];
            let [observation, info] = [turn.observation.to_string(), turn.info.clone().unwrap_or_default()];
            assert!([&observation, &turn.action, &info].contains(&&"ü 蛇".to_string()), "{turn:?}");
        }
        for (bytes, byte) in [(b"caf\xe9".as_slice(), "byte 3 of 4 (0xe9)"), (long, "byte 61 of 73 (0xe9)")] {
            for column in kinds(bytes) {
                write(&path, vec![(name, column)], lies);
                let error = refusal(&path);
                let expected = format!("log.parquet: row 1 (row group 0), column {name}: {byte} is no UTF-8");
                assert!(error.contains(&expected), "{error}");
                let log = try_open(&path, ReadOptions { skip_bad: true, columns: Columns::All }).unwrap();
                assert_eq!((episodes(&log).len(), log.skipped().episodes), (1, 1));
            }
        }
    }
}

#[test]
fn texts_in_lists_and_under_the_mark_of_text_are_checked() {
    let (_folder, path) = place();
    let mut lists = ListBuilder::new(BinaryBuilder::new());
    for row in [[b"left".as_slice(), b"up"], [b"right", b"caf\xe9"]] {
        row.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    write(&path, vec![("legal_actions", Arc::new(lists.finish()))], false);
    assert!(refusal(&path).contains("row 1 (row group 0), column legal_actions: byte 3 of 4 (0xe9)"));

    write(&path, vec![("episode_id", Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"\xff"])))], true);
    assert!(refusal(&path).contains("row 1 (row group 0), column episode_id: byte 0 of 1 (0xff)"));

    write(&path, vec![("observation", Arc::new(StringArray::from(vec!["cafe", "cafX"])))], false);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() - 3 {
        if &bytes[at..at + 4] == b"cafX" {
            bytes[at + 3] = 0xe9;
        }
    }
    std::fs::write(&path, bytes).unwrap();
    assert!(refusal(&path).contains("row 1 (row group 0), column observation: byte 3 of 4 (0xe9)"));
}
