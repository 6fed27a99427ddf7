//! Uses of a trained run: it is evaluated and watched.

use crate::command::Sandbox;
use crate::tiny_run::{LAKE, trained};

#[test]
fn a_trained_run_is_evaluated_by_play_and_by_calculation() {
    let sandbox = trained();
    let evaluate =
        |seed: &str| sandbox.run(&["evaluate", "runs/lake", "--episodes", "30", "--seed", seed, "--json"]).json();
    let report = evaluate("1");
    assert_eq!(report["env_id"], "frozen-lake-4x4-v1");
    assert_eq!((&report["policy"], &report["episodes"]), (&"lake".into(), &30.into()));
    let exact = report["exact"]["expected_return"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&exact), "{exact}");
    assert_eq!(report, evaluate("1"), "the seed fixes it");
    let text = sandbox.run(&["evaluate", "runs/lake", "--episodes", "30", "--seed", "1"]).success();
    assert!(text.contains("frozen-lake-4x4-v1: lake has a mean return of "), "{text}");
    assert!(text.contains(&format!("by calculation, the policy's expected return is {exact:.4}")), "{text}");
}

#[test]
fn a_run_is_evaluated_over_values_of_a_key() {
    let sandbox = trained();
    let over = ["evaluate", "runs/lake", "--episodes", "8", "--set=evaluation.greedy=false"];
    let temperatures = ["--over", "rollout.sampling.temperature=1,0.5", "--plot", "heat.svg", "--json"];
    let report = sandbox.run(&[&over[..], &temperatures].concat()).json();
    assert_eq!(report["key"], "rollout.sampling.temperature");
    let values: Vec<f64> = report["points"].as_array().unwrap().iter().map(|p| p["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [0.5, 1.0], "in rising order");
    let alone = sandbox.run(&[&over[..], &["--set=rollout.sampling.temperature=0.5", "--json"]].concat()).json();
    assert_eq!(report["points"][0]["mean_return"], alone["mean_return"]);
    let picture = std::fs::read_to_string(sandbox.path().join("heat.svg")).unwrap();
    assert!(picture.contains("rollout.sampling.temperature") && picture.contains("optimum"), "{picture}");
    Sandbox::new().assert_refused(
        &["evaluate", "runs/lake", "--over", "seed=1,many"],
        "--over seed=1,many: \"many\" is no number; it is KEY=V1,V2,...",
    );
}

#[test]
fn tic_tac_toe_is_evaluated_over_its_whole_tree() {
    let sandbox = Sandbox::new().with(
        "toe.toml",
        &LAKE.replace("frozen-lake-4x4", "tic-tac-toe").replace("view = \"compact\", limit = 30", ""),
    );
    let args = ["train", "toe.toml", "--json", "--quiet", "--out", "toe"];
    let small = ["--set=train.updates=1", "--set=model.context=96", "--set=rollout.episodes=8"];
    let report = sandbox.run(&[&args[..], &small].concat()).json();
    let exact = &report["evaluation"]["exact"];
    let number = |name: &str| exact[name].as_f64().unwrap();
    assert!((number("win") + number("draw") + number("loss") - 1.0).abs() < 1e-9, "{exact}");
    let again = sandbox.run(&["evaluate", "toe", "--episodes", "1", "--json"]).json();
    assert_eq!(&again["exact"], exact, "the saved model is the trained one");
}

#[test]
fn a_trained_run_is_watched() {
    let sandbox = trained();
    let args = ["play", "frozen-lake-4x4", "--policy", "runs/lake"];
    let seen = sandbox.run(&args).success();
    assert!(seen.starts_with("frozen-lake-4x4-v1, game 1, at most 30 turns\n\n"), "{seen}");
    assert!(seen.contains("\n> ") && seen.contains(" turns, return "), "{seen}");
    let played = sandbox.run(&[&args[..], &["--episodes", "2", "--json"]].concat()).json();
    assert_eq!((&played["policy"], played["episodes"].as_array().unwrap().len()), (&"runs/lake".into(), 2));
    let other = sandbox.run(&["play", "cliff-walking", "--policy", "runs/lake"]);
    assert_eq!(
        (other.code, other.stderr.as_str()),
        (Some(1), "error: --policy runs/lake: it was trained to play frozen-lake-4x4-v1, not cliff-walking\n")
    );
}

#[test]
fn a_policy_that_may_write_anything_is_evaluated_by_play_alone() {
    let sandbox = Sandbox::new().with("lake.toml", LAKE);
    let free = ["--set=rollout.legal_actions_only=false", "--set=rollout.max_new_tokens=2", "--set=train.updates=1"];
    let report = sandbox.run(&[&["train", "lake.toml", "--json", "--quiet"][..], &free].concat()).json();
    assert!(report["evaluation"].get("exact").is_none(), "{report}");
    let again = [&["train", "lake.toml", "--quiet"][..], &free].concat();
    let told = sandbox.run(&again).stderr;
    assert!(told.contains("runs/lake holds a run already") && told.contains("--again for the next free one"), "{told}");
    sandbox.run(&[&again[..], &["--again"]].concat()).success();
    assert!(sandbox.path().join("runs/lake-2/run.toml").is_file());
}

#[test]
fn the_best_update_is_kept_and_used() {
    let sandbox = Sandbox::new().with("lake.toml", LAKE);
    let sets = ["train.keep_best=evaluation/return_mean", "train.evaluate_every=1", "train.updates=4"];
    let sets: Vec<String> = sets
        .iter()
        .chain(&["train.keep_checkpoints=4", "train.checkpoint_every=1"])
        .map(|set| format!("--set={set}"))
        .collect();
    let train: Vec<&str> =
        ["train", "lake.toml", "--quiet"].into_iter().chain(sets.iter().map(String::as_str)).collect();
    sandbox.run(&train).success();
    let run = sandbox.path().join("runs/lake");
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let values: Vec<f64> = values.map(|line| line["evaluation/return_mean"].as_f64().unwrap()).collect();
    let best = values.iter().fold(f64::NEG_INFINITY, |best, &value| best.max(value));
    let step = 1 + values.iter().position(|&value| value == best).unwrap();
    assert!(run.join(format!("best/step-{step:08}/model.safetensors")).is_file(), "{values:?}");
    let mean =
        |path: &str| sandbox.run(&["evaluate", path, "--seed", "0", "--json"]).json()["mean_return"].as_f64().unwrap();
    // The same policy plays the same games, whichever way it is named.
    let named = format!("runs/lake/checkpoints/step-{step:08}");
    assert_eq!(mean("runs/lake"), mean(&named));
    let told = sandbox.run(&["evaluate", "runs/lake/checkpoints/step-00000099"]).stderr;
    assert!(told.contains("is no directory"), "{told}");
}
