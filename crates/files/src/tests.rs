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

#[test]
fn a_destination_is_kept_unless_it_may_be_replaced_and_what_is_read_always() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plots/scores.jsonl");
    let none: [&Path; 0] = [];
    let claim = |overwrite, reads: &[&Path]| Destination::claim(&path, overwrite, reads);
    claim(false, &none).unwrap().write(b"first").unwrap();
    let refused = claim(false, &none).unwrap_err().to_string();
    assert!(
        refused.contains("plots/scores.jsonl: there is a file already") && refused.contains("--overwrite"),
        "{refused}"
    );
    claim(true, &none).unwrap().write(b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(names(path.parent().unwrap()), ["scores.jsonl"]);

    let roundabout = folder.path().join("plots/../plots/scores.jsonl");
    let hard = folder.path().join("hard");
    fs::hard_link(&path, &hard).unwrap();
    for read in [&path, &roundabout, &hard, &folder.path().join("plots")] {
        let refused = claim(true, &[read]).unwrap_err().to_string();
        assert!(refused.contains("this command reads it"), "{refused}");
    }
    assert!(Destination::claim(folder.path(), true, &none).unwrap_err().to_string().contains("is a directory"));
    let missing = [Path::new("missing")];
    assert!(claim(true, &missing).is_ok());
}

#[cfg(unix)]
#[test]
fn a_destination_that_links_to_what_is_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, link) = (folder.path().join("data.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&data, "rows").unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    assert!(Destination::claim(&link, true, &[&data]).is_err());
    assert!(Destination::claim(&data, true, &[&link]).is_err());
    fs::remove_file(&data).unwrap();
    assert!(Destination::claim(&link, false, &[&data]).is_err(), "a link that leads nowhere is there, too");
}

#[test]
fn one_process_writes_a_destination_and_clears_what_killed_ones_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tokens");
    let left = ["a.tokens.999999999-0", "a.tokens.lock", "a.tokens.gz.999999999-0", "a.tokens.mine"];
    left.iter().for_each(|name| fs::write(folder.path().join(format!(".tmp-{name}")), "").unwrap());
    let none: [&Path; 0] = [];
    let first = Destination::claim(&path, false, &none).unwrap();
    let refused = Destination::claim(&path, false, &none).unwrap_err().to_string();
    assert!(refused.contains("another process is writing it"), "{refused}");
    drop(first);
    assert_eq!(names(folder.path()), [".tmp-a.tokens.gz.999999999-0", ".tmp-a.tokens.mine"]);
    assert!(Destination::claim(&path, false, &none).is_ok());
}

#[test]
fn what_killed_processes_left_is_removed_and_nothing_behind_a_link() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("checkpoints/.tmp-step-1/inside")).unwrap();
    fs::write(at("checkpoints/.tmp-step-1/inside/weights"), "w").unwrap();
    fs::write(at(".tmp-run.toml.1-0"), "half").unwrap();
    fs::write(at("run.toml"), "whole").unwrap();
    fs::write(elsewhere.path().join(".tmp-theirs"), "theirs").unwrap();
    #[cfg(unix)]
    for link in [".tmp-link", "link"] {
        std::os::unix::fs::symlink(elsewhere.path(), at(link)).unwrap();
    }
    remove_temporaries(folder.path()).unwrap();
    remove_temporaries(&at("missing")).unwrap();
    assert_eq!(names(&at("checkpoints")), [""; 0]);
    assert!(at("run.toml").exists() && !at(".tmp-run.toml.1-0").exists());
    assert_eq!(names(elsewhere.path()), [".tmp-theirs"]);
}

#[test]
fn a_destination_that_is_not_written_leaves_no_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/file");
    let claim = || Destination::claim(&path, false, &[] as &[&Path]).unwrap();
    drop(claim());
    assert!(!folder.path().join("a").exists());
    claim().write(b"x").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
}
