//! Runs on several ranks: the same run as on one, for every kind of data; failures; MPI.
//!
//! Ranks are threads of the test, so that most tests need no MPI. The others start the program by mpirun.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palestra::config::RunFile;
use palestra::envs::Registry;
use palestra::learn::collective::{Collective, Threads};
use palestra::model::checkpoint;
use palestra::model::ops::available_devices;
use palestra::report::Display;
use palestra::train_run::{TrainOptions, train_on_ranks};
use serde_json::Value;

use crate::command::Sandbox;
use crate::preferences;
use crate::tiny_run::{LAKE, checkpoints, metrics_lines, wait_for_updates};

const LONG: Duration = Duration::from_secs(300);

/// Trains on ranks that are threads; returns the errors of all ranks, or the directory of the run.
fn train(sandbox: &Sandbox, file: &str, size: usize, out: &str, overrides: &[&str]) -> Result<PathBuf, Vec<String>> {
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

/// Checks that metrics agree to 1e-5 of their size, and the last model to 1e-4 of its norm.
#[track_caller]
fn assert_same_run(found: &Path, expected: &Path, about: &str) {
    let (ours, theirs) = (metrics(found), metrics(expected));
    assert_eq!(ours.len(), theirs.len(), "{about}");
    for (update, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(ours.keys().eq(theirs.keys()), "{about}: {:?}, {:?}", ours.keys(), theirs.keys());
        for (name, expected) in theirs {
            let difference = (ours[name] - expected).abs();
            // Numbers near 0, such as the KL from the policy itself, are rounding.
            assert!(
                difference <= 1e-5 * expected.abs().max(0.1),
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
    assert!(difference.sqrt() <= 1e-4 * size.sqrt(), "{about}: the models differ by {}", (difference / size).sqrt());
}

/// Trains on 1, 2 and 4 ranks, and compares; on 2 ranks twice, to the bit.
fn check_ranks(sandbox: &Sandbox, file: &str) {
    let alone = train(sandbox, file, 1, "alone", &[]).unwrap();
    for (size, out) in [(2, "two"), (4, "four")] {
        assert_same_run(&train(sandbox, file, size, out, &[]).unwrap(), &alone, &format!("{file} on {size} ranks"));
    }
    let again = train(sandbox, file, 2, "again", &[]).unwrap();
    let two = sandbox.path().join("two");
    assert_eq!(metrics(&again), metrics(&two));
    assert_same_bits(&again, &two);
}

fn assert_same_bits(found: &Path, expected: &Path) {
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

fn tale() -> Sandbox {
    let text: String = (0..80).map(|day| format!("On day {day:03} the fox met the hen; all was well.\n")).collect();
    Sandbox::new().with("tale.txt", &text).with("tale.toml", TALE)
}

#[test]
fn text_is_learned_as_on_one_rank() {
    check_ranks(&tale(), "tale.toml");
}

#[test]
fn preferences_are_learned_as_on_one_rank() {
    for file in ["reward.toml", "dpo.toml", "kto.toml"] {
        check_ranks(&preferences::sandbox(), file);
    }
}

#[test]
fn play_is_learned_from_as_on_one_rank() {
    let group = game("[grpo]\nbatch = 8\nadvantage = \"reinforce_plus_plus_baseline\"\nkl_coefficient = 0.01", 4);
    let group = group.replace("[rollout]", "[rollout]\ngroup = 4");
    for run in [game("[ppo]", 12), group] {
        check_ranks(&Sandbox::new().with("game.toml", &run), "game.toml");
    }
}

#[test]
fn a_log_is_learned_from_as_on_one_rank() {
    for learner in ["[ilql]", "[awr]"] {
        let run = game(learner, 10).replace(
            "[rollout]\nepisodes = 32\nenvironments = 8\n",
            "[data]\nfiles = [\"log.parquet\"]\nbatch = 37\nmicro_batch = 10\nsteps = 5\n",
        );
        let run = run.replace("id = \"tic-tac-toe\"\noptions = { view = \"compact\" }", "file = \"board.toml\"");
        let board = "id = \"board\"\nkind = \"tic-tac-toe\"\noptions = { view = \"compact\" }\n";
        let sandbox = Sandbox::new().with("log.toml", &run).with("board.toml", board);
        let record = ["rollout", "board.toml", "--policy", "random", "--episodes", "100", "--out", "log.parquet"];
        assert_eq!(sandbox.run(&record).code, Some(0));
        check_ranks(&sandbox, "log.toml");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let sandbox = tale();
    let whole = train(&sandbox, "tale.toml", 1, "whole", &[]).unwrap();
    for (before, after) in [(2, 1), (2, 4), (1, 2)] {
        let out = format!("{before}-{after}");
        train(&sandbox, "tale.toml", before, &out, &["train.updates=25"]).unwrap();
        // The rate is constant, so that the shorter run is the beginning of the longer one.
        let resumed = train(&sandbox, "tale.toml", after, &out, &[]).unwrap();
        assert_same_run(&resumed, &whole, &out);
    }
    let two = train(&sandbox, "tale.toml", 2, "two", &[]).unwrap();
    train(&sandbox, "tale.toml", 2, "2-2", &["train.updates=25"]).unwrap();
    assert_same_bits(&train(&sandbox, "tale.toml", 2, "2-2", &[]).unwrap(), &two);
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

/// The program on ranks of mpirun, in a sandbox.
fn mpirun(sandbox: &Sandbox, ranks: &str, args: &[&str]) -> Child {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", ranks]);
    command.arg(env!("CARGO_BIN_EXE_palestra")).args(args).current_dir(sandbox.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun starts")
}

/// Exit code of a program, and what it said.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Process id of a rank of a run in a sandbox.
fn rank_id(sandbox: &Sandbox, rank: usize) -> String {
    let is_rank = |id: &String| {
        let read = |file: &str| std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let variable = format!("OMPI_COMM_WORLD_RANK={rank}");
        read("environ").split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
            && std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|folder| folder == sandbox.path())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let mut ids = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    ids.find(is_rank).expect("the rank runs")
}

#[test]
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it ranks -- --ignored"]
fn ranks_of_mpi_train_as_one_does() {
    let sandbox = tale();
    let alone = train(&sandbox, "tale.toml", 1, "alone", &[]).unwrap();
    let device = available_devices().pop().unwrap();
    let args = ["train", "tale.toml", "--quiet", "--device", device, "--out", "mpi"];
    let (code, told) = ended(mpirun(&sandbox, "2", &args));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert_same_run(&sandbox.path().join("mpi"), &alone, "MPI");
    assert_same_bits(&sandbox.path().join("mpi"), &train(&sandbox, "tale.toml", 2, "threads", &[]).unwrap());
    assert!(sandbox.path().join("mpi/rank-1.log").is_file());
    let last: BTreeMap<String, f64> =
        serde_json::from_str(metrics_lines(&sandbox.path().join("mpi")).last().unwrap()).unwrap();
    assert!(last["collective/seconds"] > 0.0 && last["collective/bytes"] > 1000.0, "{last:?}");
}

#[test]
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it ranks -- --ignored"]
fn a_rank_of_mpi_that_dies_or_hangs_ends_the_run() {
    for (signal, told) in [("-KILL", "rank 1"), ("-STOP", "no answer for 2 s from rank 1 on ")] {
        let sandbox = tale();
        let args = ["train", "tale.toml", "--quiet", "--device", "flex", "--out", "out", "--set=train.deadline=2.0"];
        let args = [&args[..], &["--set=train.updates=100000", "--set=train.checkpoint_every=2"]].concat();
        let mut child = mpirun(&sandbox, "2", &args);
        let out = sandbox.path().join("out");
        wait_for_updates(&mut child, &out, 4);
        let killed = Command::new("kill").args([signal, &rank_id(&sandbox, 1)]).status().unwrap();
        let began = Instant::now();
        assert!(killed.success());
        let (code, found) = ended(child);
        assert!(began.elapsed() < Duration::from_secs(10), "{signal}: ended after {:?}", began.elapsed());
        assert!(code != Some(0) && found.contains(told), "{signal}: {found}");
        checkpoint::load(&checkpoint::latest(&out.join("checkpoints")).unwrap().unwrap()).unwrap();
    }
}

#[test]
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it ranks -- --ignored"]
fn a_run_of_mpi_that_is_interrupted_at_rank_0_is_saved() {
    let sandbox = tale();
    let args = ["train", "tale.toml", "--device", "flex", "--out", "out", "--set=train.updates=100000"];
    let mut child = mpirun(&sandbox, "2", &args);
    let out = sandbox.path().join("out");
    wait_for_updates(&mut child, &out, 4);
    assert!(Command::new("kill").args(["-INT", &rank_id(&sandbox, 0)]).status().unwrap().success());
    let (code, told) = ended(child);
    let done = metrics_lines(&out).len();
    assert!(code == Some(130) && told.contains(&format!("stopped after update {done} of 100000")), "{code:?}: {told}");
    assert!(checkpoints(&out).pop().unwrap().ends_with(format!("step-{done:08}")));
}
