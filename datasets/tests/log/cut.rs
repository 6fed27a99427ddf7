//! Checks that a log truncated anywhere can be read up to its last whole row group, and can be repaired.

use std::path::Path;
use std::process::Command;

use palestra_datasets::Episode;
use palestra_datasets::log::{LogWriter, ReadOptions, Repaired, WriteOptions, repair};

use crate::made::*;

/// Environment variable of the child process that is killed: the path of the log that it writes.
const VICTIM: &str = "PALESTRA_TEST_WRITES_UNTIL_KILLED";

#[test]
fn a_cut_anywhere_costs_at_most_the_unfinished_row_group() {
    let (folder, path) = place();
    let written: Vec<Episode> = (0..6).map(full).collect();
    let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len() as usize;
    let mut whole_until = vec![(length(), 0)];
    for (index, episode) in written.iter().enumerate() {
        writer.write(episode).unwrap();
        if index % 2 == 1 {
            writer.flush().unwrap();
            whole_until.push((length(), index + 1));
        }
    }
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let cut = folder.path().join("cut.parquet");
    let near_an_edge = |len: usize| whole_until.iter().any(|(edge, _)| len.abs_diff(*edge) < 12);
    for len in (0..bytes.len()).filter(|len| len % 997 == 0 || near_an_edge(*len) || bytes.len() - len < 9) {
        std::fs::write(&cut, &bytes[..len]).unwrap();
        let log = try_open(&cut, ReadOptions::default());
        match whole_until.iter().rev().find(|(edge, _)| *edge <= len) {
            Some((_, count)) => {
                let log = log.unwrap_or_else(|error| panic!("cut to {len}: {error}"));
                assert!(log.info(0).is_cut);
                assert_eq!(episodes(&log), written[..*count], "cut to {len}");
            }
            None => assert!(log.is_err(), "cut to {len}"),
        }
    }
}

#[test]
fn a_repaired_log_is_as_if_it_had_been_finished() {
    let (folder, path) = place();
    let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
    for number in 0..4 {
        writer.write(&full(number)).unwrap();
        writer.flush().unwrap();
    }
    let whole = std::fs::metadata(&path).unwrap().len();
    let cut = folder.path().join("cut.parquet");
    std::fs::copy(&path, &cut).unwrap();
    writer.finish().unwrap();
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(whole - 10).unwrap();

    let repaired = repair(&cut).unwrap().unwrap();
    assert!(repaired.bytes_dropped > 0);
    assert_eq!(repaired, Repaired { rows: 6, row_groups: 3, bytes_dropped: repaired.bytes_dropped });
    let log = open(&cut);
    assert!(!log.info(0).is_cut && log.info(0).has_checksums);
    assert_eq!(episodes(&log), (0..3).map(full).collect::<Vec<_>>());
    assert_eq!(repair(&cut).unwrap(), None);

    let expected = folder.path().join("expected.parquet");
    write(&expected, &(0..3).map(full).collect::<Vec<_>>(), 1);
    assert!(std::fs::read(&cut).unwrap() == std::fs::read(&expected).unwrap());
}

#[test]
fn a_damaged_footer_is_told_from_a_cut_and_rebuilt() {
    let (_folder, path) = place();
    let written: Vec<Episode> = (0..3).map(full).collect();
    write(&path, &written, 1);
    let whole = std::fs::read(&path).unwrap();
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize + 8;
    for place in (whole.len() - footer..whole.len()).step_by(611).chain(whole.len() - 8..whole.len() - 4) {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        let error = try_open(&path, ReadOptions::default()).err().unwrap_or_else(|| panic!("byte {place}")).to_string();
        assert!(error.contains("log.parquet: ") && error.contains("repairing"), "byte {place}: {error}");
        repair(&path).unwrap().unwrap();
        assert!(std::fs::read(&path).unwrap() == whole, "byte {place}");
    }
}

#[test]
fn only_our_own_logs_can_be_repaired() {
    let (_folder, path) = place();
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/pyarrow_plain.parquet");
    let bytes = std::fs::read(foreign).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = try_open(&path, ReadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("log.parquet: it was cut off") && error.contains("no record"), "{error}");
    let error = repair(&path).unwrap_err().to_string();
    assert!(error.contains("log.parquet: cannot be repaired"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len() - 1);
}

/// Entry point of the child process: the test below runs this program again with only this test.
#[test]
#[ignore = "child process of the tests beside it"]
fn victim() {
    let path = std::env::var(VICTIM).expect("set by the test that starts this process");
    let options = WriteOptions { row_group_rows: 200, ..WriteOptions::default() };
    let mut writer = LogWriter::create(Path::new(&path), options).unwrap();
    (0..10_000_000).for_each(|number| writer.write(&full(number)).unwrap());
}

#[test]
fn a_killed_writer_leaves_all_whole_row_groups() {
    let (_folder, path) = place();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "cut::victim", "--test-threads=1"])
        .env(VICTIM, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while std::fs::metadata(&path).map_or(0, |file| file.len()) < 100_000 {
        assert_eq!(victim.try_wait().unwrap(), None, "the victim ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    let log = open(&path);
    assert!(log.info(0).is_cut);
    let read = episodes(&log);
    assert!(read.len() > 100, "{} episodes", read.len());
    assert_eq!(read, (0..read.len() as u32).map(full).collect::<Vec<_>>());
    let rows = repair(&path).unwrap().unwrap().rows;
    assert_eq!(rows, read.iter().map(|episode| episode.turns.len() as u64).sum::<u64>());
    assert_eq!(episodes(&open(&path)), read);
}
