//! Benchmark of checking a log and computing its statistics:
//! `cargo bench -p palestra-datasets --bench check [-- ROWS]`.

use std::time::Instant;

use palestra_datasets::check::{CheckOptions, check};
use palestra_datasets::import::{ImportOptions, import_jsonl, rewrite};
use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::stats::{StatsOptions, stats};
use palestra_datasets::{End, Episode, Turn};

const TURNS: usize = 20;

fn main() {
    let rows: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("log.parquet");
    let mut writer = LogWriter::create(&path, WriteOptions::default()).expect("a new log");
    let mut lines = String::new();
    for number in 0..rows / TURNS {
        let episode = walk(number);
        writer.write(&episode).expect("a good episode");
        for (step, turn) in episode.turns.iter().enumerate() {
            let Turn { observation, action, reward, .. } = turn;
            let done = step + 1 == TURNS;
            let line = serde_json::json!({"state": observation, "action": action, "reward": reward, "done": done});
            lines += &format!("{line}\n");
        }
    }
    writer.finish().expect("the end of the log");
    let input = folder.path().join("lines.jsonl");
    std::fs::write(&input, lines).expect("the lines");

    let log = Log::open(&[path.display().to_string()], ReadOptions::default()).expect("the log opens");
    let timed = |what: &str, work: &dyn Fn()| {
        let start = Instant::now();
        work();
        println!("{what:<8} {:9.0} rows/s", rows as f64 / start.elapsed().as_secs_f64());
    };
    timed("read", &|| assert_eq!(log.episodes().count(), rows / TURNS));
    timed("check", &|| assert!(check(&log, CheckOptions::default()).expect("it can be read").is_good()));
    timed("stats", &|| {
        let stats = stats(&log, &StatsOptions::default()).expect("it can be read");
        assert_eq!(stats.rows as usize, rows);
    });
    let options = ImportOptions::default();
    timed("rewrite", &|| drop(rewrite(&log, &folder.path().join("again.parquet"), &options).expect("it is good")));
    timed("jsonl", &|| {
        let to = folder.path().join("lines.parquet");
        drop(import_jsonl(std::slice::from_ref(&input), &to, &options).expect("it is good"));
    });
}

/// Returns an episode like one from a maze: short texts, many turns, almost no observation repeated.
fn walk(number: usize) -> Episode {
    let mut random = number as u64 + 1;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let turns = (0..TURNS).map(|_| Turn {
        observation: format!(
            "The goal is at position 8, 6. Your current position is at position {}, {}. There are walls to your left, to \
             your right. You have moved {} times.\n",
            next(13),
            next(13),
            next(10_000)
        )
        .into(),
        action: ["move up\n", "move down\n", "move left\n", "move right\n"][next(4) as usize].to_string(),
        reward: -1.0,
        ..Turn::default()
    });
    Episode {
        id: format!("run/{number}"),
        env_id: "maze-v1".to_string(),
        seed: Some(number as u64),
        turns: turns.collect(),
        end: Some(End::Truncated),
        final_observation: Some("The goal is at position 8, 6.".into()),
        policy_id: "ppo".to_string(),
        ..Episode::default()
    }
}
