//! Readers of files from outside, given whole files with a few bytes changed: each ends with a value or an error, in time.
//!
//! A quick round runs with every test. `cargo xtask campaign fuzz` sets `PALESTRA_MUTATION_SECONDS` for longer ones. A file
//! that made a reader panic is printed as hexadecimal digits, to be kept as a test of that reader.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palestra::config::RunFile;
use palestra::datasets::log::{Log, ReadOptions};
use palestra::datasets::rows::Rows;
use palestra::datasets::{preferences, shards};
use palestra::model::read_config;
use palestra::text::{ChatTemplate, Message, Tokenizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::command::Sandbox;
use crate::tiny_run::{LAKE, write_model};

/// Variable with the seconds to spend on all readers.
const SECONDS: &str = "PALESTRA_MUTATION_SECONDS";

/// Mutations of each reader in a quick round.
const QUICK: usize = 25;

/// Time that a reader may take for one file, many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reader, by the file that it reads.
struct Reader {
    file: &'static str,
    read: fn(&Path),
}

const READERS: [Reader; 9] = [
    Reader { file: "run.toml", read: |path| drop(RunFile::load(path, &[] as &[&str])) },
    Reader {
        file: "rows.jsonl",
        read: |path| drop(Rows::open(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader {
        file: "preferences.jsonl",
        read: |path| drop(preferences::read(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader { file: "log.parquet", read: read_log },
    Reader {
        file: "rows.parquet",
        read: |path| drop(Rows::open(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader { file: "m/tokenizer.json", read: |path| drop(Tokenizer::from_file(path)) },
    Reader { file: "m/chat_template.jinja", read: read_template },
    Reader { file: "m/config.json", read: |path| drop(read_config(path.parent().unwrap_or(path))) },
    Reader { file: "tale.tokens", read: |path| drop(shards::Shard::open(path)) },
];

fn read_log(path: &Path) {
    let options = ReadOptions { skip_bad: true, ..ReadOptions::default() };
    let Ok(log) = Log::open(&[path.to_string_lossy()], options) else { return };
    log.episodes().take_while(Result::is_ok).count();
}

fn read_template(path: &Path) {
    let messages = [Message::new("user", "a"), Message::new("assistant", "b")];
    // An invalid template, and one that fails, are errors.
    let _ = ChatTemplate::from_file(path, None).and_then(|template| template.mark(&messages));
}

/// A whole file for each reader.
fn whole_files() -> Sandbox {
    let sandbox = Sandbox::new()
        .with("run.toml", LAKE)
        .with("tale.txt", &"the fox met the hen\n".repeat(40))
        .with("rows.jsonl", &"{\"text\": \"caf\\u00e9\", \"n\": [1, 2.5e3, null]}\n".repeat(20))
        .with("preferences.jsonl", &"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n".repeat(20));
    write_model(sandbox.path(), "{% for m in messages %}{{ '<' + m.role + '>' + m['content'] | trim }}{% endfor %}");
    let commands = [
        "rollout frozen-lake-4x4 --policy random --episodes 8 --seed 5 --out log.parquet --quiet",
        "rollout frozen-lake-4x4 --policy random --episodes 8 --seed 6 --out rows.parquet --quiet",
        "tokenizer encode tale.txt --tokenizer m --out tale.tokens --quiet",
    ];
    for command in commands {
        sandbox.run(&command.split(' ').collect::<Vec<_>>()).success();
    }
    sandbox
}

/// Changes some bytes of a file: others in their place, cut, repeated, removed, or a number of the extremes.
fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    for _ in 0..1 + random.random_range(0..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        let end = (at + random.random_range(1..64)).min(bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].repeat(1 + random.random_range(0..40));
                bytes.splice(at..at, part);
            }
            _ => {
                let extremes: [&[u8]; 8] =
                    [&[0xff; 8], &[0; 8], b"-1", b"9223372036854775807", b"1e999", b"\"", b"{{", b"[[[["];
                let extreme = extremes[random.random_range(0..extremes.len())];
                bytes.splice(at..(at + extreme.len()).min(bytes.len()), extreme.iter().copied());
            }
        }
    }
}

#[test]
fn mutations_of_whole_files_end_no_reader() {
    let sandbox = whole_files();
    let seconds: Option<u64> = std::env::var(SECONDS).ok().map(|text| text.parse().unwrap());
    let length = seconds.map(|seconds| Duration::from_secs(seconds) / READERS.len() as u32);
    for (number, Reader { file, read }) in READERS.iter().enumerate() {
        let whole = std::fs::read(sandbox.path().join(file)).unwrap();
        let place: PathBuf = sandbox.path().join(format!("mutated-{number}"));
        std::fs::create_dir_all(&place).unwrap();
        let place = place.join(Path::new(file).file_name().unwrap());
        let seed = seconds.map_or(7, |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (begin, mut count) = (Instant::now(), 0);
        while length.map_or(count < QUICK, |length| begin.elapsed() < length) {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut random);
            std::fs::write(&place, &bytes).unwrap();
            let start = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| read(&place)));
            let digits = || bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            assert!(ended.is_ok(), "{file}: panics for {}", digits());
            assert!(start.elapsed() < PATIENCE, "{file}: takes {:?} for {}", start.elapsed(), digits());
            count += 1;
        }
        println!("{file}: {count} mutations");
    }
}
