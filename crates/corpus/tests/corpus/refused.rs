//! Input and settings that cannot be used: the error messages, and no leftover files.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::made::*;

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_row_without_the_column_is_named() {
    let place = Sandbox::new();
    place.put("a.jsonl", json(&prose(1)) + "\n{\"txt\": \"x\", \"url\": \"y\"}\n");
    assert_eq!(
        place.refused(&[]),
        "in/a.jsonl:3: it has no column `text`, but txt, url; name the column of the text with --text-column txt"
    );
    for (row, said) in [
        ("{\"text\": 5}", ":1: the column `text` is a number; a text is right"),
        ("{\"text\": null}", ":1: the column `text` is null; a text is right"),
        ("5", ":1: it is no JSON object; one {\"text\": \"...\"} a line is right"),
        ("{\"text\": \"x\"", ":1: column 1: it is no JSON: the row that begins here does not end"),
        ("{\"text\": \"é\", \"x\": NaN}", ":1: column 20: it is no JSON: NaN is no number in JSON; write null"),
        ("[1, 2]", "in/a.jsonl: line 1, the line: 1 where an object {...} should be"),
        ("[{\"text\": \"x\"},\n\n{\"text\": None}]", "in/a.jsonl: line 3, the line: is no JSON: column 10: None is"),
        ("[{\"text\": \"x\"},]", "in/a.jsonl: line 1, the line: is no JSON: column 16: a comma after the last value"),
    ] {
        place.put("a.jsonl", row);
        let error = place.refused(&[]);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_parquet_file_without_the_column_is_named() {
    let place = Sandbox::new();
    place.put("a.parquet", parquet(vec![("body", Arc::new(StringArray::from(vec!["x"])))]));
    assert_eq!(
        place.refused(&[]),
        "in/a.parquet: it has no column `text`, but body; name the column of the text with --text-column body"
    );
    place.put("a.parquet", parquet(vec![("text", Arc::new(Int64Array::from(vec![1])))]));
    assert_eq!(place.refused(&[]), "in/a.parquet: the column `text` holds Int64; texts are right");
    place.put("a.parquet", parquet(vec![("text", Arc::new(StringArray::from(vec![Some("x"), None])))]));
    assert_eq!(place.refused(&[]), "in/a.parquet, row 2: the column `text` is null; a text is right, or --skip-bad");
    // Arrow's schema in the file calls the bytes a text.
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let schema = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap().schema();
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"x", b"caf\xe9"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("text", bytes, true)]).unwrap();
    let mut file = Vec::new();
    let mut properties = WriterProperties::builder().build();
    parquet::arrow::add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    place.put("a.parquet", file);
    assert_eq!(
        place.refused(&[]),
        "in/a.parquet, row 2: the column `text` is marked as text, and its byte 3 (0xe9) is no UTF-8; a text is right, or \
         --skip-bad"
    );
}

#[test]
fn undecodable_bytes_are_named() {
    let place = Sandbox::new();
    place.put("a.txt", prose(1));
    place.put("b.txt", [b"PNG".as_slice(), &[0, 1, 2, 3, 0xff, 0xfe, 0, 0, 9]].concat());
    let error = place.refused(&[]);
    assert!(
        error.starts_with("in/b.txt: byte 3 (0x00) is no text in any charset") && error.contains("--skip-bad"),
        "{error}"
    );
    place.put("b.txt", b"caf\xe9");
    let error = place.refused(&["repair.charset=false"]);
    assert!(error.starts_with("in/b.txt: byte 3 (0xe9) is no UTF-8, and repair.charset is off"), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let place = Sandbox::new();
    let whole = gzip(prose(1).as_bytes());
    place.put("a.txt.gz", &whole[..whole.len() - 12]);
    let error = place.refused(&[]);
    assert!(error.starts_with("in/a.txt.gz is damaged: ") && error.ends_with("--skip-bad"), "{error}");
    place.put("a.txt.gz", prose(1));
    assert!(place.refused(&[]).starts_with("in/a.txt.gz is damaged: "));
    std::fs::remove_file(place.path("in/a.txt.gz")).unwrap();

    let mut bytes = zstd::encode_all(prose(1).as_bytes(), 3).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    let file = place.put("a.txt.zst", bytes);
    assert!(place.refused(&[]).starts_with("in/a.txt.zst is damaged: "));
    std::fs::remove_file(file).unwrap();

    let texts: Vec<String> = (0..50).map(prose).collect();
    let whole = parquet(vec![("text", Arc::new(StringArray::from(texts)))]);
    place.put("a.parquet", &whole[..whole.len() - 20]);
    assert!(place.refused(&[]).starts_with("in/a.parquet is damaged: "));
    // No position of a damaged byte causes a panic.
    for place_of_damage in (0..whole.len()).step_by(whole.len() / 25) {
        let mut bytes = whole.clone();
        bytes[place_of_damage] ^= 0x55;
        place.put("a.parquet", bytes);
        let out = place.path("out");
        if place.build(&["gopher.words=false"]).is_ok() {
            std::fs::remove_dir_all(out).unwrap();
        }
    }
}

#[test]
fn a_small_parquet_file_with_a_huge_page_is_refused() {
    let place = Sandbox::new();
    let page = |column: &str, bytes: usize| {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
        let batch = RecordBatch::try_from_iter([(column, texts)]).unwrap();
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
        let properties =
            properties.set_dictionary_enabled(false).set_statistics_enabled(EnabledStatistics::None).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let file = page("text", 257 << 20);
    assert!(file.len() < 100_000, "{}", file.len());
    place.put("a.parquet", file);
    let error = place.refused(&[]);
    assert!(error.starts_with("in/a.parquet is damaged: the page at byte 4 has"), "{error}");
    assert!(error.contains("when it is unpacked; at most 268435456 are read"), "{error}");
}

#[test]
fn a_footer_with_a_list_longer_than_itself_is_refused() {
    let place = Sandbox::new();
    // Field 2, the schema: a list of 2^31 structures in 12 bytes.
    let footer = [0x15, 0x02, 0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x08, 0x00, 0x00, 0x00];
    let file = [b"PAR1".as_slice(), &footer, &12_u32.to_le_bytes(), b"PAR1"].concat();
    place.put("a.parquet", file);
    let error = place.refused(&[]);
    assert!(error.contains("is damaged: its footer is damaged"), "{error}");
}

#[test]
fn an_empty_corpus_is_refused_with_the_reasons() {
    let place = Sandbox::new();
    place.put("a.jsonl", json("Too short.") + &json(" ") + &json("Short too. As is this. Quite."));
    let error = place.refused(&[]);
    assert!(error.starts_with("nothing is left of 3 documents: "), "{error}");
    assert!(
        error.contains("1 by empty")
            && error.contains("1 by gopher.words (such as in/a.jsonl, 3: 6 words, from 50 to 100000)"),
        "{error}"
    );
    place.put("a.jsonl", "\n\n");
    assert!(place.refused(&[]).starts_with("the input has no document"));
}

#[test]
fn settings_and_folders_that_cannot_be_used_are_refused() {
    let place = Sandbox::new();
    assert!(place.refused(&[]).starts_with("in: a folder without a file to read; their names end in .txt"));
    place.put("a.txt", prose(1));
    assert!(place.refused(&["split.validation=1.5"]).ends_with("split.validation: 1.5 is not at least 0 and below 1"));
    assert!(place.refused(&["c4.bad_words=none.txt"]).contains("none.txt: cannot read"));
    place.build(&[]).unwrap();
    // A second run with the same settings finds the corpus; with other settings it is refused, and the corpus stays.
    assert_eq!(place.build(&[]).unwrap().documents, 1);
    let before = files(&place.path("out"));
    let error = place.build(&["gopher.words=[1,1000]"]).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    assert_eq!(files(&place.path("out")), before);
}
