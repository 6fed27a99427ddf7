//! Benchmark of reading a log with one thread: `cargo bench -p palestra-datasets --bench read [-- ROWS]`.

use std::path::Path;
use std::time::Instant;

use palestra_datasets::log::{Columns, Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{End, Episode, Turn};

const TURNS: usize = 20;

fn main() {
    let rows: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, with_ids) in [("text alone", false), ("text, token ids and log-probabilities", true)] {
        let path = folder.path().join(format!("{with_ids}.parquet"));
        let start = Instant::now();
        let text = write(&path, rows, with_ids);
        let size = std::fs::metadata(&path).expect("the log").len();
        let megabytes = |bytes: u64, seconds: f64| bytes as f64 / 1e6 / seconds;
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {rows} rows, {} MB of text and ids, {} MB of file", text / 1_000_000, size / 1_000_000);
        println!(
            "  write            {:9.0} rows/s  {:6.0} MB/s of text",
            rows as f64 / seconds,
            megabytes(text, seconds)
        );
        for columns in [Columns::All, Columns::Learning] {
            let start = Instant::now();
            let log = Log::open(&[path.display().to_string()], ReadOptions { columns, ..ReadOptions::default() })
                .expect("the log opens");
            let read =
                |group| log.read(group).expect("it is whole").iter().map(|one| one.episode.turns.len()).sum::<usize>();
            assert_eq!(log.groups().iter().map(read).sum::<usize>(), rows);
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "  read {:<11} {:9.0} rows/s  {:6.0} MB/s of text  {:5.0} MB/s of file",
                format!("{columns:?}"),
                rows as f64 / seconds,
                megabytes(text, seconds),
                megabytes(size, seconds)
            );
        }
        let start = Instant::now();
        let log = Log::open(&[path.display().to_string()], ReadOptions::default()).expect("the log opens");
        assert_eq!(log.outcomes().expect("it is whole").len(), rows / TURNS);
        println!("  returns          {:9.0} rows/s", rows as f64 / start.elapsed().as_secs_f64());
    }
}

/// Writes a log like one from a maze: short texts, many turns. Returns the number of bytes of text and ids in it.
fn write(path: &Path, rows: usize, with_ids: bool) -> u64 {
    let mut writer = LogWriter::create(path, WriteOptions::default()).expect("a new log");
    let mut text = 0;
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for number in 0..rows / TURNS {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let (row, column) = (next(13), next(13));
            let observation = format!(
                "The goal is at position 8, 6. Your current position is at position {row}, {column}. There are walls to \
                 your left, to your right. You have moved {} times.\n",
                next(100)
            );
            let action = ["move up\n", "move down\n", "move left\n", "move right\n"][next(4) as usize].to_string();
            let mut ids = |count: usize| (0..count).map(|_| next(50_000) as u32).collect::<Vec<_>>();
            let (prompt_ids, action_ids) = (with_ids.then(|| ids(40)), with_ids.then(|| ids(3)));
            let log_probs = with_ids.then(|| (0..3).map(|_| -(next(1 << 20) as f32) / 1e5).collect::<Vec<_>>());
            text += observation.len() + action.len() + if with_ids { 46 * 4 } else { 0 };
            turns.push(Turn {
                observation: observation.into(),
                action,
                reward: -1.0,
                prompt_ids,
                action_ids,
                log_probs,
                ..Turn::default()
            });
        }
        let episode = Episode {
            id: format!("run-2026/{number}"),
            env_id: "maze-v1".to_string(),
            seed: Some(number as u64),
            end: Some(End::Truncated),
            final_observation: Some("The goal is at position 8, 6.".into()),
            policy_id: "ppo".to_string(),
            turns,
            ..Episode::default()
        };
        writer.write(&episode).expect("a good episode");
    }
    writer.finish().expect("the end of the log");
    text as u64
}
