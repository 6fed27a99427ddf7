//! Episodes for tests.

use std::path::{Path, PathBuf};

use palestra_datasets::log::{Located, Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{End, Episode, Result, Turn};

/// Returns an episode that uses every field.
pub fn full(number: u32) -> Episode {
    let turns = (0..number % 4 + 1).map(|step| Turn {
        observation: format!("state {step} of {number}: a ü 蛇\n").into(),
        action: format!("go {step}"),
        reward: step as f32 * 0.25 - 1.0,
        reward_parts: [("rules".to_string(), step as f32 * 0.25), ("length".to_string(), -1.0)].into(),
        legal_actions: Some(vec!["go 0".to_string(), String::new()]),
        invalid_action: step == 1,
        action_ids: Some(vec![number, step, u32::MAX]),
        prompt_ids: Some((0..step).collect()),
        log_probs: Some(vec![-0.5, -f32::from_bits(1), 0.0]),
        info: Some(format!("{{\"step\":{step}}}")),
        timestamp: Some(1_700_000_000_000_000 + i64::from(step)),
    });
    Episode {
        id: format!("run/{number}"),
        env_id: "snake-6x6-v1".to_string(),
        env_spec: Some("{\"size\":6}".to_string()),
        seed: Some(u64::MAX - u64::from(number)),
        split: Some("train".to_string()),
        turns: turns.collect(),
        final_observation: Some("the end".into()),
        end: Some(if number.is_multiple_of(2) { End::Terminated } else { End::Truncated }),
        end_reason: Some("limit".to_string()),
        policy_id: "ppo".to_string(),
        policy_step: u64::MAX,
        tokenizer_hash: Some("abc".to_string()),
        temperature: Some(0.7),
        top_p: Some(1.0),
        reward_source: Some("human".to_string()),
        rater_id: Some("r1".to_string()),
    }
}

/// Returns an episode with only the required fields.
pub fn bare(number: u32) -> Episode {
    let turn = |step: u32| Turn {
        observation: format!("state {step} of {number}").into(),
        action: "right".to_string(),
        reward: -1.0,
        ..Turn::default()
    };
    Episode {
        id: format!("bare {number}"),
        turns: (0..number % 3 + 1).map(turn).collect(),
        end: Some(End::Terminated),
        ..Episode::default()
    }
}

/// Writes a log, ending a row group after every `per_group` episodes.
pub fn write(path: &Path, episodes: &[Episode], per_group: usize) -> u64 {
    let mut writer = LogWriter::create(path, WriteOptions::default()).unwrap();
    for group in episodes.chunks(per_group) {
        group.iter().for_each(|episode| writer.write(episode).unwrap());
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

pub fn open(path: &Path) -> Log {
    try_open(path, ReadOptions::default()).unwrap()
}

pub fn try_open(path: &Path, options: ReadOptions) -> Result<Log> {
    Log::open(&[path.to_str().unwrap()], options)
}

pub fn episodes(log: &Log) -> Vec<Episode> {
    log.episodes().map(|located| located.unwrap().episode).collect()
}

pub fn located(log: &Log) -> Vec<Located> {
    log.groups().iter().flat_map(|group| log.read(group).unwrap()).collect()
}

/// Returns a path in a new folder, which is removed when the first value is dropped.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    (folder, path)
}
