//! Every recipe, and the example of a custom environment, in a few episodes each.

use std::path::{Path, PathBuf};
use std::process::Command;

use palestra::config::RunFile;
use palestra::envs::policies::Random;
use palestra::envs::record::record;
use palestra::envs::{Definition, Registry};
use palestra_datasets::examples::Form;
use palestra_datasets::log::{LogWriter, WriteOptions};

use crate::command::Sandbox;
use crate::fine_tuning::write_model_and_chats;
use crate::preferences::write_model_and_preferences;
use crate::tiny_run::checkpoints;

/// Overrides that make a recipe small.
const SMALL: [&str; 7] = [
    "--set=train.updates=2",
    "--set=train.checkpoint_every=1",
    "--set=train.keep_checkpoints=2",
    "--set=train.evaluate_every=1",
    "--set=rollout.episodes=4",
    "--set=rollout.environments=4",
    "--set=evaluation.episodes=4",
];

/// All recipes, each with the name that follows from its path.
fn recipes() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes");
    let mut recipes = Vec::new();
    for (folder, prefix) in [(folder.join("people"), "people-"), (folder, "")] {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        recipes.extend(files.map(|path| (format!("{prefix}{}", path.file_stem().unwrap().display()), path)));
    }
    assert!(recipes.len() > 20);
    recipes
}

/// Writes a few episodes of a random policy, if a recipe learns from a log.
fn write_log(run: &RunFile, path: &Path) {
    let fallback = Definition::named("double-t-maze");
    let env = run.env.as_ref().unwrap_or(&fallback);
    let mut writer = LogWriter::create(path, WriteOptions::default()).unwrap();
    for episode in record(&Registry::builtin(), env, 0..8, 0, &mut Random).unwrap() {
        writer.write(&episode.unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

/// Checks that a finished run of two updates left all files that `palestra train --help` promises.
#[track_caller]
fn assert_complete(run_dir: &Path) {
    let read =
        |name: &str| std::fs::read_to_string(run_dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    RunFile::from_toml("run.toml", &read("run.toml"), &[] as &[&str]).unwrap();
    assert_eq!(read("metrics.jsonl").lines().count(), 2);
    assert!(read("metrics.jsonl").contains("\"evaluation/return_mean\":"));
    assert!(read("report.html").starts_with("<!"));
    assert!(read("plots/return.svg").starts_with("<svg"));
    for line in read("episodes.jsonl").lines() {
        let episode: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(episode["turns"].is_array(), "{line}");
    }
    assert_eq!(read("episodes.jsonl").lines().count(), 4);
    assert_eq!(checkpoints(run_dir).len(), 2);
    let events: Vec<_> = std::fs::read_dir(run_dir.join("tensorboard")).unwrap().collect();
    assert_eq!(events.len(), 1, "one file of events a session");
}

/// Writes small stand-ins for the files that a recipe names. Returns the overrides that use them.
fn stand_ins(run: &RunFile, folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let one = |key: &str, name: &str| format!("--set={key}={:?}", path(name));
    let list = |key: &str, name: &str| format!("--set={key}=[{:?}]", path(name));
    let set = |pair: &str| format!("--set={pair}");
    write_model_and_chats(folder);
    let mut args = Vec::new();
    if run.start_from.is_some() {
        args.push(one("start_from", "m"));
    }
    if run.data.is_some() {
        write_log(run, &folder.join("log.parquet"));
        args.extend([list("data.files", "log.parquet"), set("data.steps=2"), set("data.batch=8")]);
    }
    if let Some(text) = &run.text {
        std::fs::write(folder.join("text.txt"), "what light through yonder window breaks?\n".repeat(40)).unwrap();
        std::fs::write(folder.join("answers.jsonl"), "{\"prompt\": \"one\", \"completion\": \" two\"}\n".repeat(5))
            .unwrap();
        let name = match text.format {
            None => "text.txt",
            Some(Form::Messages) => "chats.jsonl",
            Some(_) => "answers.jsonl",
        };
        args.extend([list("text.files", name), set("text.batch=2"), set("text.sample_tokens=4"), set("text.steps=1")]);
        if !text.validation.is_empty() {
            args.push(list("text.validation", name));
        }
        if text.tokenizer.is_some() {
            args.push(one("text.tokenizer", "m/tokenizer.json"));
        }
        if text.format.is_some() {
            args.push(set("text.window=32"));
        }
    }
    if let Some(preferences) = &run.preferences {
        write_model_and_preferences(folder);
        args.extend([list("preferences.files", "preferences.jsonl"), set("preferences.validation_share=0.34")]);
        args.extend([set("preferences.window=24"), set("optimizer.group=[]")]);
        if preferences.tokenizer.is_some() {
            args.push(one("preferences.tokenizer", "m/tokenizer.json"));
        }
    }
    if run.rollout.group > 1 {
        args.push(set("rollout.group=2"));
    }
    if run.rewards.iter().any(|reward| reward.kind == "model") {
        // Uses a rule instead of the reward model that another recipe trains.
        std::fs::write(folder.join("prompts.jsonl"), "{\"prompt\": \"one\"}\n").unwrap();
        args.extend([one("env.options.file", "prompts.jsonl"), set("reward.0.kind=length")]);
        args.extend([set("reward.0.options={ target = 4 }"), set("rollout.max_new_tokens=8")]);
    }
    args
}

#[test]
fn every_recipe_trains() {
    for (name, recipe) in recipes() {
        let path = recipe.to_str().unwrap();
        let run = RunFile::load(&recipe, &[] as &[&str]).unwrap();
        assert_eq!(run.name, name, "a recipe is named as its file");
        let sandbox = Sandbox::new();
        let stand_ins = stand_ins(&run, sandbox.path());
        let mut args = vec!["train", path, "--device", "flex", "--out", "out", "--quiet"];
        args.extend(stand_ins.iter().map(String::as_str));
        let plays = run.env.is_some();
        run.resolve(&Registry::builtin()).unwrap();
        sandbox.run(&[&args[..], &SMALL].concat()).success();
        match plays {
            true => assert_complete(&sandbox.path().join("out")),
            false => assert_eq!(checkpoints(&sandbox.path().join("out")).len(), 2),
        }
    }
}

/// Output of an example program. `cargo test --test it` alone builds no examples.
#[track_caller]
fn example(name: &str, sandbox: &Sandbox, args: &[&str]) -> String {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().with_file_name("examples").join(name);
    assert!(example.is_file(), "{} is not built: cargo build --release --examples", example.display());
    let output = Command::new(example).args(args).current_dir(sandbox.path()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_environment_has_the_whole_command_line() {
    let run =
        "name = \"guess\"\n[env]\nid = \"guess\"\n[model]\nlayers = 1\nwidth = 16\n[rollout]\nmax_new_tokens = 3\n";
    let sandbox = Sandbox::new().with("guess.toml", run);
    let first_env = |args: &[&str]| example("first_env", &sandbox, args);
    let list = first_env(&["envs"]);
    assert!(list.lines().any(|line| line.starts_with("guess ")), "{list}");
    assert!(first_env(&["check", "guess"]).contains("guess-v1: passed"));
    first_env(&[&["train", "guess.toml", "--out", "out", "--quiet"][..], &SMALL].concat());
    assert_complete(&sandbox.path().join("out"));
}

#[test]
fn the_example_reward_scores_a_run() {
    let run = "name = \"mirror\"\n[env]\nkind = \"completion\"\noptions = { prompts = [\"m\", \"n\"], alphabet = \"ab\" }\n\
               [[reward]]\nkind = \"palindrome\"\n[model]\nlayers = 1\nwidth = 16\n[rollout]\nmax_new_tokens = 4\n";
    let sandbox = Sandbox::new().with("mirror.toml", run);
    let args = [&["train", "mirror.toml", "--out", "out", "--quiet"][..], &SMALL].concat();
    example("custom_reward", &sandbox, &args);
    let metrics = std::fs::read_to_string(sandbox.path().join("out/metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches("\"rewards/palindrome_mean\":").count(), 2, "{metrics}");
}

#[test]
fn the_shortest_run_file_fits_every_game() {
    let sandbox = Sandbox::new();
    for game in ["cliff-walking", "double-t-maze", "frozen-lake-8x8", "snake-8x8", "tic-tac-toe", "wordle"] {
        std::fs::write(sandbox.path().join("x.toml"), format!("name = \"x\"\n[env]\nid = \"{game}\"\n")).unwrap();
        assert!(sandbox.run(&["train", "x.toml", "--dry-run", "--quiet"]).success().contains("parameters"), "{game}");
    }
}

/// The files of `examples/smollm2`, each of which starts from the run before it.
#[test]
fn the_three_runs_of_smollm2_are_a_chain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/smollm2");
    let mut start = folder.join("model");
    for name in ["sft", "dpo", "grpo"] {
        let run = RunFile::load(&folder.join(format!("{name}.toml")), &[] as &[&str]).unwrap();
        assert_eq!(run.start_from.as_ref(), Some(&start), "{name}");
        start = folder.join("runs").join(run.name);
    }
}
