//! Live memory of a run: bytes that are allocated after N updates and after 3 N, of learning from play and from text. What
//! a run holds on to shows here at once; the memory that the system counts for a process moves by the allocator's steps too.
//!
//! ```text
//! cargo run --release --example live_memory -- 1000
//! ```

use std::alloc::System;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cap::Cap;
use palestra::config::RunFile;
use palestra::envs::Registry;
use palestra::report::Display;
use palestra::train_run::{TrainOptions, train_run};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const PLAY: &str = "\
name = \"play\"
seed = 3
[env]
id = \"frozen-lake-4x4\"
options = { view = \"compact\", limit = 4 }
[rollout]
episodes = 4
environments = 2
[evaluation]
episodes = 2
[ppo]
epochs = 1
";

const TEXT: &str = "\
name = \"text\"
seed = 3
[text]
files = [\"tale.txt\"]
batch = 2
samples = 0
";

/// The rest of both runs.
const MODEL: &str = "\
[model]
family = \"gpt2\"
context = 16
layers = 1
width = 4
heads = 1
[train]
threads = 1
checkpoint_every = 1000000
";

/// Updates in which the least live memory is looked for: between two updates a run holds least.
const WINDOW: u64 = 30;

fn main() -> Result<()> {
    let updates = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    for (name, run) in [("play", PLAY), ("text", TEXT)] {
        let [first, last] = live(run, updates, &Registry::builtin())?;
        println!("{name}: {first} bytes after {updates} updates, {last} after {}", 3 * updates);
    }
    Ok(())
}

/// Live bytes of a run after so many updates, and after three times as many.
fn live(run: &str, updates: u64, registry: &Registry) -> Result<[usize; 2]> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("run.toml");
    let tale = folder.path().join("tale.txt");
    std::fs::write(&tale, "the fox met the hen\n".repeat(50))?;
    std::fs::write(&file, format!("{}{MODEL}", run.replace("tale.txt", &tale.display().to_string())))?;
    let run = RunFile::load(&file, &[format!("train.updates={}", 3 * updates)])?;
    let out = folder.path().join("out");
    let windows = [updates..updates + WINDOW, 3 * updates - WINDOW..3 * updates];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| least(&out.join("metrics.jsonl"), &windows, &is_over));
        let options = TrainOptions { out: Some(out.clone()), display: Display::Quiet, ..TrainOptions::default() };
        let ended = train_run(run, registry, options);
        is_over.store(true, Ordering::Relaxed);
        let least = sampler.join().map_err(|_| "the sampler panicked")?;
        ended?;
        Ok(least)
    })
}

/// The least number of live bytes in each of the windows of updates, which are counted by the lines of the metrics.
fn least(metrics: &Path, windows: &[Range<u64>; 2], is_over: &AtomicBool) -> [usize; 2] {
    let (mut file, mut lines, mut bytes) = (None, 0, vec![0; 1 << 16]);
    let mut least = [usize::MAX; 2];
    while !is_over.load(Ordering::Relaxed) {
        file = file.or_else(|| File::open(metrics).ok());
        let read = file.as_mut().map_or(0, |file| file.read(&mut bytes).unwrap_or(0));
        lines += bytes[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        for (least, window) in least.iter_mut().zip(windows) {
            if window.contains(&lines) {
                *least = (*least).min(ALLOCATOR.allocated());
            }
        }
        thread::yield_now();
    }
    least
}

#[cfg(test)]
mod tests {
    use palestra::envs::{Definition, Env, EnvSpec, Observation, Options, Result, Step};

    use super::*;

    /// Growth that is accepted in 200 updates: 160 bytes in each.
    const BOUND: usize = 32_000;

    /// A lake that keeps 400 bytes of each episode for ever.
    struct Leak(Box<dyn Env>);

    impl Env for Leak {
        fn spec(&self) -> &EnvSpec {
            self.0.spec()
        }

        fn reset(&mut self, seed: u64) -> Result<Observation> {
            std::mem::forget(vec![0_u8; 400]);
            self.0.reset(seed)
        }

        fn step(&mut self, action: &str) -> Result<Step> {
            self.0.step(action)
        }

        fn render(&self) -> String {
            self.0.render()
        }
    }

    #[test]
    fn live_memory_is_the_same_after_three_times_as_many_updates() {
        let lake = "id = \"lake\"\nkind = \"frozen-lake\"\noptions = { view = \"compact\", limit = 4 }\n";
        let lake = Definition::from_toml("lake.toml", lake).unwrap();
        let build = move |_: &Options| Ok(Box::new(Leak(Registry::builtin().build(&lake)?)) as Box<dyn Env>);
        let registry = Registry::builtin().with("leak", build);
        for (run, grows) in [(PLAY, false), (TEXT, false), (&PLAY.replace("frozen-lake-4x4", "leak"), true)] {
            let run = if grows { run.replace("options =", "# options =") } else { run.to_string() };
            let [first, last] = live(&run, 100, &registry).unwrap();
            assert!(first < usize::MAX && last < usize::MAX, "no update was seen");
            assert_eq!(last > first + BOUND, grows, "{first} bytes after 100 updates, {last} after 300: {run}");
        }
    }
}
