//! Output of each command on valid input.

use std::io::Read;

use serde_json::json;

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, lake};

#[test]
fn every_command_teaches_itself() {
    let log = ["check", "stats", "show", "import", "repair"].map(|command| format!("log {command}"));
    let tokenizer = ["train", "encode", "stats"].map(|command| format!("tokenizer {command}"));
    let commands = [
        "new", "envs", "check", "play", "serve", "train", "evaluate", "compare", "rollout", "corpus", "plan", "eval",
        "generate", "keys", "metrics", "merge",
    ];
    let commands = commands.map(String::from);
    for command in commands.into_iter().chain(log).chain(tokenizer) {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = Sandbox::new().run(&words).success();
        assert!(help.contains(&format!("Examples:\n  palestra {command}")), "{help}");
        assert!(help.contains("\nWrites "), "{command} says what it writes: {help}");
    }
    assert!(Sandbox::new().run(&["--help"]).success().contains("First steps:\n  palestra envs "));
    let bare = Sandbox::new().run(&[]);
    assert_eq!((bare.code, bare.stderr.contains("Usage: palestra")), (Some(2), true));
}

#[test]
fn envs_lists_and_shows() {
    let list = Sandbox::new().run(&["envs"]).success();
    assert!(list.starts_with("name "), "{list}");
    let line = list.lines().find(|line| line.starts_with("frozen-lake-4x4 ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    assert_eq!(words, ["frozen-lake-4x4", "v1", "0.7442", "100"]);

    let list = Sandbox::new().run(&["envs", "--json"]).json();
    let ids: Vec<_> = list["environments"].as_array().unwrap().iter().map(|env| &env["spec"]["id"]).collect();
    assert!(ids.contains(&&json!("frozen-lake-4x4-v1")), "{ids:?}");

    let card = Sandbox::new().run(&["envs", "frozen-lake-4x4"]).success();
    assert!(card.starts_with("frozen-lake-4x4-v1: optimum 0.7442, at most 100 turns\n\n# "), "{card}");
}

#[test]
fn an_error_under_json_is_an_object() {
    let told = Sandbox::new().run(&["envs", "chess", "--json"]).stderr;
    let told: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert!(told["error"].as_str().unwrap().starts_with("no environment `chess`"), "{told}");
    assert_eq!(told["interrupted"], json!(false));
}

#[test]
fn envs_shows_a_definition_of_ones_own() {
    let sandbox = Sandbox::new().with("pond.toml", "id = \"pond\"\nkind = \"frozen-lake\"\noptions.slippery = false\n");
    let pond = sandbox.run(&["envs", "pond.toml", "--json"]).json();
    assert_eq!((&pond["spec"]["id"], &pond["spec"]["stochastic"]), (&json!("pond-v1"), &json!(false)));
    assert_eq!(pond["definition"]["options"], json!({"slippery": false}));
    assert!(pond["card"].is_string());
    let text = sandbox.run(&["envs", "pond.toml"]).success();
    assert!(
        text.contains("slippery = false") && text.contains("its kind, `frozen-lake`, in its standard form"),
        "{text}"
    );
}

#[test]
fn check_passes_a_sound_environment_and_counts_what_it_played() {
    let report = Sandbox::new().run(&["check", "cliff-walking", "--json", "--episodes", "2"]).json();
    assert_eq!((&report["env_id"], &report["findings"]), (&json!("cliff-walking-v1"), &json!([])));
    let text = Sandbox::new().run(&["check", "cliff-walking", "--episodes", "2"]).success();
    assert!(text.starts_with("cliff-walking-v1: passed ("), "{text}");
}

#[test]
fn a_person_plays_to_the_end() {
    let sandbox =
        Sandbox::new().with("pond.toml", "kind = \"frozen-lake\"\noptions = { map = [\"SG\"], slippery = false }\n");
    let game = sandbox.type_in(&["play", "pond.toml"], "jump\nright\n").success();
    assert!(game.contains("actions: ") && game.contains("> "), "{game}");
    assert!(game.contains("\"jump\" is no legal action, and costs no turn"), "{game}");
    assert!(game.ends_with("The episode is over after 1 turn. Return: 1\n\n"), "{game}");
}

#[test]
fn a_person_who_leaves_is_let_go() {
    let game = Sandbox::new().type_in(&["play", "cliff-walking", "--episodes", "3"], "up\n").success();
    assert!(game.ends_with("Stopped after 1 turn. Return: -1\n\n"), "{game}");
}

#[test]
fn the_scripted_policy_is_replayed() {
    let args = ["play", "cliff-walking", "--policy", "scripted"];
    let replay = Sandbox::new().run(&args).success();
    assert!(replay.contains("\n> up\nreward -1\n"), "{replay}");
    assert!(replay.ends_with("The episode is over after 13 turns. Return: -13\n\n"), "{replay}");

    let played = Sandbox::new().run(&[&args[..], &["--episodes", "2", "--seed", "5", "--json"]].concat()).json();
    assert_eq!((&played["env_id"], &played["mean_return"]), (&json!("cliff-walking-v1"), &json!(-13.0)));
    assert_eq!((&played["episodes"][1]["seed"], &played["episodes"][1]["policy_id"]), (&json!(6), &json!("scripted")));
}

#[test]
fn the_random_policy_is_fixed_by_the_seed() {
    let play =
        |seed: &str| Sandbox::new().run(&["play", "frozen-lake-4x4", "--policy", "random", "--seed", seed]).success();
    assert_eq!(play("3"), play("3"));
    assert_ne!(play("3"), play("4"));
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child =
        sandbox.command(&["play", "frozen-lake-4x4", "--policy", "random", "--episodes", "5000"]).spawn().unwrap();
    let mut first = [0; 20];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap(); // and closes
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn a_run_whose_output_nobody_reads_trains_to_its_end() {
    let sandbox = lake();
    let mut child = sandbox.command(&["train", "lake.toml", "--set=train.updates=2"]).spawn().unwrap();
    drop((child.stderr.take(), child.stdout.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(checkpoints(&sandbox.path().join("runs/lake")).len(), 1);
}

#[test]
fn a_dry_run_plans_and_writes_nothing() {
    let sandbox = lake();
    let plan = sandbox.run(&["train", "lake.toml", "--dry-run", "--quiet", "--json"]).json();
    assert_eq!(
        (&plan["learner"], &plan["updates"], &plan["episodes_per_update"]),
        (&json!("ppo"), &json!(12), &json!(32))
    );
    assert!(plan["parameters"].as_u64().unwrap() > 0 && plan["keys_and_values"].as_u64().unwrap() > 0, "{plan}");
    let text = sandbox.run(&["plan", "lake.toml", "--quiet"]).success();
    assert!(
        text.contains("updates     12 of [ppo], each of 32 episodes\n") && text.contains("memory      at most"),
        "{text}"
    );
    let told = sandbox.run(&["plan", "lake.toml", "--gpus=2", "--tflops=9"]).stderr;
    assert!(told.contains("this needs a run on [text], and this is one of [ppo]"), "{told}");
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 1, "nothing is written");
}

#[test]
fn every_checkpoint_is_evaluated() {
    let sandbox = lake();
    let short = ["--set=train.updates=4", "--set=train.checkpoint_every=2"];
    sandbox.run(&[&["train", "lake.toml", "--quiet"][..], &short].concat()).success();
    let all = sandbox.run(&["evaluate", "runs/lake", "--all", "--quiet", "--json"]).json();
    let names: Vec<&str> =
        all["checkpoints"].as_array().unwrap().iter().map(|it| it["checkpoint"].as_str().unwrap()).collect();
    assert_eq!(names, ["checkpoints/step-00000002", "checkpoints/step-00000004"]);
    assert!(
        names.contains(&all["best"].as_str().unwrap()) && all["checkpoints"][0]["mean_return"].is_number(),
        "{all}"
    );
    let text = sandbox.run(&["evaluate", "runs/lake", "--all", "--quiet"]).success();
    assert!(
        text.contains("checkpoints/step-00000002\nfrozen-lake-4x4-v") && text.contains("highest mean return: "),
        "{text}"
    );
}

#[test]
fn a_definition_that_makes_no_environment_is_named() {
    let sandbox = Sandbox::new().with("bad.toml", "kind = \"frozen-lake\"\noptions = { map = [\"S\"] }\n");
    let outcome = sandbox.run(&["check", "bad.toml"]);
    assert!(outcome.stdout.contains("\nbad.toml: FAILED (0 episodes"), "{}", outcome.stdout);
}

#[test]
fn the_limit_of_a_wrapper_is_the_one_that_is_shown() {
    let lake = "id = \"lake\"\nkind = \"frozen-lake\"\n[options]\nmap = [\"SFFF\", \"FFFG\"]\n[wrappers]\nlimit = 7\n";
    let sandbox = Sandbox::new().with("lake.toml", lake);
    for policy in ["random", "scripted"] {
        let shown = sandbox.run(&["play", "lake.toml", "--policy", policy]).success();
        assert!(shown.starts_with("lake-v1, seed 0, at most 7 turns\n") && !shown.contains("100"), "{shown}");
    }
    assert!(sandbox.run(&["envs", "lake.toml"]).success().contains("at most 7 turns"));
}
