//! Runs on several ranks: the same run as on one, for every kind of data; failures.
//!
//! Ranks are threads of the test. `mpi.rs` has those that mpirun starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palestra::config::RunFile;
use palestra::envs::Registry;
use palestra::learn::collective::{Collective, Threads};
use palestra::learn::learners::{Data, LEARNERS, LearnerKind};
use palestra::model::checkpoint;
use palestra::model::ops::available_devices;
use palestra::report::Display;
use palestra::train_run::{TrainOptions, train_on_ranks};
use serde_json::Value;

use crate::command::Sandbox;
use crate::preferences;
use crate::tiny_run::{LAKE, checkpoints, metrics_lines};

const LONG: Duration = Duration::from_secs(300);

/// Trains on ranks that are threads; returns the errors of all ranks, or the directory of the run.
pub fn train(
    sandbox: &Sandbox,
    file: &str,
    size: usize,
    out: &str,
    overrides: &[&str],
) -> Result<PathBuf, Vec<String>> {
    let (path, out) = (sandbox.path().join(file), sandbox.path().join(out));
    let device = format!("device={}", available_devices().pop().unwrap());
    let overrides = [&[device.as_str()], overrides].concat();
    let found = Threads::run(size, LONG, |collective| {
        let run = RunFile::load(&path, &overrides).unwrap();
        let resume = out.join("run.toml").exists();
        collective.barrier().unwrap(); // before rank 0 writes
        let options =
            TrainOptions { out: Some(out.clone()), resume, display: Display::Quiet, ..TrainOptions::default() };
        let report = train_on_ranks(run, &Registry::builtin(), options, collective, &mut |_| Ok(()));
        report.map(|report| report.is_some()).map_err(|error| error.to_string())
    });
    let reported: Vec<bool> = found.iter().filter_map(|rank| rank.clone().ok()).collect();
    if reported.len() < size {
        return Err(found.into_iter().filter_map(Result::err).collect());
    }
    assert!(reported[0] && !reported[1..].contains(&true), "rank 0 alone reports: {reported:?}");
    Ok(out)
}

/// Metrics of each update that do not depend on the clock.
fn metrics(run_dir: &Path) -> Vec<BTreeMap<String, f64>> {
    let is_timed = |name: &str| {
        ["throughput/", "collective/", "time"].iter().any(|start| name.starts_with(start))
            || ["seconds", "_share"].iter().any(|end| name.ends_with(end))
    };
    let parse = |line: &String| {
        let line: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        line.into_iter()
            .filter(|(name, _)| !is_timed(name))
            .map(|(name, value)| (name, value.as_f64().unwrap()))
            .collect()
    };
    metrics_lines(run_dir).iter().map(parse).collect()
}

/// Differences of a run from another one, as sums in float64.
pub struct Differences {
    /// Sum of the relative differences of all metrics of all updates.
    metrics: f64,
    /// Norm of the difference of the last models, by that of the model.
    model: f64,
}

/// Checks that metrics agree to 1e-5 of their size, the norm of the gradients and the last model to 1e-4.
#[track_caller]
pub fn assert_same_run(found: &Path, expected: &Path, about: &str) -> Differences {
    let (ours, theirs) = (metrics(found), metrics(expected));
    assert_eq!(ours.len(), theirs.len(), "{about}");
    let mut sum = 0.0;
    for (update, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(ours.keys().eq(theirs.keys()), "{about}: {:?}, {:?}", ours.keys(), theirs.keys());
        for (name, expected) in theirs {
            // Numbers near 0, such as the KL from the policy itself, are rounding.
            let difference = (ours[name] - expected).abs() / expected.abs().max(0.1);
            sum += difference;
            // A norm is no loss: it moves with the first order of what rounding changed in the weights.
            let tolerance = if name == "optimizer/grad_norm" { 1e-4 } else { 1e-5 };
            assert!(
                difference <= tolerance,
                "{about}: update {update}: {name} is {} in place of {expected}",
                ours[name]
            );
        }
    }
    let model = |run_dir: &Path| checkpoint::load(&checkpoints(run_dir).pop().unwrap()).unwrap().model;
    let (ours, theirs) = (model(found), model(expected));
    let (mut size, mut difference) = (0.0, 0.0);
    for (name, expected) in &theirs {
        for (x, y) in ours[name].data.iter().zip(&expected.data) {
            size += f64::from(*y).powi(2);
            difference += f64::from(x - y).powi(2);
        }
    }
    let model = (difference / size).sqrt();
    assert!(model <= 1e-4, "{about}: the models differ by {model}");
    Differences { metrics: sum, model }
}

const SHARDED: &str = "train.sharding=\"optimizer\"";

/// Trains on one rank, and on others with a whole or a divided optimiser, and compares.
fn check_ranks(sandbox: &Sandbox, file: &str, about: &str, updates: usize, runs: &[(usize, &[&str])]) {
    let updates = format!("train.updates={updates}");
    let alone = train(sandbox, file, 1, "alone", &[&updates]).unwrap();
    for (size, settings) in runs {
        let about = format!("{about} on {size} ranks {settings:?}");
        let out = format!("{size}-{}", settings.len());
        let found = train(sandbox, file, *size, &out, &[&[updates.as_str()], *settings].concat()).unwrap();
        let Differences { metrics, model } = assert_same_run(&found, &alone, &about);
        println!("{about}: sum of relative differences of metrics {metrics:.3e}, of the model {model:.3e}");
    }
}

pub fn assert_same_bits(found: &Path, expected: &Path) {
    let [ours, theirs] = [found, expected].map(|run_dir| checkpoints(run_dir).pop().unwrap());
    for file in ["model.safetensors", "optimizer.safetensors", "trainer_state.json"] {
        let [ours, theirs] = [&ours, &theirs].map(|checkpoint| std::fs::read(checkpoint.join(file)).unwrap());
        assert!(ours == theirs, "{file} differs");
    }
}

/// The run of `LAKE` by a learner, on a game in which most episodes have a reward. Where none has, what is left of the
/// advantages is rounding, which whitening makes large.
fn game(learner: &str, updates: usize) -> String {
    let (before, after) = LAKE.split_once("[ppo]").unwrap();
    let (ppo, after) = after.split_once("[optimizer]").unwrap();
    let learner = if learner == "[ppo]" { format!("[ppo]{ppo}") } else { format!("{learner}\n") };
    format!("{before}{learner}[optimizer]{after}")
        .replace("frozen-lake-4x4", "tic-tac-toe")
        .replace("\"compact\", limit = 30", "\"compact\"")
        .replace("learning_rate = 1e-2", "learning_rate = 1e-3")
        .replace("updates = 12", &format!("updates = {updates}"))
}

const TALE: &str = "\
name = \"tale\"
seed = 5
[text]
files = [\"tale.txt\"]
batch = 5
micro_batch = 2
[model]
family = \"llama\"
context = 16
layers = 1
width = 16
heads = 2
[optimizer]
learning_rate = 1e-2
[train]
updates = 50
evaluate_every = 20
checkpoint_every = 25
threads = 1
";

pub fn tale() -> Sandbox {
    let text: String = (0..80).map(|day| format!("On day {day:03} the fox met the hen; all was well.\n")).collect();
    Sandbox::new().with("tale.txt", &text).with("tale.toml", TALE)
}

/// Sandbox with a run file of a learner, the name of the file, and its optimiser steps in an update.
fn run_of(learner: &LearnerKind) -> (Sandbox, String, usize) {
    let section = format!("[{}]", learner.name);
    match learner.data {
        Data::Text => (tale(), "tale.toml".into(), 1),
        Data::Preferences => {
            let file =
                if learner.name == "reward_model" { "reward.toml".into() } else { format!("{}.toml", learner.name) };
            (preferences::sandbox(), file, 1)
        }
        Data::Play => {
            let settings = match learner.name {
                "grpo" => "\nbatch = 8\nadvantage = \"reinforce_plus_plus_baseline\"\nkl_coefficient = 0.01",
                _ => "",
            };
            let run = game(&format!("{section}{settings}"), 4).replace("[rollout]", "[rollout]\ngroup = 4");
            let run = if learner.name == "ppo" { game(&section, 4) } else { run };
            (Sandbox::new().with("game.toml", &run), "game.toml".into(), 4)
        }
        Data::Log => {
            // The decision transformer reads the return to come beside the observation.
            let run = game(&section, 10).replace("context = 16", "context = 32").replace(
                "[rollout]\nepisodes = 32\nenvironments = 8\n",
                "[data]\nfiles = [\"log.parquet\"]\nbatch = 37\nmicro_batch = 10\nsteps = 5\n",
            );
            let run = run.replace("id = \"tic-tac-toe\"\noptions = { view = \"compact\" }", "file = \"board.toml\"");
            let board = "id = \"board\"\nkind = \"tic-tac-toe\"\noptions = { view = \"compact\" }\n";
            let sandbox = Sandbox::new().with("log.toml", &run).with("board.toml", board);
            let record = ["rollout", "board.toml", "--policy", "random", "--episodes", "100", "--out", "log.parquet"];
            assert_eq!(sandbox.run(&record).code, Some(0));
            (sandbox, "log.toml".into(), 5)
        }
    }
}

#[test]
fn every_learner_learns_as_on_one_rank() {
    for learner in LEARNERS {
        let (sandbox, file, steps) = run_of(learner);
        check_ranks(&sandbox, &file, learner.name, 5usize.div_ceil(steps), &[(2, &[]), (4, &[SHARDED])]);
    }
}

#[test]
#[ignore = "needs minutes: cargo test --release --features libtorch --test it every_learner -- --ignored"]
fn every_learner_learns_as_on_one_rank_for_50_steps() {
    let runs: [(usize, &[&str]); 4] = [(2, &[]), (4, &[]), (2, &[SHARDED]), (4, &[SHARDED])];
    for learner in LEARNERS {
        let (sandbox, file, steps) = run_of(learner);
        check_ranks(&sandbox, &file, learner.name, 50usize.div_ceil(steps), &runs);
    }
}

#[test]
fn a_number_of_ranks_fixes_the_bits() {
    let sandbox = tale();
    for overrides in [&[][..], &[SHARDED]] {
        let [first, again] = ["first", "again"].map(|out| {
            let out = format!("{out}-{}", overrides.len());
            train(&sandbox, "tale.toml", 2, &out, &[&["train.updates=10"], overrides].concat()).unwrap()
        });
        assert_eq!(metrics(&first), metrics(&again));
        assert_same_bits(&first, &again);
    }
}

#[test]
fn the_best_checkpoint_is_used_on_all_ranks() {
    let sandbox = tale();
    let best = ["train.keep_best=\"validation/mean_nll\"", "train.evaluate_every=2", "train.updates=6"];
    let alone = train(&sandbox, "tale.toml", 1, "alone", &best).unwrap();
    let sharded = train(&sandbox, "tale.toml", 3, "sharded", &[&best[..], &[SHARDED]].concat()).unwrap();
    assert_same_run(&sharded, &alone, "keep_best");
    let [ours, theirs] = [&sharded, &alone].map(|dir| checkpoint::latest(&dir.join("best")).unwrap().unwrap());
    assert_eq!(ours.file_name(), theirs.file_name());
    assert_eq!(checkpoint::load(&ours).unwrap().optimizer.len(), checkpoint::load(&theirs).unwrap().optimizer.len());
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let sandbox = tale();
    let short = "train.updates=25";
    let whole = train(&sandbox, "tale.toml", 1, "whole", &[]).unwrap();
    let none: &[&str] = &[];
    // The ranks and settings of the first half and of the second.
    let runs = [
        ((2, none), (1, none)),
        ((2, none), (4, &[SHARDED][..])),
        ((1, none), (2, &[SHARDED])),
        ((4, &[SHARDED]), (1, none)),
        ((2, &[SHARDED]), (3, &[SHARDED])),
    ];
    for (number, ((before, settings), (after, changed))) in runs.into_iter().enumerate() {
        let out = format!("half-{number}");
        train(&sandbox, "tale.toml", before, &out, &[&[short], settings].concat()).unwrap();
        // The rate is constant, so that the shorter run is the beginning of the longer one.
        let resumed = train(&sandbox, "tale.toml", after, &out, changed).unwrap();
        assert_same_run(&resumed, &whole, &format!("{before} ranks, then {after}"));
    }
    for settings in [none, &[SHARDED]] {
        let [whole, halves] = ["whole-2", "halves-2"].map(|out| format!("{out}-{}", settings.len()));
        let whole = train(&sandbox, "tale.toml", 2, &whole, settings).unwrap();
        train(&sandbox, "tale.toml", 2, &halves, &[&[short], settings].concat()).unwrap();
        assert_same_bits(&train(&sandbox, "tale.toml", 2, &halves, settings).unwrap(), &whole);
    }
}

#[test]
fn ranks_with_other_run_files_do_not_begin() {
    let sandbox = tale();
    let path = sandbox.path().join("tale.toml");
    let found = Threads::run(2, LONG, |collective| {
        let seed = format!("seed={}", 5 + collective.rank());
        let run = RunFile::load(&path, &["device=flex", &seed]).unwrap();
        let out = Some(sandbox.path().join("out"));
        let options = TrainOptions { out, display: Display::Quiet, ..TrainOptions::default() };
        let refused = train_on_ranks(run, &Registry::builtin(), options, collective, &mut |_| Ok(()));
        refused.map(drop).unwrap_err().to_string()
    });
    let expected = "rank 1: has `seed = 6` in its run file, and rank 0 has `seed = 5`; all ranks must run the same \
                    program on the same files";
    assert_eq!(found, [expected; 2]);
    assert!(!sandbox.path().join("out").exists(), "nothing was written");
}

#[test]
fn the_communication_of_threads_is_measured() {
    let found = Sandbox::new().run(&["bench", "collective", "--ranks", "3", "--json"]).json();
    assert_eq!((&found["ranks"], &found["mpi"]), (&3.into(), &false.into()));
    for name in ["message_seconds", "bytes_per_second"] {
        assert!(found[name].as_f64().is_some_and(|number| number > 0.0 && number.is_finite()), "{found}");
    }
}
