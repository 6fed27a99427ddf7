//! A run that is stopped or killed resumes to the same bits as one that is not.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use palestra::model::ops::available_devices;
use serde_json::Value;

use crate::command::{Outcome, Sandbox};
use crate::tiny_run::{checkpoints, ended_soon, lake, metrics_lines, wait_for_updates};

/// Metrics that depend on the machine and not on the run.
const OF_THE_CLOCK: [&str; 7] = [
    "time",
    "rollout/seconds",
    "rollout/environment_share",
    "throughput/tokens_per_second",
    "throughput/turns_per_second",
    "throughput/update_tokens_per_second",
    "update/seconds",
];

/// Arguments that train into a directory.
fn train<'a>(device: &'a str, out: &'a str) -> Vec<&'a str> {
    vec!["train", "lake.toml", "--quiet", "--device", device, "--out", out]
}

fn metrics(run_dir: &Path) -> Vec<Value> {
    let mut lines: Vec<Value> = metrics_lines(run_dir).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        for name in OF_THE_CLOCK {
            assert!(line.remove(name).is_some(), "{name} is not measured");
        }
    }
    lines
}

/// Checks that two finished runs have the same metrics and, bit by bit, the same last checkpoint.
#[track_caller]
fn assert_same_run(sandbox: &Sandbox, found: &str, expected: &str) {
    let [found, expected] = [found, expected].map(|name| sandbox.path().join(name));
    assert_eq!(metrics(&found), metrics(&expected));
    let steps: Vec<u64> = metrics(&found).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>(), "each update once");
    let [ours, theirs] = [&found, &expected].map(|run_dir| checkpoints(run_dir).pop().unwrap());
    assert!(ours.ends_with("step-00000012") && theirs.ends_with("step-00000012"), "{ours:?}, {theirs:?}");
    for file in ["model.safetensors", "optimizer.safetensors", "trainer_state.json", "config.json", "tokenizer.json"] {
        let [ours, theirs] = [&ours, &theirs].map(|checkpoint| std::fs::read(checkpoint.join(file)).unwrap());
        assert!(ours == theirs, "{file} differs");
    }
    assert!(found.join("report.html").is_file());
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn the_same_run_twice_has_the_same_bits() {
    for device in available_devices() {
        let sandbox = lake();
        sandbox.run(&train(device, "once")).success();
        sandbox.run(&train(device, "again")).success();
        assert_same_run(&sandbox, "again", "once");
    }
}

#[test]
fn a_run_that_was_interrupted_goes_on_as_it_says() {
    for device in available_devices() {
        let sandbox = lake();
        sandbox.run(&train(device, "whole")).success();
        let mut child = sandbox.command(&train(device, "stopped")).spawn().unwrap();
        wait_for_updates(&mut child, &sandbox.path().join("stopped"), 4);
        interrupt(&child);
        let stopped = finish(child);
        assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(130), ""), "{}", stopped.stderr);

        let done = metrics_lines(&sandbox.path().join("stopped")).len();
        let saved = checkpoints(&sandbox.path().join("stopped")).pop().unwrap();
        assert!(saved.ends_with(format!("step-{done:08}")), "{saved:?} is saved after update {done}");
        let told = format!("stopped after update {done} of 12; everything is saved. Go on with: palestra ");
        let go_on = stopped.stderr.lines().find_map(|line| line.strip_prefix(&told));
        let go_on = go_on.unwrap_or_else(|| panic!("{}", stopped.stderr));
        let go_on: Vec<&str> = go_on.split_whitespace().chain(["--quiet"]).collect();
        sandbox.run(&go_on).success();
        assert_same_run(&sandbox, "stopped", "whole");
    }
}

#[test]
fn a_run_that_was_killed_at_any_moment_goes_on() {
    for device in available_devices() {
        let sandbox = lake();
        sandbox.run(&train(device, "whole")).success();
        let run_dir = sandbox.path().join("killed");
        let mut delay = 7u64; // of a linear congruential generator
        let mut resume: &[&str] = &[];
        // Before the first checkpoint, and twice among later ones.
        for updates in [1, 5, 9] {
            let mut child = sandbox.command(&[&train(device, "killed"), resume].concat()).spawn().unwrap();
            wait_for_updates(&mut child, &run_dir, updates);
            delay = delay.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis((delay >> 33) % 8));
            child.kill().unwrap();
            assert_eq!(finish(child).code, None, "it was over before it was killed");
            resume = &["--resume"];
        }
        sandbox.run(&[&train(device, "killed"), resume].concat()).success();
        assert_same_run(&sandbox, "killed", "whole");
    }
}

#[test]
fn two_runs_never_share_a_directory() {
    let sandbox = lake();
    let mut first = sandbox.command(&train("flex", "out")).arg("--set=train.updates=100000").spawn().unwrap();
    wait_for_updates(&mut first, &sandbox.path().join("out"), 1);
    let refused = |args: &[&str]| {
        let second = sandbox.run(args);
        assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""));
        second.stderr
    };
    let in_use = refused(&[&train("flex", "out")[..], &["--resume"]].concat());
    let pid = first.id();
    assert_eq!(
        in_use,
        format!(
            "error: run directory out is in use by another process (pid {pid}); wait until it ends, or choose another \
             --out\n"
        )
    );
    let holds_a_run = "error: out holds a run already; go on with it by --out out --resume, or choose another --out\n";
    assert_eq!(refused(&train("flex", "out")), holds_a_run);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(refused(&train("flex", "out")), holds_a_run);
}

#[test]
fn a_resumed_run_cannot_learn_in_another_way() {
    let sandbox = lake();
    sandbox.run(&[&train("flex", "out")[..], &["--set", "train.updates=1"]].concat()).success();
    let before = std::fs::read(sandbox.path().join("out/run.toml")).unwrap();
    let resume = |set: &str| sandbox.run(&[&train("flex", "out")[..], &["--resume", "--set", set]].concat());
    for (set, section) in [("ppo.epochs=3", "ppo"), ("model.width=8", "model"), ("seed=4", "seed")] {
        let refused = resume(set);
        assert_eq!(
            (refused.code, refused.stderr),
            (
                Some(1),
                format!(
                    "error: {section} is not as in out/run.toml, which this run was started with; a resumed run can \
                     change only [train] and [evaluation]\n"
                )
            )
        );
    }
    assert_eq!(std::fs::read(sandbox.path().join("out/run.toml")).unwrap(), before, "a refusal changes nothing");
    resume("train.updates=2").success();
    assert_eq!(metrics_lines(&sandbox.path().join("out")).len(), 2);
}

#[test]
fn a_run_whose_checkpoints_are_damaged_is_not_started_anew() {
    let sandbox = lake();
    sandbox.run(&train("flex", "out")).success();
    let metrics = || std::fs::read(sandbox.path().join("out/metrics.jsonl")).unwrap();
    let (before, saved) = (metrics(), checkpoints(&sandbox.path().join("out")));
    let resume = [&train("flex", "out")[..], &["--resume", "--set=train.updates=14"]].concat();
    for path in &saved {
        std::fs::remove_file(path.join("model.safetensors")).unwrap();
    }
    let told = sandbox.run(&resume).stderr;
    assert!(told.contains("none of the checkpoints is whole"), "{told}");
    assert!(saved.iter().all(|path| told.contains(path.file_name().unwrap().to_str().unwrap())), "{told}");
    saved.iter().for_each(|path| std::fs::remove_dir_all(path).unwrap());
    let told = sandbox.run(&resume).stderr;
    assert!(told.contains("there is no checkpoint, and the metrics reach update 12"), "{told}");
    assert!(metrics() == before);
}

#[test]
fn a_run_goes_on_from_the_checkpoint_that_is_named() {
    let sandbox = lake();
    sandbox.run(&train("flex", "whole")).success();
    sandbox.run(&train("flex", "out")).success();
    let saved = checkpoints(&sandbox.path().join("out"));
    let name = saved[0].file_name().unwrap().to_str().unwrap();
    sandbox.run(&[&train("flex", "out")[..], &["--resume-from", name]].concat()).success();
    assert_same_run(&sandbox, "out", "whole");
    assert!(sandbox.path().join("out/checkpoints/set-aside-step-00000012").is_dir());
    let told = sandbox.run(&[&train("flex", "out")[..], &["--resume-from", "step-7"]].concat()).stderr;
    assert!(told.contains("--resume-from step-7: there is no such checkpoint"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_run_whose_terminal_is_closed_saves_and_ends() {
    let sandbox = lake();
    let mut child =
        sandbox.command(&[&train("flex", "out")[..], &["--set=train.updates=100000"]].concat()).spawn().unwrap();
    // Nobody reads what it says any more.
    drop((child.stderr.take(), child.stdout.take()));
    wait_for_updates(&mut child, &sandbox.path().join("out"), 4);
    let hung_up = std::process::Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    assert_eq!(ended_soon(&mut child), Some(130));
    let done = metrics_lines(&sandbox.path().join("out")).len();
    assert!(checkpoints(&sandbox.path().join("out")).pop().unwrap().ends_with(format!("step-{done:08}")));
    let page = std::fs::read_to_string(sandbox.path().join("out/report.html")).unwrap();
    assert!(page.contains(&format!("{done} of 100000 updates")), "the report tells how far the run came");
}
