//! Checks that the output does not depend on the number of threads or on a kill in the middle.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palestra_corpus::{Options, build};

use crate::made::*;

/// Environment variable of the child process that is killed: the folder of its test.
const VICTIM: &str = "PALESTRA_TEST_CORPUS_UNTIL_KILLED";
const CHANGES: [&str; 2] = ["shards.text_bytes=50000", "split.validation=0.1"];

/// Writes documents with duplicates far apart, across shards and files.
fn fill(place: &Sandbox) {
    let rows = |from: u64| (from..from + 200).map(|number| json(&prose(number % 350))).collect::<String>();
    for file in 0..4 {
        let text = rows(150 * file);
        match file % 2 {
            0 => place.put(&format!("{file}.jsonl"), text),
            _ => place.put(&format!("{file}.jsonl.gz"), gzip(text.as_bytes())),
        };
    }
    place.put("5.txt", (5000..5050).map(prose).collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn the_bytes_do_not_depend_on_the_threads() {
    let place = Sandbox::new();
    fill(&place);
    let made = |threads: usize| {
        let threads = format!("threads={threads}");
        place.build(&[CHANGES[0], CHANGES[1], &threads]).unwrap();
        let mut files = files(&place.path("out"));
        std::fs::remove_dir_all(place.path("out")).unwrap();
        // It contains the number of threads.
        files.remove("corpus.toml");
        files
    };
    let one = made(1);
    assert!(one.len() > 12, "{:?}", one.keys());
    assert!(made(2) == one && made(7) == one);
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let place = Sandbox::new();
    fill(&place);
    place.build(&CHANGES).unwrap();
    let expected = files(&place.path("out"));
    std::fs::remove_dir_all(place.path("out")).unwrap();

    let partial = place.path("out.partial");
    let mut kills = 0;
    for wanted in [1, 3, 5] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "resumed::runs_as_the_victim"])
            .env(VICTIM, place.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Instant::now();
        // Kills the process as soon as it has this many shards, while it writes the next one.
        loop {
            let shards = partial.exists() && files_ready(&partial) >= wanted;
            let ended = child.try_wait().unwrap().is_some();
            if shards || ended || patience.elapsed() > Duration::from_secs(60) {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        kills += usize::from(child.kill().is_ok() && !child.wait().unwrap().success());
        assert!(!place.path("out").exists(), "the run was over before it could be killed");
        assert!(files_ready(&partial) >= wanted);
    }
    assert_eq!(kills, 3);
    // An incomplete shard of a killed run causes no problem.
    std::fs::write(partial.join(".tmp-train-00009.parquet"), b"half").unwrap();
    std::fs::write(partial.join("train-00999.parquet"), b"never noted").unwrap();

    let mut notes = Vec::new();
    let noted = std::cell::RefCell::new(&mut notes);
    let on_note = |note: &str| noted.borrow_mut().push(note.to_string());
    build(&place.settings(&CHANGES), &Options { on_note: Some(&on_note), ..Options::default() }).unwrap();
    assert!(notes[0].starts_with("going on with"), "{notes:?}");
    let resumed = files(&place.path("out"));
    assert_eq!(resumed.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(resumed[name] == *bytes, "{name} differs");
    }
}

/// Entry point of the child process of the test above.
#[test]
#[ignore = "child process of the tests beside it"]
fn runs_as_the_victim() {
    let folder = std::env::var(VICTIM).expect("set by the test that starts this process");
    let changes = CHANGES.map(String::from);
    let settings = palestra_corpus::Settings::parse("", "test", &changes).unwrap();
    let (inputs, out) = (vec![format!("{folder}in")], format!("{folder}out"));
    let settings = palestra_corpus::Settings { inputs, out, ..settings };
    // Slow, so that there is time for the kill.
    let on_progress = |_| std::thread::sleep(Duration::from_millis(5));
    build(&settings, &Options { on_progress: Some(&on_progress), ..Options::default() }).unwrap();
}

fn files_ready(partial: &std::path::Path) -> usize {
    let names = std::fs::read_dir(partial).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("train-") && name.ends_with(".parquet")).count()
}

#[test]
fn an_unfinished_corpus_is_not_gone_on_with_otherwise() {
    let place = Sandbox::new();
    fill(&place);
    // A damaged file at the end stops the run after some shards.
    let broken = place.put("9.parquet", b"PAR1");
    let error = place.build(&CHANGES).unwrap_err().to_string();
    assert!(error.contains("9.parquet is damaged"), "{error}");
    assert!(place.path("out.partial").join("train-00000.parquet").exists() && !place.path("out").exists());

    let error = place.build(&[CHANGES[0], "split.validation=0.2"]).unwrap_err().to_string();
    assert!(error.contains("`split.validation` was 0.1 and is 0.2") && error.contains("--restart"), "{error}");
    let first = std::fs::read(place.path("in/0.jsonl")).unwrap();
    place.put("0.jsonl", &first[1..]);
    let error = place.build(&CHANGES).unwrap_err().to_string();
    assert!(error.contains("was begun with other files"), "{error}");

    // After the repair, the run resumes.
    place.put("0.jsonl", &first);
    std::fs::remove_file(broken).unwrap();
    place.build(&CHANGES).unwrap();
    let resumed = files(&place.path("out"));
    std::fs::remove_dir_all(place.path("out")).unwrap();
    place.build(&CHANGES).unwrap();
    assert!(files(&place.path("out")) == resumed);
}

#[test]
fn one_folder_has_one_writer_and_restart_begins_anew() {
    let place = Sandbox::new();
    fill(&place);
    let settings = place.settings(&CHANGES);
    let once = std::sync::Once::new();
    let on_progress = |_| {
        once.call_once(|| {
            let error = build(&settings, &Options::default()).unwrap_err().to_string();
            assert!(error.ends_with("is being written by another run"), "{error}");
        });
    };
    place.put("9.parquet", b"PAR1");
    build(&settings, &Options { on_progress: Some(&on_progress), ..Options::default() }).unwrap_err();
    std::fs::remove_file(place.path("in/9.parquet")).unwrap();
    let other = place.settings(&[CHANGES[0]]);
    assert!(build(&other, &Options::default()).is_err());
    build(&other, &Options { restart: true, ..Options::default() }).unwrap();
    assert!(place.path("out").exists());
}

#[test]
fn a_folder_that_is_not_of_a_run_is_left_alone() {
    let place = Sandbox::new();
    fill(&place);
    let theirs = ["data.parquet", "report.html", "lock", "train-00000.parquet"];
    std::fs::create_dir(place.path("out.partial")).unwrap();
    theirs.iter().for_each(|name| std::fs::write(place.path("out.partial").join(name), "theirs").unwrap());
    let refused = |options: &Options, reason: &str| {
        let error = build(&place.settings(&CHANGES), options).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("nothing of it was touched"), "{error}");
        for name in theirs {
            assert_eq!(std::fs::read(place.path("out.partial").join(name)).unwrap(), b"theirs", "{name}");
        }
    };
    let restart = Options { restart: true, ..Options::default() };
    [&restart, &Options::default()]
        .into_iter()
        .for_each(|options| refused(options, "has files, and no manifest of a corpus run"));
    std::fs::write(place.path("out.partial").join("manifest.json"), "{\"version\": 1}").unwrap();
    [&restart, &Options::default()]
        .into_iter()
        .for_each(|options| refused(options, "has a manifest.json that is not of a corpus run"));
    #[cfg(unix)]
    {
        std::fs::rename(place.path("out.partial"), place.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(place.path("elsewhere"), place.path("out.partial")).unwrap();
        [&restart, &Options::default()].into_iter().for_each(|options| refused(options, "is a link"));
    }
}

#[test]
fn a_run_that_was_killed_before_its_manifest_starts_again_and_files_of_others_stay() {
    let place = Sandbox::new();
    fill(&place);
    std::fs::create_dir(place.path("out.partial")).unwrap();
    std::fs::write(place.path("out.partial").join("lock"), "").unwrap();
    std::fs::write(place.path("out.partial").join(".tmp-manifest.json.77-0"), "{").unwrap();
    place.build(&CHANGES).unwrap();
    assert!(!place.path("out").join(".tmp-manifest.json.77-0").exists());
}
