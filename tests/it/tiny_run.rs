//! Runs that are small enough to train in a test: a model of one layer, a few episodes per update.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use palestra::text::Tokenizer;

use crate::command::Sandbox;

/// Run with everything that has a state of its own: moments, an adapted KL coefficient, schedules.
pub const LAKE: &str = "\
name = \"lake\"
seed = 3
[env]
id = \"frozen-lake-4x4\"
options = { view = \"compact\", limit = 30 }
[model]
family = \"gpt2\"
context = 16
layers = 1
width = 16
heads = 2
[rollout]
episodes = 32
environments = 8
[ppo]
epochs = 2
batch = 64
kl_coefficient = 0.05
kl_target = 0.5
kl_horizon = 100.0
entropy_coefficient = 0.01
final_entropy_coefficient = 0.0
[optimizer]
learning_rate = 1e-2
schedule = \"linear\"
[train]
updates = 12
checkpoint_every = 3
threads = 1
[evaluation]
episodes = 4
";

/// Sandbox with the file `lake.toml`.
pub fn lake() -> Sandbox {
    Sandbox::new().with("lake.toml", LAKE)
}

/// Sandbox with the run `runs/lake`, of two updates.
pub fn trained() -> Sandbox {
    let sandbox = lake();
    sandbox.run(&["train", "lake.toml", "--quiet", "--set", "train.updates=2"]).success();
    sandbox
}

/// Writes the directory `m` in a folder: a model of a published architecture with 40 tokens, a tokenizer of as many
/// characters, and a chat template.
pub fn write_model(folder: &Path, template: &str) {
    let directory = folder.join("m");
    std::fs::create_dir_all(&directory).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/fixtures/llama");
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), directory.join(file)).unwrap();
    }
    let tokenizer = Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz:. ?!é\n012").unwrap();
    std::fs::write(directory.join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
    std::fs::write(directory.join("chat_template.jinja"), template).unwrap();
}

/// Checkpoints of a run, oldest first.
pub fn checkpoints(run_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run_dir.join("checkpoints")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Complete lines of a run's metrics so far.
pub fn metrics_lines(run_dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(String::from).collect()
}

/// Waits until a training run has done `count` updates, or has ended.
pub fn wait_for_updates(child: &mut Child, run_dir: &Path, count: usize) {
    let began = Instant::now();
    while metrics_lines(run_dir).len() < count && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{count} updates take more than a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Exit code of a program that is about to end; it gets a minute.
pub fn ended_soon(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if began.elapsed() < Duration::from_secs(60) => std::thread::sleep(Duration::from_millis(10)),
            None => {
                child.kill().unwrap();
                panic!("the program did not end; are the tests run with SIGHUP ignored, as by nohup?");
            }
        }
    }
}
