//! Checks that damage is refused with file, row group and reason, skipped on request, and never causes a panic.

use std::path::Path;

use palestra_datasets::Episode;
use palestra_datasets::log::{Columns, Log, ReadOptions};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::made::*;

const SKIP_BAD: ReadOptions = ReadOptions { skip_bad: true, columns: Columns::All };

/// Returns all episodes, or the first error as text.
fn read(path: &Path) -> Result<Vec<Episode>, String> {
    let log = try_open(path, ReadOptions::default()).map_err(|error| error.to_string())?;
    log.episodes().map(|located| Ok(located.map_err(|error| error.to_string())?.episode)).collect()
}

#[test]
fn a_flipped_bit_never_changes_what_is_read() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..6).map(full).collect();
    write(&path, &written, 2);
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for place in (0..whole.len()).step_by(211) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        std::fs::write(&path, &damaged).unwrap();
        match read(&path) {
            Ok(episodes) => assert_eq!(episodes, written, "byte {place}"),
            Err(_) => refused += 1,
        }
    }
    // The other bytes belong to records, which are not used in a complete file.
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_damaged_row_group_is_named_or_passed_over() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..6).map(full).collect();
    write(&path, &written, 2);
    let mut bytes = std::fs::read(&path).unwrap();
    let place = middle_of_observations(&path, 1);
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = read(&path).unwrap_err();
    assert!(
        error.contains("log.parquet: row group 1: column") && error.contains("is damaged: its checksum"),
        "{error}"
    );

    let log = try_open(&path, SKIP_BAD).unwrap();
    for _ in 0..2 {
        assert_eq!(episodes(&log), [&written[..2], &written[4..]].concat());
    }
    let skipped = log.skipped();
    assert_eq!((skipped.files, skipped.row_groups, skipped.episodes), (0, 1, 0));
    assert!(skipped.reasons[0].contains("row group 1") && skipped.reasons.len() == 1, "{:?}", skipped.reasons);
}

#[test]
fn a_file_that_is_no_log_is_named_or_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("b.parquet"), &[full(1)], 1);
    let cases: [(&[u8], &str); 4] = [
        (b"", "0 bytes"),
        (b"episode_id,step,observation", "does not start with PAR1"),
        (b"PAR1 and then anything at all", "it was cut off: no PAR1 at its end"),
        (b"PAR1\xff\xff\xff\x00PAR1", "its footer is damaged: 16777215 bytes long"),
    ];
    for (bytes, expected) in cases {
        std::fs::write(path("a.parquet"), bytes).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.contains("a.parquet: ") && error.contains(expected), "{error}");
        let log = try_open(folder.path(), SKIP_BAD).unwrap();
        assert_eq!(episodes(&log), [full(1)]);
        assert_eq!((log.skipped().files, log.files().len()), (1, 1));
        assert!(try_open(&path("a.parquet"), SKIP_BAD).is_err(), "no file is left");
    }
}

/// Without checksums a change may go undetected, but it must not cause a panic.
#[test]
fn no_damage_to_other_tools_files_panics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let (_folder, path) = place();
    let fixtures = ["pyarrow_plain", "pyarrow_wide", "polars_default", "duckdb_extras"];
    let (mut refused, mut tried) = (0, 0);
    for (fixture, step) in fixtures.iter().zip([31, 41, 53, 29]) {
        let whole = std::fs::read(folder.join(fixture).with_extension("parquet")).unwrap();
        for place in (0..whole.len()).step_by(step) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            std::fs::write(&path, &damaged).unwrap();
            refused += usize::from(read(&path).is_err());
            let log = try_open(&path, SKIP_BAD);
            tried += log.map_or(0, |log| log.episodes().map(Result::unwrap).count());
        }
    }
    assert!(refused > 50 && tried > 10, "{refused} refused, {tried} episodes");
}

#[test]
fn a_log_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Log>();
}

/// Returns the offset of a byte in the observations of a row group.
fn middle_of_observations(path: &Path, row_group: usize) -> usize {
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let chunks = file.metadata().row_group(row_group).columns();
    let observations = chunks.iter().find(|chunk| chunk.column_path().string() == "observation").unwrap();
    let (start, len) = observations.byte_range();
    (start + len / 2) as usize
}
