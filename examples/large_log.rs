//! Writes a log of the given number of gigabytes, to show that training does not need them in memory:
//!
//! ```text
//! cargo run --release --example large_log -- 5 /tmp/large.parquet
//! cargo run --release -- train examples/recipes/large-log-bc.toml
//! ```
//!
//! Observations are random letters, which do not compress. The correct action is the first letter, and earns 1.

use std::path::Path;

use palestra_datasets::log::{LogWriter, WriteOptions};
use palestra_datasets::{End, Episode, Turn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [gigabytes, path] = arguments.as_slice() else { return Err("usage: large_log GIGABYTES FILE".into()) };
    let kinds = (gigabytes.parse::<f64>()? * 1e9) as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut writer = LogWriter::create(Path::new(path), WriteOptions::default())?;
    let mut number = 0;
    while number % 256 != 0 || std::fs::metadata(path)?.len() < kinds {
        writer.write(&episode(number, &mut rng))?;
        number += 1;
    }
    println!("{} rows in {path}", writer.finish()?);
    Ok(())
}

/// Sixteen turns of 120 letters each.
fn episode(number: u64, rng: &mut ChaCha8Rng) -> Episode {
    let mut text = || -> String { (0..120).map(|_| char::from(LETTERS[rng.random_range(0..64)])).collect() };
    let turn = |observation: String| Turn {
        action: observation[..1].to_string(),
        observation: observation.into(),
        reward: 1.0,
        ..Turn::default()
    };
    let turns = (0..16).map(|_| turn(text())).collect();
    Episode {
        id: number.to_string(),
        turns,
        final_observation: Some(text().into()),
        end: Some(End::Terminated),
        ..Episode::default()
    }
}
