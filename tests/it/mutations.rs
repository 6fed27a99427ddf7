//! Readers of files from outside, given whole files with a few bytes changed: each ends with a value or an error, in time.
//!
//! A quick round runs with every test. `cargo xtask campaign fuzz` sets `PALESTRA_MUTATION_SECONDS` for longer ones. A file
//! that made a reader panic is printed as hexadecimal digits, to be kept as a test of that reader.

mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use readers::{READERS, Reader, whole_files};

/// Variable with the seconds to spend on all readers.
const SECONDS: &str = "PALESTRA_MUTATION_SECONDS";

/// Mutations of each reader in a quick round.
const QUICK: usize = 25;

/// Time that a reader may take for one file, many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let folder = sandbox.path().join(format!("mutated-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        // A file of a directory is read with those beside it.
        if let Some(beside) = Path::new(file).parent().filter(|parent| !parent.as_os_str().is_empty()) {
            for entry in std::fs::read_dir(sandbox.path().join(beside)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        let place = folder.join(Path::new(file).file_name().unwrap());
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
