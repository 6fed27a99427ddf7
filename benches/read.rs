//! Reading of a log: from disk to the token batches of a learner, compared with pyarrow's plain read of the same file.
//!
//! `cargo bench --features libtorch --bench read`. The log holds a million turns of random play in the double-T maze,
//! in short text and in long. Each figure is the median of several passes, which alternate with pyarrow's so that
//! changes of the machine's speed affect both. `PALESTRA_PYTHON` names a Python with pyarrow; without one its column
//! stays empty.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use palestra::envs::policies::Random;
use palestra::envs::record::record;
use palestra::envs::{Definition, Options, Registry};
use palestra::learn::collective::Alone;
use palestra::learn::encoder::{Encoder, Encoding};
use palestra::learn::learners::TruncatedEpisodes;
use palestra::learn::rollout::Context;
use palestra::learn::source::{Chunking, DataConfig, ReplaySource, Selection, alphabet};
use palestra::model::ops::open_device;
use palestra::text::Tokenizer;
use palestra_datasets::log::{Columns, Log, LogWriter, ReadOptions, WriteOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const TURNS: u64 = 1_000_000;
const PASSES: usize = 5;

/// Reads the columns that learning needs, and prints the seconds that it took, start of Python aside.
const PYARROW: &str = "
import sys, time, pyarrow.parquet as pq
columns = ['episode_id', 'step', 'observation', 'action', 'reward', 'terminated', 'truncated', 'final_observation']
began = time.perf_counter()
rows = sum(batch.num_rows for batch in pq.ParquetFile(sys.argv[1]).iter_batches(columns=columns, use_threads=False))
print(time.perf_counter() - began, rows)
";

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!(
        "view     turns      file MB  text MB  |  episodes: rows/s  MB/s  |  batches: rows/s  MB/s  |  pyarrow: rows/s"
    );
    for view in ["compact", "text"] {
        let path = folder.path().join(format!("{view}.parquet"));
        let (rows, text_bytes) = write(&path, view)?;
        let file_bytes = std::fs::metadata(&path)?.len();
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..PASSES {
            times[0].push(read_episodes(&path)?);
            times[1].push(read_batches(&path)?);
            times[2].extend(read_by_pyarrow(&path));
        }
        let [episodes, batches, pyarrow] = times.map(median);
        let per_second = |seconds: f64| format!("{:.2} M", rows as f64 / seconds / 1e6);
        let megabytes = |seconds: f64| format!("{:.0}", text_bytes as f64 / seconds / 1e6);
        let pyarrow = if pyarrow.is_nan() { "no pyarrow".to_string() } else { per_second(pyarrow) };
        println!(
            "{view:<8} {rows:>9}  {:>7.1}  {:>7.1}  |  {:>16}  {:>4}  |  {:>15}  {:>4}  |  {pyarrow:>15}",
            file_bytes as f64 / 1e6,
            text_bytes as f64 / 1e6,
            per_second(episodes),
            megabytes(episodes),
            per_second(batches),
            megabytes(batches),
        );
    }
    Ok(())
}

/// Writes the log. Returns its number of rows, and the bytes of its observations and actions.
fn write(path: &Path, view: &str) -> Result<(u64, u64)> {
    let mut definition = Definition::named("double-t-maze");
    definition.options = Options::new(toml::toml! { view = view });
    let mut writer = LogWriter::create(path, WriteOptions::default())?;
    let (mut rows, mut bytes) = (0, 0);
    for episode in record(&Registry::builtin(), &definition, 0..TURNS, 0, &mut Random)? {
        let episode = episode?;
        rows += episode.turns.len() as u64;
        bytes +=
            episode.turns.iter().map(|turn| turn.observation.as_text().len() + turn.action.len()).sum::<usize>() as u64;
        writer.write(&episode)?;
        if rows >= TURNS {
            break;
        }
    }
    writer.finish()?;
    Ok((rows, bytes))
}

fn open(path: &Path) -> Result<Log> {
    let options = ReadOptions { columns: Columns::Learning, ..ReadOptions::default() };
    Ok(Log::open(&[path.display().to_string()], options)?)
}

/// Seconds to read every episode.
fn read_episodes(path: &Path) -> Result<f64> {
    let began = Instant::now();
    let log = open(path)?;
    for group in log.groups() {
        std::hint::black_box(log.read(group)?);
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds to turn the whole log into batches of 256 turns, as behaviour cloning reads them.
fn read_batches(path: &Path) -> Result<f64> {
    let log = open(path)?;
    let rows: u64 = log.groups().iter().map(|group| group.rows).sum();
    let tokenizer = Tokenizer::from_alphabet(&alphabet(&log)?)?;
    let encoding = Encoding {
        context: Context::Observation,
        max_length: 256,
        history: None,
        legal_actions_only: true,
        return_to_go: None,
    };
    let config = DataConfig::default();
    let selection = Selection {
        encoder: Encoder::new(tokenizer, encoding),
        chunking: Chunking {
            turns: config.chunk,
            gamma: 0.99,
            gamma_token: 1.0,
            with_next: false,
            truncated: TruncatedEpisodes::Whole,
        },
        split: None,
        least_return: None,
        resample: None,
    };
    let device = open_device("flex")?;
    let began = Instant::now();
    let mut source = ReplaySource::new(log, selection, config, 0, device);
    for _ in 0..rows.div_ceil(256) {
        std::hint::black_box(source.next_parts(&Alone)?);
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds that pyarrow takes, if it is installed.
fn read_by_pyarrow(path: &Path) -> Option<f64> {
    let python = std::env::var_os("PALESTRA_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let output = Command::new(python).args(["-c", PYARROW]).arg(path).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split(' ').next()?.parse().ok()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
