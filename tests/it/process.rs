//! Runs whose environment or reward is a program: what fails is dropped and counted, and nothing is lost.

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, metrics_lines};

/// A program of one question, which ends in its tenth step. Its argument is the status that it ends with.
const PROGRAM: &str = r#"
steps=0
while read -r line; do
    s=${line#*\"session\":}; s=${s%%[,\}]*}
    case $line in
    *'"hello"'*) echo '{"type":"hello","protocol":1,"spec":{"id":"letters-v1","max_turns":1,"reward_range":[0,1],"alphabet":"ab?","reproducible":false}}' ;;
    *'"reset"'*) echo '{"type":"reset","session":'$s',"observation":"?","legal_actions":["a","b"],"info":{"row":{"answer":"a"}}}' ;;
    *'"step"'*)
        steps=$((steps + 1))
        if [ $steps = 10 ]; then echo "I am tired" >&2; exit 3; fi
        reward=0; case $line in *'"action":"a"'*) reward=1 ;; esac
        echo '{"type":"step","session":'$s',"observation":"","reward":'$reward',"terminated":true,"info":{"row":{"answer":"a"}}}' ;;
    esac
done
"#;

const RUN: &str = "\
name = \"outside\"
[env]
kind = \"process\"
options = { command = [\"sh\", \"program.sh\"], workers = 2 }
[model]
family = \"gpt2\"
context = 8
layers = 1
width = 16
heads = 2
[rollout]
episodes = 8
environments = 4
[ppo]
batch = 8
[train]
updates = 4
checkpoint_every = 100
threads = 1
[evaluation]
episodes = 2
";

fn sandbox() -> Sandbox {
    Sandbox::new().with("program.sh", PROGRAM).with("run.toml", RUN)
}

#[test]
fn a_run_goes_on_when_a_program_dies() {
    let sandbox = sandbox();
    let outcome = sandbox.run(&["train", "run.toml", "--quiet"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("letters-v1: reproducible = false"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("it ended; its last words:\n  exit status: 3\n  I am tired"), "{}", outcome.stderr);
    let run = sandbox.path().join("runs/outside");
    let updates: Vec<serde_json::Value> =
        metrics_lines(&run).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let dropped: f64 = updates.iter().filter_map(|update| update["rollout/dropped_exit"].as_f64()).sum();
    assert!(updates.len() == 4 && dropped >= 1.0, "{updates:?}");
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("env.json")).unwrap()).unwrap();
    assert_eq!((spec["id"].as_str(), spec["reproducible"].as_bool()), (Some("letters-v1"), Some(false)));
}

#[test]
fn too_many_failures_end_a_run_with_everything_saved() {
    let sandbox = sandbox();
    let set = "env.options={ command = [\"sh\", \"program.sh\"], workers = 2, max_failures = 0 }";
    let outcome = sandbox.run(&["train", "run.toml", "--quiet", "--set", set]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let told = "error: letters-v1: 1 failures, more than `max_failures` = 0; the last one: worker ";
    assert!(outcome.stderr.contains(told) && outcome.stderr.ends_with("I am tired\n"), "{}", outcome.stderr);
    let run = sandbox.path().join("runs/outside");
    let saved = metrics_lines(&run).len();
    let last = checkpoints(&run).pop().unwrap();
    assert!(saved > 0 && last.ends_with(format!("step-{saved:08}")), "{} of {saved} updates", last.display());
}

#[test]
fn a_recording_counts_what_was_dropped() {
    let sandbox = sandbox().with("env.toml", "kind = \"process\"\noptions.command = [\"sh\", \"program.sh\"]\n");
    let record =
        ["rollout", "env.toml", "--policy", "random", "--episodes", "15", "--out", "log.parquet", "--quiet", "--json"];
    let outcome = sandbox.run(&record);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((report["episodes"].as_u64(), report["dropped"]["exit"].as_u64()), (Some(14), Some(1)), "{report}");
}

#[test]
fn an_environment_behind_the_protocol_is_itself() {
    let program = env!("CARGO_BIN_EXE_palestra");
    let served = format!("kind = \"process\"\noptions = {{ command = ['{program}', 'serve', 'frozen-lake-4x4'] }}\n");
    let sandbox = Sandbox::new().with("served.toml", &served);
    let played = |env: &str| {
        let args = ["rollout", env, "--policy", "random", "--episodes", "30", "--seed", "4", "--quiet", "--json"];
        let report = sandbox.run(&[&args[..], &["--out", &format!("{env}.parquet")]].concat()).json();
        (report["env_id"].clone(), report["rows"].clone(), report["mean_return"].clone())
    };
    assert_eq!(played("served.toml"), played("frozen-lake-4x4"));
    sandbox.run(&["check", "served.toml", "--episodes", "1", "--quiet"]).success();
}

#[test]
fn a_new_project_is_checked_and_trained_as_it_is() {
    let sandbox = Sandbox::new();
    let listed = sandbox.run(&["new", "lake", "--toml", "--json"]).json();
    assert_eq!(listed["files"], serde_json::json!(["env.toml", "run.toml"]));
    sandbox.run(&["check", "lake/env.toml", "--quiet"]).success();
    sandbox.run(&["train", "lake/run.toml", "--quiet", "--set", "train.updates=1"]).success();
    let told = "error: lake: it exists already; name another directory\n";
    assert_eq!(sandbox.run(&["new", "lake", "--rust"]).stderr, told);
    assert!(sandbox.run(&["new", "1", "--rust"]).stderr.contains("\"1\" names no project"));
    sandbox.run(&["new", "mine", "--rust", "--quiet"]).success();
    let manifest: toml::Table =
        std::fs::read_to_string(sandbox.path().join("mine/Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("mine"));
    assert!(manifest["dependencies"]["palestra"]["path"].is_str());
}

#[test]
#[ignore = "needs Python: cargo test --test it process -- --ignored"]
fn a_new_project_in_python_is_checked_and_trained_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.run(&["new", "larger", "--python", "--quiet"]).success();
    sandbox.run(&["check", "larger/env.toml", "--quiet"]).success();
    sandbox.run(&["train", "larger/run.toml", "--quiet", "--set", "train.updates=2"]).success();
}

/// As pip installs the two wheels.
#[test]
#[cfg(unix)]
fn the_program_with_libtorch_is_preferred_where_it_is_installed() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    let (bin, package) =
        (sandbox.path().join("bin"), sandbox.path().join("lib/python3.11/site-packages/palestra_libtorch"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_palestra"), bin.join("palestra")).unwrap();
    let told = || {
        let output = std::process::Command::new(bin.join("palestra")).args(["--version", "b c"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(told().starts_with("palestra "));
    std::fs::create_dir_all(&package).unwrap();
    let preferred = package.join("palestra");
    std::fs::write(&preferred, "#!/bin/sh\necho \"$0: $1, $2\"\n").unwrap();
    std::fs::set_permissions(&preferred, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(told(), format!("{}: --version, b c\n", preferred.canonicalize().unwrap().display()));
}
