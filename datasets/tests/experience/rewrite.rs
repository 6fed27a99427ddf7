//! Rewriting of a log of another tool.

use palestra_datasets::End;
use palestra_datasets::import::{ImportOptions, rewrite};
use palestra_datasets::log::{Log, ReadOptions};

use crate::made::*;

const ROWS: [(&str, u32, f32, bool, bool); 4] =
    [("a", 0, 0.5, false, false), ("a", 1, 1.0, false, true), ("b", 0, 0.0, true, false), ("c", 0, 0.0, false, false)];

#[test]
fn a_foreign_log_becomes_ours() {
    let (folder, path) = place();
    write_foreign(&path, &ROWS);
    let to = folder.path().join("ours.parquet");
    let options = ImportOptions { env_id: Some("maze-v1".to_string()), ..ImportOptions::default() };
    let report = rewrite(&open(&path), &to, &options).unwrap();
    assert_eq!((report.episodes, report.rows), (3, 4));
    assert_eq!((report.terminated, report.truncated, report.cut), (1, 1, 1));
    assert!(open(&to).info(0).has_checksums && !open(&path).info(0).has_checksums);
    let read = episodes(&to);
    assert_eq!(read[0].end, Some(End::Truncated));
    assert_eq!(read[0].total_reward(), 1.5);
    assert_eq!((read[2].env_id.as_str(), read[2].end_reason.as_deref()), ("maze-v1", Some("cut")));
}

#[test]
fn nothing_is_left_of_an_import_that_failed() {
    let (folder, path) = place();
    let mut rows = ROWS.to_vec();
    rows.push(("d", 0, f32::NAN, true, false));
    write_foreign(&path, &rows);
    let to = folder.path().join("ours.parquet");
    let error = rewrite(&open(&path), &to, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("row 4"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the source alone");

    let skipping = Log::open(&[path.to_str().unwrap()], ReadOptions { skip_bad: true, ..ReadOptions::default() });
    let report = rewrite(&skipping.unwrap(), &to, &ImportOptions::default()).unwrap();
    assert_eq!((report.episodes, report.skipped), (3, 1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn no_file_is_written_over() {
    let (folder, path) = place();
    write_foreign(&path, &ROWS);
    let to = folder.path().join("mine.parquet");
    std::fs::write(&to, "mine").unwrap();
    let error = rewrite(&open(&path), &to, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("there is a file already"), "{error}");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");
}

#[test]
fn a_log_without_episodes_is_not_written() {
    let (folder, path) = place();
    write_foreign(&path, &[]);
    let to = folder.path().join("ours.parquet");
    let error = rewrite(&open(&path), &to, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("not a single episode"), "{error}");
    assert!(!to.exists());
}
