//! Runs on ranks that mpirun starts: training and a corpus as in one process; a rank that dies or hangs; an interrupted run.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palestra::model::checkpoint;
use palestra::model::ops::available_devices;

use crate::command::Sandbox;
use crate::ranks::{assert_same_bits, assert_same_run, tale, train};
use crate::tiny_run::{checkpoints, metrics_lines, wait_for_updates};

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
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it mpi -- --ignored"]
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
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it mpi -- --ignored"]
fn ranks_of_mpi_build_the_same_corpus() {
    let text =
        |number: usize| format!("{{\"text\": \"On day {:04} the fox met the hen; all was well.\"}}\n", number % 97);
    let rows = |from: usize| (from..from + 60).map(text).collect::<String>();
    let sandbox = Sandbox::new()
        .with("a.jsonl", &rows(0))
        .with("b.jsonl", &rows(40))
        .with("c.jsonl", &rows(80))
        .with("bad.jsonl", "{}\n");
    let args = |inputs: &[&'static str], out| -> Vec<&str> {
        let settings = [
            "--no-filters",
            "--validation=0",
            "--set=duplicates.near=false",
            "--set=shards.text_bytes=1024",
            "--quiet",
        ];
        [&["corpus"], inputs, &settings, &["--out", out]].concat()
    };
    let inputs = ["a.jsonl", "b.jsonl", "c.jsonl"];
    sandbox.run(&args(&inputs, "alone")).success();
    let (code, told) = ended(mpirun(&sandbox, "2", &args(&inputs, "mpi")));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    let names = |out: &str| {
        let entries = std::fs::read_dir(sandbox.path().join(out)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert!(names("alone").len() > 6 && names("alone") == names("mpi"), "{:?}", names("mpi"));
    for name in names("alone").iter().filter(|name| name.ends_with(".parquet")) {
        let [one, other] = ["alone", "mpi"].map(|out| std::fs::read(sandbox.path().join(out).join(name)).unwrap());
        assert!(one == other, "{name} differs");
    }
    let (code, told) = ended(mpirun(&sandbox, "2", &args(&["a.jsonl", "bad.jsonl"], "other")));
    assert!(code != Some(0), "{told}");
    assert_eq!(told.matches("error: bad.jsonl:1: it has no column `text`").count(), 1, "{told}");
}

#[test]
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it mpi -- --ignored"]
fn a_rank_of_mpi_that_dies_or_hangs_ends_the_run() {
    for (signal, told) in [("-KILL", "rank 1"), ("-STOP", "no answer for 5 s from rank 1 on ")] {
        let sandbox = tale();
        let args = ["train", "tale.toml", "--quiet", "--device", "flex", "--out", "out", "--set=train.deadline=5.0"];
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
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it mpi -- --ignored"]
fn a_rank_of_mpi_that_hangs_after_the_last_update_ends_the_run() {
    let sandbox = tale();
    let args = ["train", "tale.toml", "--quiet", "--device", "flex", "--out", "out"];
    let args = [&args[..], &["--set=train.updates=20", "--set=train.deadline=2.0"]].concat();
    let mut child = mpirun(&sandbox, "3", &args);
    let out = sandbox.path().join("out");
    wait_for_updates(&mut child, &out, 20);
    assert!(Command::new("kill").args(["-STOP", &rank_id(&sandbox, 2)]).status().unwrap().success());
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(10), "mpirun waits for a rank that is stopped");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (code, told) = ended(child);
    assert!(code != Some(0) && told.contains("no answer for 2 s from rank 2 on "), "{told}");
    checkpoint::load(&checkpoint::latest(&out.join("checkpoints")).unwrap().unwrap()).unwrap();
}

#[test]
#[ignore = "needs mpirun: cargo test --release --features libtorch,mpi --test it mpi -- --ignored"]
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
