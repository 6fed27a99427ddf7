//! Steps per second of Gymnasium's CartPole-v1 through the process protocol, beside Gymnasium's own vectors of it:
//! `cargo bench -p palestra-envs --bench process`. The environment variable `PYTHON` names a Python with Gymnasium.
//!
//! The three take turns, so that what else the machine does meets all of them. Each figure is the median of several repeats.
//! A reset counts as a step, as in Gymnasium's vectors.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use palestra_envs::{Call, Definition, Pool, Registry, Reply, episode_seed};

const SIZES: [usize; 3] = [1, 8, 32];

fn main() {
    // `cargo test --all-targets` runs this file too, without `--bench`, on machines without Gymnasium.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (repeats, seconds) = (5, 1.0);
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_string());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{:>12} {:>12} {:>12} {:>12} {:>12}", "environments", "workers", "palestra", "sync", "async");
    for size in SIZES {
        let workers = cores.min(size);
        let [ours, sync, parallel] = {
            let mut rates = [const { Vec::new() }; 3];
            for _ in 0..repeats {
                rates[0].push(palestra(&python, size, workers, seconds));
                rates[1].push(gymnasium(&python, "sync", size, seconds));
                rates[2].push(gymnasium(&python, "async", size, seconds));
            }
            rates.map(median)
        };
        println!("{size:>12} {workers:>12} {ours:>12.0} {sync:>12.0} {parallel:>12.0}");
    }
}

/// Steps per second through the protocol.
fn palestra(python: &str, size: usize, workers: usize, seconds: f64) -> f64 {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python");
    let text = format!(
        "kind = 'process'\n[options]\ndirectory = '{}'\nworkers = {workers}\n\
         command = ['{python}', '-m', 'palestra.gymnasium', 'CartPole-v1']\n",
        package.display()
    );
    let definition = Definition::from_toml("cart-pole.toml", &text).expect("a definition");
    let mut pool = Pool::new(&Registry::builtin(), &definition, size).expect("Gymnasium is installed");
    (0..size).for_each(|slot| pool.call(slot, Call::Reset(slot as u64)));
    let mut answers = pool.answers(false, true);
    let (mut steps, mut episodes, began) = (0u64, size as u64, Instant::now());
    while began.elapsed().as_secs_f64() < seconds {
        for answer in answers {
            let call = match answer.reply.expect("a step") {
                Reply::Step(_, step) if step.end.is_some() => {
                    episodes += 1;
                    Call::Reset(episode_seed(0, episodes))
                }
                // A pseudo-random side: the lowest bits of the steps so far.
                _ => Call::Step((steps.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63).to_string()),
            };
            pool.call(answer.slot, call);
            steps += 1;
        }
        answers = pool.answers(false, true);
    }
    steps as f64 / began.elapsed().as_secs_f64()
}

/// Steps per second of one of Gymnasium's vectors.
fn gymnasium(python: &str, mode: &str, size: usize, seconds: f64) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/vector_envs.py");
    let output = Command::new(python).arg(script).args([mode, &size.to_string(), &seconds.to_string()]).output();
    let output = output.expect("Python starts");
    let told = String::from_utf8_lossy(&output.stdout).trim().to_string();
    told.parse().unwrap_or_else(|_| panic!("{mode}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
