//! Tests of whole files and directories.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_file_has_the_contents_that_were_written_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plots/loss.svg");
    write_atomically(&path, b"the older and longer contents").unwrap();
    write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(path.parent().unwrap()), ["loss.svg"]);
}

#[test]
fn streamed_contents_can_be_changed_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.bin");
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"____body").unwrap();
    assert!(!path.exists() && is_temporary(file.temporary_path()));
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"head").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"headbody");
    assert_eq!(names(folder.path()), ["tokens.bin"]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    write_atomically(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(&vec![0; 3 << 20]).unwrap(); // more than the buffer holds
    assert_eq!(names(folder.path()).len(), 2);
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["run.toml"]);

    // A name that a directory has cannot be given to a file.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let error = write_atomically(&taken, b"new").unwrap_err();
    assert_eq!(error.path, taken);
    assert!(error.to_string().starts_with(&format!("{}: ", taken.display())), "{error}");
    assert_eq!(names(folder.path()), ["run.toml", "taken"]);
}

#[test]
fn errors_name_the_path_also_as_errors_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/a.txt");
    let error = std::io::Error::from(AtomicFile::create(&missing).unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing/a.txt: "), "{error}");
    assert!(Temporary::beside(Path::new("/")).unwrap_err().to_string().starts_with("/: "));
}

#[test]
fn two_writers_of_one_name_do_not_mix_their_contents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let [mut first, mut second] = [(), ()].map(|()| AtomicFile::create(&path).unwrap());
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    second.commit().unwrap();
    first.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
}

#[test]
fn a_file_of_another_writer_is_published_or_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let temporary = Temporary::beside(&path).unwrap();
    fs::write(temporary.path(), "rows").unwrap();
    drop(temporary);
    assert_eq!(names(folder.path()), [""; 0]);
    let temporary = Temporary::beside(&path).unwrap();
    fs::write(temporary.path(), "rows").unwrap();
    temporary.publish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"rows");
    assert_eq!(names(folder.path()), ["log.parquet"]);
}

#[test]
fn a_directory_is_replaced_as_a_whole_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let fill = |text: &'static str| move |inside: &Path| write_atomically(&inside.join("weights"), text.as_bytes());
    write_directory(&path, fill("old")).unwrap();
    let failed = write_directory(&path, |inside| {
        fill("half")(inside)?;
        write_atomically(&inside.join("weights/of"), b"")
    });
    assert!(failed.unwrap_err().to_string().contains("weights"));
    assert_eq!(fs::read(path.join("weights")).unwrap(), b"old");
    write_directory(&path, fill("new")).unwrap();
    assert_eq!(fs::read(path.join("weights")).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["model"]);
    remove_directory(&path).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
}
