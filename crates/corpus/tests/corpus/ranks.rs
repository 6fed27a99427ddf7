//! Corpora that several ranks build: the bytes of one process, after a kill too. Ranks are threads of the test.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use palestra_corpus::{Options, Ranks, Report, Settings, build, build_on_ranks};

use crate::made::*;

const VICTIM: &str = "PALESTRA_TEST_CORPUS_ON_RANKS_UNTIL_KILLED";
const CHANGES: [&str; 3] = ["shards.text_bytes=200000", "split.validation=0.1", "threads=2"];

/// A rank that is a thread.
struct Rank {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Ranks for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.to.iter().for_each(|to| to.send(own.to_vec()).unwrap_or_default());
        let receive =
            |from: &Receiver<Vec<u8>>| from.recv_timeout(Duration::from_secs(60)).map_err(|error| error.to_string());
        self.from.iter().map(receive).collect()
    }
}

/// Does the work on each of so many ranks.
fn on_ranks<T: Send>(size: usize, work: impl Fn(&Rank) -> T + Sync) -> Vec<T> {
    let mut ranks: Vec<Rank> = (0..size).map(|rank| Rank { rank, to: Vec::new(), from: Vec::new() }).collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = channel();
            ranks[from].to.push(sender);
            ranks[to].from.push(receiver);
        }
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || work(&rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Builds on ranks; returns the report, or the error that all of them have.
fn build_together(settings: &Settings, size: usize) -> Result<Report, String> {
    let mut built =
        on_ranks(size, |rank| build_on_ranks(settings, &Options::default(), rank).map_err(|error| error.to_string()));
    assert!(built.windows(2).all(|pair| pair[0] == pair[1]), "{built:?}");
    built.swap_remove(0)
}

/// Writes more documents than are looked up at once, with copies and near copies in other files, and chains of near copies.
fn fill(place: &Sandbox) {
    let near = |number: u64, change: u64| prose(number).replacen("The", &"So the ".repeat(change as usize), 1);
    let document = |number: u64| match number % 10 {
        3 => prose(number - 3),
        5 if number > 700 => near(number - 605, 1),
        6..=8 => near(number % 7, 3 * (number % 17)),
        _ => prose(number),
    };
    for file in 0..5 {
        let rows: String = (file * 260..(file + 1) * 260 + 40).map(|number| json(&document(number))).collect();
        match file % 2 {
            0 => place.put(&format!("{file}.jsonl"), rows + "\n\n"),
            _ => place.put(&format!("{file}.jsonl.gz"), gzip(rows.as_bytes())),
        };
    }
    place.put("5.txt", (5000..5050).map(prose).collect::<Vec<_>>().join("\n\n"));
    place.put("6.jsonl", "\n");
    place.put("7.jsonl", json("Too short."));
}

/// Files of a corpus, which is then removed.
fn taken(place: &Sandbox) -> std::collections::BTreeMap<String, Vec<u8>> {
    assert!(!place.path("out.partial").exists());
    let files = files(&place.path("out"));
    std::fs::remove_dir_all(place.path("out")).unwrap();
    files
}

fn assert_same(place: &Sandbox, expected: &std::collections::BTreeMap<String, Vec<u8>>) {
    let found = taken(place);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    expected.iter().for_each(|(name, bytes)| assert!(found[name] == *bytes, "{name} differs"));
}

#[test]
fn ranks_build_the_bytes_of_one_process() {
    let place = Sandbox::new();
    fill(&place);
    for changes in [&CHANGES[..], &["shards.text_bytes=200000", "duplicates.exact=false"], &["duplicates.near=false"]] {
        let settings = place.settings(changes);
        let report = build(&settings, &Options::default()).unwrap();
        assert!(report.documents > 1300 && report.dropped.len() >= 2, "{report}");
        let expected = taken(&place);
        for size in if changes.len() == 3 { 2..=4 } else { 2..=2 } {
            assert_eq!(build_together(&settings, size).unwrap(), report);
            // A second run finds it whole.
            assert_eq!(build_together(&settings, size).unwrap(), report);
            assert_same(&place, &expected);
        }
    }
    // More ranks than files.
    let settings = place.settings(&CHANGES);
    build(&settings, &Options::default()).unwrap();
    let expected = taken(&place);
    build_together(&settings, 9).unwrap();
    assert_same(&place, &expected);
}

#[test]
fn a_killed_run_of_ranks_goes_on_behind_the_files_that_are_cleaned() {
    let place = Sandbox::new();
    fill(&place);
    let settings = place.settings(&CHANGES);
    build(&settings, &Options::default()).unwrap();
    let expected = taken(&place);
    let parts = place.path("out.partial/parts");
    let cleaned = || {
        let names = std::fs::read_dir(&parts).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("counts-")).count()
    };
    for wanted in [1, 4] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "ranks::runs_as_the_victim"])
            .env(VICTIM, place.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Instant::now();
        while cleaned() < wanted && child.try_wait().unwrap().is_none() && patience.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the run was over before it could be killed");
        assert!(cleaned() >= wanted && !place.path("out").exists());
    }
    // Shards of a killed run are written anew, whatever is in them.
    std::fs::write(place.path("out.partial/train-00000.parquet"), "half").unwrap();
    std::fs::write(parts.join(".tmp-counts-00007.json.1-1"), "half").unwrap();
    build_together(&settings, 3).unwrap();
    assert_same(&place, &expected);
}

/// Entry point of the child process of the test above.
#[test]
#[ignore = "child process of the tests beside it"]
fn runs_as_the_victim() {
    let folder = std::env::var(VICTIM).expect("set by the test that starts this process");
    let settings = Settings::parse("", "test", &CHANGES.map(String::from)).unwrap();
    let settings = Settings { inputs: vec![format!("{folder}in")], out: format!("{folder}out"), ..settings };
    on_ranks(2, |rank| {
        // Slow, so that there is time for the kill.
        let on_progress = |_| std::thread::sleep(Duration::from_millis(20));
        let options = Options { on_progress: Some(&on_progress), ..Options::default() };
        build_on_ranks(&settings, &options, rank).unwrap();
    });
}

#[test]
fn an_error_is_that_of_the_first_file_and_cleaned_files_are_not_read_again() {
    let place = Sandbox::new();
    fill(&place);
    let settings = place.settings(&CHANGES);
    build(&settings, &Options::default()).unwrap();
    let expected = taken(&place);
    let rows = std::fs::read(place.path("in/2.jsonl")).unwrap();
    let last = std::fs::read(place.path("in/7.jsonl")).unwrap();
    place.put("2.jsonl", [b"{}".as_slice(), &rows[2..]].concat());
    place.put("7.jsonl", b"{}");
    let error = build_together(&settings, 2).unwrap_err();
    assert!(error.contains("2.jsonl:1: column 3") || error.contains("2.jsonl:1: it has no column"), "{error}");
    let has_part = |number: usize| place.path(&format!("out.partial/parts/counts-{number:05}.json")).exists();
    assert!(has_part(0) && !has_part(2) && !has_part(7));
    place.put("2.jsonl", &rows);
    place.put("7.jsonl", &last);
    let first = std::fs::read(place.path("in/0.jsonl")).unwrap();
    place.put("0.jsonl", vec![b' '; first.len()]);
    build_together(&settings, 3).unwrap();
    assert_same(&place, &expected);
}

#[test]
fn runs_that_ranks_cannot_go_on_with_are_refused() {
    let place = Sandbox::new();
    fill(&place);
    let broken = |at: &Path| std::fs::write(at, b"PAR1").unwrap();
    broken(&place.path("in/9.parquet"));
    let settings = place.settings(&CHANGES);
    build(&settings, &Options::default()).unwrap_err();
    let error = build_together(&settings, 2).unwrap_err();
    assert!(error.contains("was begun by one process; go on without mpirun"), "{error}");
    std::fs::remove_dir_all(place.path("out.partial")).unwrap();
    let error = build_together(&settings, 2).unwrap_err();
    assert!(error.contains("9.parquet is damaged"), "{error}");
    let error = build(&settings, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("was begun by several ranks; go on with mpirun"), "{error}");
    // Another file in the place of one that was cleaned.
    std::fs::rename(place.path("in/0.jsonl"), place.path("in/00.jsonl")).unwrap();
    let error = build_together(&settings, 2).unwrap_err();
    assert!(error.contains("counts-00000.json is of ") && error.contains("--restart"), "{error}");
    let restart = Options { restart: true, ..Options::default() };
    build(&settings, &restart).unwrap_err();
    assert!(!place.path("out.partial/parts").exists());
    std::fs::remove_dir_all(place.path("out.partial")).unwrap();

    let refused = |changes: &[&str]| build_together(&place.settings(changes), 2).unwrap_err();
    assert!(refused(&["max_documents=5"]).starts_with("`max_documents` is 5, and ranks read all documents"));
    assert!(refused(&["c4.bad_words=none.txt"]).contains("none.txt: cannot read"));
    let told = on_ranks(2, |rank| {
        let changes = format!("gopher.hashes=0.{}", 1 + rank.rank);
        build_on_ranks(&place.settings(&[&changes]), &Options::default(), rank).unwrap_err().to_string()
    });
    assert_eq!(
        told[0],
        "rank 1 has other settings than rank 0; all ranks must run the same command and see the same files"
    );
    assert_eq!(told[0], told[1]);
    assert!(!place.path("out.partial").exists());
}

#[test]
fn ranks_refuse_a_corpus_of_which_nothing_is_left() {
    let place = Sandbox::new();
    place.put("a.jsonl", json("Too short."));
    place.put("b.jsonl", json("Short too."));
    let error = build_together(&place.settings(&[]), 2).unwrap_err();
    assert!(error.starts_with("nothing is left of 2 documents"), "{error}");
    assert!(!place.path("out").exists() && !place.path("out.partial").exists());
}
