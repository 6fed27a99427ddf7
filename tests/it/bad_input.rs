//! Each mistake a person can make is answered with one line that names it, exit code 1, and nothing written.

use crate::command::Desk;

const HEAD: &str = "name = \"lake\"\n\n[env]\nid = \"frozen-lake-4x4\"\n\n";

#[track_caller]
fn assert_run_refused(text: &str, message: &str) {
    Desk::new().with("lake.toml", text).assert_refused(&["train", "lake.toml"], message);
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
    let desk = Desk::new().with("lake.toml", "name = \"lake\nseed = 1\n");
    let outcome = desk.run(&["train", "lake.toml"]);
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
    Desk::new().assert_refused(&["train", "no.toml"], "no.toml: No such file or directory (os error 2)");
    Desk::new().assert_refused(&["evaluate", "no"], "no/run.toml: No such file or directory (os error 2)");
    Desk::new().assert_refused(&["check", "no.toml"], "no.toml: No such file or directory (os error 2)");
}

#[test]
fn an_unknown_environment_is_answered_with_the_nearest() {
    let nearest = "no environment `frozn-lake-4x4`; did you mean `frozen-lake-4x4`, `frozen-lake-8x8`?";
    for command in ["envs", "check", "play"] {
        Desk::new().assert_refused(&[command, "frozn-lake-4x4"], nearest);
    }
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
    let message = "device \"tpu\" is unknown; it is one of flex, libtorch, libtorch-cuda, libtorch-cuda:<index>";
    let desk = Desk::new().with("lake.toml", HEAD);
    desk.assert_refused(&["train", "lake.toml", "--device", "tpu"], message);
    desk.assert_refused(&["train", "lake.toml", "--set", "device=tpu"], message);
}

#[test]
fn a_wrong_override_is_told_as_it_was_written() {
    let desk = Desk::new().with("lake.toml", HEAD);
    let refused = |assignment: &str, message: &str| {
        desk.assert_refused(&["train", "lake.toml", "--set", assignment], message);
    };
    refused("ppo.epochs", "--set ppo.epochs: write key=value, such as ppo.epochs=2");
    refused(
        "train.update=3",
        "--set train.update=3: unknown key `update` in [train]; did you mean `updates`? known keys: updates, \
         checkpoint_every, keep_checkpoints, evaluate_every, threads",
    );
    refused(
        "ppo.epochs=two",
        "--set ppo.epochs=two: ppo.epochs: found string \"two\", expected a whole number, 0 or more",
    );
    refused("rollout.episodes=0", "lake.toml --set rollout.episodes=0: rollout.episodes: 0 is not at least 1");
}

#[test]
fn an_unknown_player_is_answered_with_the_known() {
    Desk::new().assert_refused(
        &["play", "frozen-lake-4x4", "--policy", "nobody"],
        "--policy nobody: no such player; it is human, random, scripted or a run's directory",
    );
    Desk::new().assert_refused(
        &["play", "frozen-lake-4x4", "--json"],
        "--json: a person plays in the terminal; choose another player with --policy",
    );
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [&["tarin"][..], &["play"], &["play", "frozen-lake-4x4", "--episodes", "0"], &["check", "x", "--jsno"]]
    {
        let outcome = Desk::new().run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    }
}
