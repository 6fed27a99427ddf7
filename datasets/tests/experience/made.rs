//! Logs for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray, UInt32Array};
use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{End, Episode, Turn};
use parquet::arrow::ArrowWriter;

/// Returns a valid episode with these rewards.
pub fn episode(id: &str, rewards: &[f32]) -> Episode {
    let turn = |(step, reward): (usize, &f32)| Turn {
        observation: format!("{id}: state {step}").into(),
        action: "right".to_string(),
        reward: *reward,
        log_probs: Some(vec![-0.5]),
        ..Turn::default()
    };
    Episode {
        id: id.to_string(),
        turns: rewards.iter().enumerate().map(turn).collect(),
        end: Some(End::Terminated),
        ..Episode::default()
    }
}

/// Writes a log with one row group per episode.
pub fn write(path: &Path, episodes: &[Episode]) {
    let mut writer = LogWriter::create(path, WriteOptions::default()).unwrap();
    for episode in episodes {
        writer.write(episode).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
}

pub fn open(path: &Path) -> Log {
    Log::open(&[path.to_str().unwrap()], ReadOptions::default()).unwrap()
}

pub fn episodes(path: &Path) -> Vec<Episode> {
    open(path).episodes().map(|located| located.unwrap().episode).collect()
}

/// Returns a path in a new folder, which is removed when the first value is dropped.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    (folder, path)
}

/// Writes a log as another tool does, with only the required columns:
/// `(episode_id, step, reward, terminated, truncated)`.
pub fn write_foreign(path: &Path, rows: &[(&str, u32, f32, bool, bool)]) {
    let texts = |text: &str| Arc::new(StringArray::from(vec![text; rows.len()])) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("episode_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("step", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("observation", texts("a state")),
        ("action", texts("an action")),
        ("reward", Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("terminated", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.3))))),
        ("truncated", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.4))))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
