//! Every mistake of a person is answered with one line that names it, exit code 1, and nothing written.

mod language_models;

use std::path::{Path, PathBuf};
use std::process::Command;

use palestra::envs::Registry;

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, lake, metrics_lines, trained};

const HEAD: &str = "name = \"lake\"\n\n[env]\nid = \"frozen-lake-4x4\"\n\n";

#[track_caller]
fn assert_run_refused(text: &str, message: &str) {
    Sandbox::new().with("lake.toml", text).assert_refused(&["train", "lake.toml"], message);
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    assert_run_refused(
        &format!("{HEAD}[optimizer]\nleraning_rate = 1e-3\n"),
        "lake.toml:7: unknown key `leraning_rate` in [optimizer]; did you mean `learning_rate`? known keys: \
         learning_rate, warmup, schedule, final_fraction, betas, eps, weight_decay, max_grad_norm, group",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_answered_with_the_right_one() {
    assert_run_refused(
        &format!("{HEAD}[ppo]\nepochs = \"four\"\n"),
        "lake.toml:7: ppo.epochs: found string \"four\", expected a whole number, 0 or more",
    );
}

#[test]
fn what_is_no_toml_is_answered_with_its_line() {
    let sandbox = Sandbox::new().with("lake.toml", "name = \"lake\nseed = 1\n");
    let outcome = sandbox.run(&["train", "lake.toml"]);
    assert!(outcome.stderr.starts_with("error: lake.toml:1: "), "{}", outcome.stderr);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1));
}

#[test]
fn an_impossible_shape_is_named() {
    assert_run_refused(
        &format!("{HEAD}[model]\nwidth = 64\nheads = 3\n"),
        "lake.toml: model.heads: 3 does not divide model.width = 64",
    );
    assert_run_refused(
        &format!("{HEAD}[rollout.sampling]\ntop_k = 5\n"),
        "lake.toml: rollout.sampling.top_k: 5 is not 0, which is no limit: PPO learns from samples of the whole \
         distribution",
    );
}

#[test]
fn a_missing_file_is_named() {
    Sandbox::new().assert_refused(&["train", "no.toml"], "no.toml: No such file or directory (os error 2)");
    Sandbox::new()
        .assert_refused(&["evaluate", "no"], "no is no directory; give the directory of a run, like runs/<name>");
    Sandbox::new().assert_refused(&["check", "no.toml"], "no.toml: No such file or directory (os error 2)");
}

#[test]
fn an_unknown_environment_is_answered_with_the_nearest() {
    let nearest = "no environment `frozn-lake-4x4`; did you mean `frozen-lake-4x4`, `frozen-lake-8x8`?";
    for command in ["envs", "check", "play"] {
        Sandbox::new().assert_refused(&[command, "frozn-lake-4x4"], nearest);
    }
    Sandbox::new()
        .assert_refused(&["envs", "FrozenLake-v1"], "no environment `FrozenLake-v1`: that is `frozen-lake-4x4` here");
    let run = "name = \"lake\"\n\n[env]\nid = \"frozn-lake-4x4\"\n";
    assert_run_refused(run, &format!("lake.toml:4: env.id: {nearest}"));
}

#[test]
fn an_option_of_the_environment_is_blamed_in_the_run_file() {
    assert_run_refused(
        &format!("{HEAD}[env.options]\nslipery = true\n"),
        "lake.toml:7: unknown key `slipery` in [env.options]; did you mean `slippery`? known keys: map, slippery, \
         limit, view",
    );
}

#[test]
fn an_unknown_device_is_answered_with_the_known() {
    let message = "device \"tpu\" is unknown; it is one of auto, cpu, cuda, cuda:<index>, flex, libtorch, \
                   libtorch-cuda:<index>";
    let sandbox = Sandbox::new().with("lake.toml", HEAD);
    sandbox.assert_refused(&["train", "lake.toml", "--device", "tpu"], message);
    sandbox.assert_refused(&["train", "lake.toml", "--set", "device=tpu"], message);
}

#[test]
fn a_device_that_is_not_here_is_named() {
    let (device, message) = if cfg!(feature = "libtorch") {
        ("libtorch-cuda:99", "device \"libtorch-cuda:99\": libtorch sees ")
    } else {
        ("libtorch", "this program was built without libtorch: build with --features libtorch")
    };
    let sandbox = Sandbox::new().with("lake.toml", HEAD);
    let refused = sandbox.run(&["train", "lake.toml", "--device", device]);
    assert!(refused.stderr.starts_with(&format!("error: {message}")), "{}", refused.stderr);
    assert_eq!((refused.code, refused.stderr.lines().count()), (Some(1), 1));
    assert!(!sandbox.path().join("runs").exists(), "nothing is written");
}

#[test]
fn a_wrong_override_is_told_as_it_was_written() {
    let sandbox = Sandbox::new().with("lake.toml", HEAD);
    let refused = |assignment: &str, message: &str| {
        sandbox.assert_refused(&["train", "lake.toml", "--set", assignment], message);
    };
    refused("ppo.epochs", "--set ppo.epochs: write key=value, such as ppo.epochs=2");
    refused(
        "train.update=3",
        "--set train.update=3: unknown key `update` in [train]; did you mean `updates`? known keys: updates, \
         epochs, checkpoint_every, keep_checkpoints, keep_best, evaluate_every, gradient_checkpointing, precision, threads, memory, \
         sharding, deadline, upload",
    );
    refused(
        "ppo.epochs=two",
        "--set ppo.epochs=two: ppo.epochs: found string \"two\", expected a whole number, 0 or more",
    );
    refused("rollout.episodes=0", "lake.toml --set rollout.episodes=0: rollout.episodes: 0 is not at least 1");
}

#[test]
fn an_unknown_policy_is_answered_with_the_known() {
    Sandbox::new().assert_refused(
        &["play", "frozen-lake-4x4", "--policy", "nobody"],
        "--policy nobody: no such policy; it is human, random, scripted or a run's directory",
    );
    let told = Sandbox::new().run(&["play", "frozen-lake-4x4", "--json"]).stderr;
    assert!(told.contains("--json: a person plays in the terminal; choose another policy with --policy"), "{told}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [&["tarin"][..], &["play"], &["play", "frozen-lake-4x4", "--episodes", "0"], &["check", "x", "--jsno"]]
    {
        let outcome = Sandbox::new().run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    }
}

/// Checks that a command is refused with one line that names this file.
#[track_caller]
fn assert_blamed(sandbox: &Sandbox, args: &[&str], file: &Path, reason: &str) {
    let refused = sandbox.run(args);
    let message = format!("error: {}: {reason}", file.strip_prefix(sandbox.path()).unwrap().display());
    assert!(refused.stderr.starts_with(&message), "{} instead of {message}", refused.stderr);
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.lines().count()), (Some(1), "", 1));
}

const USES: [&[&str]; 3] = [
    &["evaluate", "runs/lake"],
    &["play", "frozen-lake-4x4", "--policy", "runs/lake"],
    &["train", "lake.toml", "--quiet", "--resume", "--set", "train.updates=3"],
];

#[test]
fn a_damaged_checkpoint_is_named() {
    let sandbox = trained();
    let weights = checkpoints(&sandbox.path().join("runs/lake")).pop().unwrap().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    for args in USES {
        assert_blamed(&sandbox, args, &weights, "its checksum is ");
    }
    assert_eq!(metrics_lines(&sandbox.path().join("runs/lake")).len(), 2, "a refusal changes nothing");
}

#[test]
fn a_run_without_a_checkpoint_cannot_be_evaluated() {
    let sandbox = trained();
    let folder = sandbox.path().join("runs/lake/checkpoints");
    std::fs::remove_dir_all(&folder).unwrap();
    for args in &USES[..2] {
        assert_blamed(&sandbox, args, &folder, "there is no checkpoint yet\n");
    }
    std::fs::remove_file(sandbox.path().join("runs/lake/run.toml")).unwrap();
    let refused = sandbox.run(USES[2]);
    let message = "error: runs/lake has no run.toml; give the directory of a run, like runs/<name>\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), message));
}

#[test]
fn a_checkpoint_cut_short_is_passed_over_for_an_earlier_one() {
    let sandbox = lake();
    let args = ["train", "lake.toml", "--quiet", "--set", "train.checkpoint_every=1", "--set", "train.updates=2"];
    sandbox.run(&args).success();
    let [first, second]: [PathBuf; 2] = checkpoints(&sandbox.path().join("runs/lake")).try_into().unwrap();
    std::fs::write(second.join("optimizer.safetensors"), "").unwrap();
    let warned = sandbox.run(&["evaluate", "runs/lake"]);
    assert_eq!(warned.code, Some(0), "{}", warned.stderr);
    assert!(warned.stderr.contains("WARN") && warned.stderr.contains("optimizer.safetensors"), "{}", warned.stderr);
    let resumed = sandbox.run(&[&args[..], &["--resume"]].concat());
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_eq!(metrics_lines(&sandbox.path().join("runs/lake")).len(), 2, "the second update once");
    assert!(first.is_dir() && second.join("optimizer.safetensors").metadata().unwrap().len() > 0);
}

/// A limit on the size of a file, whose signal is ignored, fails a write as a full disk does.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_costs_no_checkpoint() {
    let sandbox = trained();
    let run_dir = sandbox.path().join("runs/lake");
    let before = checkpoints(&run_dir);
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 12; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_palestra")])
        .args(["train", "lake.toml", "--quiet", "--resume", "--set", "train.updates=4"])
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let file = "runs/lake/checkpoints/.tmp-step-00000003/model.safetensors";
    assert_eq!(told, format!("error: {file}: File too large (os error 27)\n"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(checkpoints(&run_dir), before, "nothing half written is left");
    palestra::agent::Agent::load(&run_dir, &Registry::builtin(), &[] as &[&str]).unwrap();
    sandbox.run(USES[2]).success();
    assert_eq!(metrics_lines(&run_dir).len(), 3);
}
