//! Checks that files that break the log's rules are refused with file, row, column and value.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::*;
use arrow_array::*;
use palestra_datasets::log::{Columns, ReadOptions};
use palestra_datasets::{End, Episode};
use parquet::arrow::ArrowWriter;

use crate::made::{episodes, open, place, try_open};

pub type Named = (&'static str, ArrayRef);

/// Returns two episodes, of two turns and of one, in the required columns.
pub fn good() -> Vec<Named> {
    vec![
        ("episode_id", text(&["a", "a", "b"])),
        ("step", Arc::new(UInt32Array::from(vec![0, 1, 0]))),
        ("observation", text(&["x", "y", "z"])),
        ("action", text(&["1", "2", "3"])),
        ("reward", Arc::new(Float32Array::from(vec![0.0, 1.0, 2.0]))),
        ("terminated", Arc::new(BooleanArray::from(vec![false, true, false]))),
        ("truncated", Arc::new(BooleanArray::from(vec![false, false, true]))),
    ]
}

/// Returns the valid columns, with one replaced by name or appended.
pub fn with(name: &'static str, array: ArrayRef) -> Vec<Named> {
    let mut columns = good();
    match columns.iter_mut().find(|column| column.0 == name) {
        Some(column) => column.1 = array,
        None => columns.push((name, array)),
    }
    columns
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn write(path: &Path, columns: Vec<Named>) {
    let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub fn read(columns: Vec<Named>) -> Result<Vec<Episode>, String> {
    let (_folder, path) = place();
    write(&path, columns);
    let log = try_open(&path, ReadOptions::default()).map_err(|error| error.to_string())?;
    log.episodes().map(|located| Ok(located.map_err(|error| error.to_string())?.episode)).collect()
}

#[track_caller]
pub fn refused(columns: Vec<Named>, expected: &str) {
    let error = read(columns).unwrap_err();
    assert!(error.contains(&format!("log.parquet: {expected}")), "{error}");
}

#[test]
fn the_good_log_is_good() {
    let read = read(good()).unwrap();
    let ends: Vec<_> = read.iter().map(|episode| (episode.id.as_str(), episode.turns.len(), episode.end)).collect();
    assert_eq!(ends, [("a", 2, Some(End::Terminated)), ("b", 1, Some(End::Truncated))]);
}

#[test]
fn a_missing_column_is_named_with_what_may_be_it() {
    let rename = |from: &str, to: &'static str| {
        good().into_iter().map(|(name, array)| (if name == from { to } else { name }, array)).collect::<Vec<_>>()
    };
    refused(rename("action", "Actoin"), "column action: missing; every log needs it, a string; rename Actoin, if");
    refused(rename("observation", "obs"), "column observation: missing; every log needs it, a string; rename obs");
    refused(rename("reward", "rewards"), "column reward: missing; every log needs it, a number (float32); rename rewa");
    let error = read(rename("truncated", "colour")).unwrap_err();
    assert!(error.ends_with("column truncated: missing; every log needs it, a boolean, or 0 and 1"), "{error}");
}

#[test]
fn a_column_of_another_type_is_named_with_both_types() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    refused(with("episode_id", numbers.clone()), "column episode_id: is of type Int64; it should be a string");
    refused(with("step", text(&["0", "1", "0"])), "column step: is of type Utf8; it should be a whole number");
    refused(
        with("step", Arc::new(Float64Array::from(vec![0.0, 1.0, 0.0]))),
        "column step: is of type Float64; it should be a whole number",
    );
    refused(
        with("terminated", text(&["no", "yes", "no"])),
        "column terminated: is of type Utf8; it should be a boolean",
    );
    refused(with("action_ids", numbers), "column action_ids: is of type Int64; it should be a list of whole numbers");
    refused(with("reward", Arc::new(NullArray::new(3))), "column reward: is of type Null; it should be a number");
}

#[test]
fn a_null_where_none_may_be_is_named_by_its_row() {
    let action: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, Some("3")]));
    refused(with("action", action), "row 1 (row group 0), column action: null; every row needs a value");
    let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None]));
    refused(with("episode_id", ids), "row 2 (row group 0), column episode_id: null");
    let mut ids = ListBuilder::new(UInt32Builder::new());
    ids.append_value([Some(1)]);
    ids.append_null();
    ids.append_value([Some(1), None]);
    refused(with("action_ids", Arc::new(ids.finish())), "row 2 (row group 0), column action_ids: null inside a list");
}

#[test]
fn a_value_that_does_not_fit_is_told() {
    let steps: ArrayRef = Arc::new(Int64Array::from(vec![0, -1, 0]));
    refused(with("step", steps), "row 1 (row group 0), column step: -1 does not fit into UInt32");
    let flags: ArrayRef = Arc::new(Int32Array::from(vec![0, 1, 2]));
    refused(with("terminated", flags), "row 2 (row group 0), column terminated: 2 is not a flag");
    let mut ids = ListBuilder::new(Int64Builder::new());
    ids.append_value([Some(1), Some(2)]);
    ids.append_value([Some(3), Some(1 << 40)]);
    ids.append_null();
    let ids = Arc::new(ids.finish());
    refused(with("prompt_ids", ids), "row 1 (row group 0), column prompt_ids: 1099511627776 does not fit into UInt32");
    let rewards: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 0.0, 1e300]));
    refused(with("reward", rewards), "row 2 (row group 0), column reward: inf is not a finite number");
    let mut log_probs = ListBuilder::new(Float32Builder::new());
    (0..3).for_each(|row| log_probs.append_value([Some(row as f32 - 1.0)]));
    let log_probs = Arc::new(log_probs.finish());
    refused(with("log_probs", log_probs), "row 2 (row group 0), column log_probs: 1 is not a log-probability");
}

#[test]
fn steps_count_up_from_0() {
    let steps = |steps: [u32; 3]| with("step", Arc::new(UInt32Array::from(steps.to_vec())));
    refused(steps([1, 2, 0]), "row 0 (row group 0), column step: 1 where 0 should be");
    refused(steps([0, 2, 0]), "row 1 (row group 0), column step: 2 where 1 should be");
    refused(steps([0, 0, 0]), "row 1 (row group 0), column step: 0 where 1 should be");
    refused(steps([0, 1, 1]), "row 2 (row group 0), column step: 1 where 0 should be");
    // An episode in two places: its second part does not begin with step 0.
    let mut scattered = with("episode_id", text(&["a", "b", "a"]));
    scattered[1].1 = Arc::new(UInt32Array::from(vec![0, 0, 1]));
    refused(
        scattered,
        "row 2 (row group 0), column step: 1 where 0 should be: the rows of an episode (this one is \"a\")",
    );
    refused(with("episode_id", text(&["", "", "b"])), "row 0 (row group 0), column episode_id: is empty");
}

#[test]
fn an_end_flag_stands_on_the_last_row_alone() {
    let flags = |flags: [bool; 3]| Arc::new(BooleanArray::from(flags.to_vec())) as ArrayRef;
    let early = "row 1 (row group 0), column terminated: true on the row before, and the episode goes on";
    refused(with("terminated", flags([true, true, false])), early);
    let early = "row 1 (row group 0), column truncated: true on the row before";
    refused(with("truncated", flags([true, false, false])), early);
    let both = read(with("truncated", flags([false, true, true]))).unwrap();
    assert_eq!(both[0].end, Some(End::Terminated), "terminated wins");
    let cut = read(with("terminated", flags([false; 3]))).unwrap();
    assert_eq!((cut[0].end, cut[0].end_reason.as_deref()), (None, Some("cut")));
}

#[test]
fn an_episode_has_one_of_what_belongs_to_the_episode() {
    let temperatures: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), Some(0.7), None]));
    let expected = "row 1 (row group 0), column temperature: 0.7, but 0.5 on the episode's first row";
    refused(with("temperature", temperatures), expected);
    let policies: ArrayRef = Arc::new(StringArray::from(vec![None, Some("p"), Some("q")]));
    refused(with("policy_id", policies), "row 1 (row group 0), column policy_id: \"p\"");
    let environments: ArrayRef = text(&["snake-v1", "snake-6x6-v1", "b"]);
    refused(with("env_id", environments), "row 1 (row group 0), column env_id: \"snake-6x6-v1\", but \"snake-v1\"");
    let seeds: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(8)]));
    let read = read(with("seed", seeds)).unwrap();
    assert_eq!(read.iter().map(|episode| episode.seed).collect::<Vec<_>>(), [Some(7), Some(8)]);
}

#[test]
fn bad_episodes_are_passed_over_and_counted() {
    let (_folder, path) = place();
    write(&path, with("reward", Arc::new(Float32Array::from(vec![0.0, f32::NAN, 2.0]))));
    let log = try_open(&path, ReadOptions { skip_bad: true, columns: Columns::All }).unwrap();
    for _ in 0..2 {
        assert_eq!(episodes(&log).iter().map(|episode| episode.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }
    let skipped = log.skipped();
    assert_eq!((skipped.files, skipped.row_groups, skipped.episodes), (0, 0, 1));
    assert!(skipped.reasons[0].contains("row 1 (row group 0), column reward: NaN"), "{:?}", skipped.reasons);
    assert_eq!(log.outcomes().unwrap().iter().map(|outcome| outcome.total_reward).collect::<Vec<_>>(), [2.0]);
    // Without `skip_bad`, reading can continue after the error too.
    let log = open(&path);
    assert_eq!(log.episodes().map(|located| located.is_ok()).collect::<Vec<_>>(), [false, true]);
    assert!(log.read(&log.groups()[0]).is_err());
    assert_eq!(log.read_chunks(&log.groups()[0], 1000).map(|chunk| chunk.is_ok()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_later_schema_is_refused() {
    let (_folder, path) = place();
    let batch = RecordBatch::try_from_iter(good()).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    let version = parquet::file::metadata::KeyValue::new("schema_version".to_string(), "2".to_string());
    writer.append_key_value_metadata(version);
    writer.close().unwrap();
    let error = try_open(&path, ReadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("log.parquet: schema_version 2; this version of Palestra reads 1"), "{error}");
}
