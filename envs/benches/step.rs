//! Environment steps per second on one core: `cargo bench -p palestra-envs`.
//!
//! Each figure is the median of several repeats. Actions are drawn beforehand, so that only the environment is timed.
//! Resets are included.

use std::hint::black_box;
use std::time::Instant;

use palestra_envs::{Definition, Env, Registry, episode_seed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const REPEATS: usize = 7;

fn main() {
    // `cargo test --all-targets` runs this file too, without `--bench`: it then only checks that the benchmark runs.
    let steps = if std::env::args().any(|argument| argument == "--bench") { 500_000 } else { 1_000 };
    let registry = Registry::builtin();
    for name in ["frozen-lake-4x4", "frozen-lake-8x8", "double-t-maze", "cliff-walking"] {
        for view in ["none", "compact", "text"] {
            let mut definition = Definition::named(name);
            definition.options.set("view", view);
            let mut env = registry.build(&definition).expect("a built-in environment");
            let mut rates: Vec<f64> = (0..REPEATS).map(|_| steps_a_second(&mut *env, steps)).collect();
            rates.sort_by(f64::total_cmp);
            let (least, median, most) = (rates[0], rates[REPEATS / 2], rates[REPEATS - 1]);
            println!("{name:16} {view:8} {median:>11.0} steps/s  ({least:.0} to {most:.0})");
        }
    }
}

fn steps_a_second(env: &mut dyn Env, steps: u32) -> f64 {
    let legal = env.reset(0).expect("reset").legal_actions.expect("a list of actions");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let actions: Vec<&str> = (0..4096).map(|_| legal[rng.random_range(0..legal.len())].as_str()).collect();
    let (mut episode, mut over) = (0, true);
    let start = Instant::now();
    for turn in 0..steps {
        if over {
            black_box(env.reset(episode_seed(0, episode)).expect("reset"));
            episode += 1;
        }
        let step = env.step(actions[turn as usize % actions.len()]).expect("a running episode");
        over = step.end.is_some();
        black_box(step);
    }
    f64::from(steps) / start.elapsed().as_secs_f64()
}
