//! Writes a small experience log that uses every column:
//! `cargo run -p palestra-datasets --example write_log -- out.parquet`. `tests/foreign/read.py` opens it with pyarrow,
//! Polars and DuckDB and expects exactly these values.

use std::path::Path;

use palestra_datasets::log::{LogWriter, WriteOptions};
use palestra_datasets::{End, Episode, Result, Turn};

fn main() -> Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: write_log FILE");
        std::process::exit(2);
    };
    // Small row groups, so that the file has several.
    let options = WriteOptions { row_group_rows: 100, ..WriteOptions::default() };
    let mut writer = LogWriter::create(Path::new(&path), options)?;
    for number in 0..100 {
        writer.write(&episode(number))?;
    }
    println!("{} rows", writer.finish()?);
    Ok(())
}

/// Episode `number` has `number % 5 + 1` turns; every third field is left out in odd episodes.
fn episode(number: u64) -> Episode {
    let is_even = number.is_multiple_of(2);
    let last = number % 5;
    let turn = |step: u64| Turn {
        observation: format!("episode {number}, step {step}: ü 蛇").into(),
        action: format!("count to {step}\n"),
        reward: step as f32 / 4.0,
        reward_parts: if is_even { [("rules".to_string(), step as f32 / 4.0)].into() } else { [].into() },
        legal_actions: is_even.then(|| vec!["count".to_string(), String::new()]),
        invalid_action: step == 3,
        action_ids: is_even.then(|| vec![number as u32, u32::MAX]),
        prompt_ids: is_even.then(|| (0..step as u32).collect()),
        log_probs: is_even.then(|| vec![-0.5, -(step as f32)]),
        info: is_even.then(|| format!("{{\"step\": {step}}}")),
        timestamp: is_even.then(|| 1_700_000_000_000_000 + step as i64),
    };
    Episode {
        id: format!("example/{number}"),
        env_id: "count-v3".to_string(),
        env_spec: is_even.then(|| "{\"to\": 5}".to_string()),
        seed: is_even.then_some(u64::MAX - number),
        split: is_even.then(|| "train".to_string()),
        turns: (0..=last).map(turn).collect(),
        final_observation: is_even.then(|| "the end".into()),
        end: [Some(End::Terminated), Some(End::Truncated), None][number as usize % 3],
        end_reason: None,
        policy_id: "example".to_string(),
        policy_step: number,
        tokenizer_hash: is_even.then(|| "abc".to_string()),
        temperature: is_even.then_some(0.5),
        top_p: is_even.then_some(1.0),
        reward_source: is_even.then(|| "rules".to_string()),
        rater_id: is_even.then(|| "nobody".to_string()),
    }
}
