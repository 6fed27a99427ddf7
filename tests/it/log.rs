//! Logs of experience: recorded from any policy, checked, summarised, shown, imported, and learned from.

use std::path::{Path, PathBuf};
use std::process::Command;

use palestra_datasets::Episode;
use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
use serde_json::json;

use crate::command::Sandbox;
use crate::tiny_run::{LAKE, checkpoints, lake, metrics_lines, trained, wait_for_updates};

/// Definition of the environment of `tiny_run`.
const POND: &str = "id = \"pond\"\nkind = \"frozen-lake\"\noptions = { view = \"compact\", limit = 30 }\n";

/// Sandbox with `pond.toml`, and a log of random play in it.
fn recorded() -> Sandbox {
    let sandbox = Sandbox::new().with("pond.toml", POND);
    sandbox
        .run(&["rollout", "pond.toml", "--policy", "random", "--episodes", "60", "--out", "logs/random.parquet"])
        .success();
    sandbox
}

/// All episodes of a log.
fn episodes(path: &Path) -> Vec<Episode> {
    let log = Log::open(&[path.display().to_string()], ReadOptions::default()).unwrap();
    log.episodes().map(|located| located.unwrap().episode).collect()
}

/// All episodes of a recorded log, without timestamps.
fn untimed(path: &Path) -> Vec<Episode> {
    let mut episodes = episodes(path);
    for turn in episodes.iter_mut().flat_map(|episode| &mut episode.turns) {
        assert!(turn.timestamp.take().is_some_and(|time| time > 1_600_000_000_000_000), "no time");
    }
    episodes
}

/// Rewrites a log in row groups of few rows. Returns the number of row groups.
fn in_small_groups(from: &Path, to: &Path) -> usize {
    let options = WriteOptions { row_group_rows: 100, ..WriteOptions::default() };
    let mut writer = LogWriter::create(to, options).unwrap();
    episodes(from).iter().for_each(|episode| writer.write(episode).unwrap());
    writer.finish().unwrap();
    Log::open(&[to.display().to_string()], ReadOptions::default()).unwrap().groups().len()
}

#[test]
fn a_log_is_recorded_checked_summed_up_shown_and_learned_from() {
    let sandbox = Sandbox::new().with("pond.toml", POND);
    let record = |policy: &[&str], out: &str| {
        let args = ["rollout", "pond.toml", "--episodes", "50", "--split", "train", "--json", "--out", out, "--policy"];
        sandbox.run(&[&args[..], policy].concat()).json()
    };
    let random = record(&["random"], "logs/random.parquet");
    let mixed = record(&["scripted", "--epsilon", "0.5", "--seed", "1"], "logs/mixed.parquet");
    assert_eq!((&random["episodes"], &mixed["policy_id"]), (&json!(50), &json!("scripted+0.5 random")));
    assert!(mixed["mean_return"].as_f64() > random["mean_return"].as_f64(), "{mixed}, {random}");
    let rows = random["rows"].as_u64().unwrap() + mixed["rows"].as_u64().unwrap();

    let checked = sandbox.run(&["log", "check", "logs", "--replay", "--json"]).json();
    assert_eq!((&checked["findings"], &checked["rows"]), (&json!([]), &json!(rows)));
    assert_eq!(checked["replayed"], json!({"right": 100, "wrong": 0, "unknown": 0}));
    let text = sandbox.run(&["log", "check", "logs"]).success();
    assert!(text.contains("replay (rule 6): not checked") && text.ends_with("\nno rule is broken\n"), "{text}");

    let stats = sandbox.run(&["log", "stats", "logs", "--json", "--histogram", "pictures/pond.svg"]).json();
    assert_eq!((&stats["rows"], &stats["files"], &stats["skipped"]), (&json!(rows), &json!(2), &json!(0)));
    assert_eq!(stats["splits"]["top"], json!([{"name": "train", "count": 100}]));
    let mean = (random["mean_return"].as_f64().unwrap() + mixed["mean_return"].as_f64().unwrap()) / 2.0;
    assert!((stats["returns"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{stats}");
    let picture = std::fs::read_to_string(sandbox.path().join("pictures/pond.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("Return: mean ") && picture.contains("Turns of an "));
    let text = sandbox.run(&["log", "stats", "logs"]).success();
    assert!(text.contains("\nReturns ") && text.contains(" | ####") && text.contains("scripted+0.5 random"), "{text}");

    let best = sandbox.run(&["log", "show", "logs", "--best", "3", "--json"]).json();
    let returns = best["episodes"].as_array().unwrap().iter().map(|shown| shown["return"].as_f64().unwrap());
    assert_eq!(returns.collect::<Vec<_>>(), [1.0, 1.0, 1.0]);
    let id = best["episodes"][1]["episode"]["id"].as_str().unwrap();
    let number = best["episodes"][1]["number"].to_string();
    let shown = sandbox.run(&["log", "show", "logs", "--episode", id]).success();
    assert_eq!(shown, sandbox.run(&["log", "show", "logs", "--number", &number]).success());
    assert!(shown.starts_with(&format!("episode {id}\nnumber {number}, logs/")), "{shown}");
    assert!(shown.contains("return 1, terminated (goal)\n\nstep 0\n  "), "{shown}");
    assert!(shown.contains("  (probability 0.") && shown.contains("\n  reward 1\n\nend\n  "), "{shown}");

    let sandbox = sandbox.with("learn.toml", &learns_from("logs"));
    let report = sandbox.run(&["train", "learn.toml", "--quiet", "--json"]).json();
    assert_eq!((&report["log"]["episodes"], &report["updates"]), (&json!(100), &json!(2)));
}

/// A run that learns from a log by behaviour cloning.
fn learns_from(files: &str) -> String {
    LAKE.replace(
        "[rollout]\nepisodes = 32\nenvironments = 8\n",
        &format!("[data]\nfiles = [\"{files}\"]\nsplit = \"train\"\nsteps = 5\n"),
    )
    .replace(
        "[env]\nid = \"frozen-lake-4x4\"\noptions = { view = \"compact\", limit = 30 }\n",
        "[env]\nfile = \"pond.toml\"\n",
    )
    .split("[ppo]")
    .next()
    .unwrap()
    .to_string()
        + "[bc]\n[train]\nupdates = 2\nthreads = 1\n[evaluation]\nepisodes = 4\n"
}

#[test]
fn a_trained_policy_is_recorded_with_its_tokens() {
    let sandbox = trained();
    let record = |how: &[&str], out: &str| {
        let args = ["rollout", "frozen-lake-4x4", "--policy", "runs/lake", "--episodes", "30", "--out", out, "--json"];
        let report = sandbox.run(&[&args[..], how].concat()).json();
        (report, untimed(&sandbox.path().join(out)))
    };
    let (report, sampled) = record(&[], "logs/sampled.parquet");
    assert_eq!((&report["policy_id"], &report["policy_step"]), (&json!("lake"), &json!(2)));
    assert_eq!((report["episodes"].as_u64(), sampled.len()), (Some(30), 30));
    for episode in &sampled {
        assert_eq!((episode.temperature, episode.reward_source.as_deref()), (Some(1.0), Some("rules")));
        assert!(episode.end_reason.is_some() && episode.env_spec.as_ref().unwrap().contains("\"view\":\"compact\""));
        assert!(episode.turns.iter().all(|turn| turn.action_ids.is_some()));
        assert!(episode.turns.last().unwrap().info.as_ref().is_some_and(|info| info.contains("outcome")));
    }
    let (_, again) = record(&["--temperature", "1"], "again/sampled.parquet");
    assert!(sampled == again, "the seed fixes it");

    let (report, greedy) = record(&["--greedy"], "logs/greedy.parquet");
    assert_eq!(report["policy_id"], "lake greedy");
    let certain = |turn: &palestra_datasets::Turn| turn.log_probs.iter().flatten().all(|log_prob| *log_prob == 0.0);
    assert!(greedy.iter().flat_map(|episode| &episode.turns).all(certain));

    let (report, mixed) = record(&["--epsilon", "0.5", "--seed", "4"], "logs/mixed.parquet");
    assert_eq!(report["policy_id"], "lake+0.5 random");
    for turn in mixed.iter().flat_map(|episode| &episode.turns) {
        let [log_prob] = turn.log_probs.as_deref().unwrap() else { panic!("one for the whole action") };
        assert!(turn.action_ids.is_none() && *log_prob >= 0.125f32.ln() && *log_prob <= 0.0, "{log_prob}");
    }

    let args = ["log", "check", "logs", "--replay", "--tokenizer", "runs/lake", "--json"];
    let checked = sandbox.run(&args).json();
    assert_eq!((&checked["findings"], &checked["replayed"]["right"]), (&json!([]), &json!(90)));
    assert_eq!(checked["decoded"], json!({"right": 60, "wrong": 0, "unknown": 30}));
}

#[test]
fn what_a_log_says_otherwise_than_it_was_is_found() {
    let sandbox = trained();
    sandbox
        .run(&["rollout", "frozen-lake-4x4", "--policy", "runs/lake", "--episodes", "3", "--out", "true.parquet"])
        .success();
    let mut told = episodes(&sandbox.path().join("true.parquet"));
    told[0].turns[1].action_ids = Some(told[0].turns[1].action_ids.iter().flatten().rev().copied().collect());
    let ids = told[0].turns[1].action_ids.as_mut().unwrap();
    ids[0] = if ids[0] == 4 { 5 } else { 4 };
    told[1].turns[0].reward = 5.0;
    let seedless = Episode { id: "seedless".into(), seed: None, ..told[2].clone() };
    told.push(seedless);
    told[2].end = Some(palestra_datasets::End::Truncated);
    let mut writer = LogWriter::create(&sandbox.path().join("told.parquet"), WriteOptions::default()).unwrap();
    told.iter().for_each(|episode| writer.write(episode).unwrap());
    writer.finish().unwrap();
    let checked = sandbox.run(&["log", "check", "told.parquet", "--replay", "--tokenizer", "runs/lake"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    let row = told[0].turns.len();
    for line in [
        format!(
            "error: told.parquet: row 1 (row group 0), column action, rule 5 (text and ids): {:?} is logged, and ",
            told[0].turns[1].action
        ),
        format!(
            "error: told.parquet: row {row} (row group 0), column reward, rule 6 (replay): 5.0 is logged, and 0.0 would be right\n"
        ),
        "column end, rule 6 (replay): truncated is logged, and terminated would be right\n".to_string(),
        "\n1 episodes cannot be played again: it has no seed\n".to_string(),
    ] {
        assert!(checked.stdout.contains(&line), "{line:?} is missing in {}", checked.stdout);
    }
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let sandbox = Sandbox::new().with("here.parquet", "");
    let refused = |args: &[&str], message: &str| {
        let start = ["rollout", "frozen-lake-4x4", "--episodes", "3"];
        sandbox.assert_refused(&[&start[..], args].concat(), message);
    };
    refused(
        &["--policy", "random", "--out", "here.parquet"],
        "here.parquet: there is a file already; name another, or replace it with --overwrite",
    );
    refused(
        &["--policy", "random", "--out", "log.pq"],
        "--out log.pq: a log's name ends in .parquet, by which it is found in its folder",
    );
    let to = ["--out", "log.parquet", "--policy"];
    refused(
        &[&to[..], &["nobody"]].concat(),
        "--policy nobody: no such policy; it is random, scripted or a run's directory",
    );
    refused(
        &[&to[..], &["random", "--greedy"]].concat(),
        "--greedy: random is no model; give the directory of a run to --policy",
    );
    refused(&[&to[..], &["random", "--epsilon", "0.5"]].concat(), "--epsilon: random play is random already");
    for wrong in [["--epsilon", "1.5"], ["--temperature", "0"], ["--episodes", "0"]] {
        let args = ["rollout", "wordle", "--out", "log.parquet", "--policy", "random", "--episodes", "1"];
        assert_eq!(sandbox.run(&[&args[..], &wrong].concat()).code, Some(2), "{wrong:?}");
    }
    let sandbox = trained();
    let other =
        sandbox.run(&["rollout", "cliff-walking", "--policy", "runs/lake", "--episodes", "1", "--out", "x.parquet"]);
    assert_eq!(
        (other.code, other.stderr.as_str()),
        (Some(1), "error: --policy runs/lake: it was trained to play frozen-lake-4x4-v1, not cliff-walking\n")
    );
}

#[test]
fn a_log_that_was_cut_opens_and_is_repaired() {
    let sandbox = recorded();
    let [whole, cut] = ["logs/random.parquet", "cut.parquet"].map(|name| sandbox.path().join(name));
    let groups = in_small_groups(&whole, &cut);
    assert!(groups > 3, "{groups} row groups");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();

    let stats = sandbox.run(&["log", "stats", "cut.parquet", "--json"]).json();
    let left = stats["episodes"].as_u64().unwrap();
    assert!(0 < left && left < 60 && stats["cut_files"] == 1, "{left} of 60 episodes are left");
    let checked = sandbox.run(&["log", "check", "cut.parquet"]).success();
    assert!(checked.starts_with("warning: cut.parquet: has no end, as its writer was killed"), "{checked}");
    let ours = episodes(&cut);
    assert!(ours == episodes(&whole)[..left as usize], "what is left is as it was");

    let sandbox = sandbox.with("learn.toml", &learns_from("cut.parquet").replace("split = \"train\"\n", ""));
    let told = sandbox.run(&["train", "learn.toml"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let warning = format!("learns from its {} whole rows, and any others are lost", stats["rows"]);
    assert!(
        told.stderr.contains("cut.parquet: has no end, as its writer was killed; the run")
            && told.stderr.contains(&warning),
        "{}",
        told.stderr
    );

    let repaired = sandbox.run(&["log", "repair", "cut.parquet", "--json"]).json();
    assert_eq!(repaired["rows"], stats["rows"]);
    assert!(repaired["bytes_dropped"].as_u64() > Some(0), "{repaired}");
    let again = sandbox.run(&["log", "repair", "cut.parquet"]).success();
    assert_eq!(again, "cut.parquet: has an end; nothing was changed\n");
    assert_eq!(sandbox.run(&["log", "stats", "cut.parquet", "--json"]).json()["cut_files"], 0);
    assert!(episodes(&cut) == ours);
}

#[test]
fn a_damaged_log_is_refused_with_its_place_or_passed_over() {
    let sandbox = recorded();
    let damaged = sandbox.path().join("logs/damaged.parquet");
    let groups = in_small_groups(&sandbox.path().join("logs/random.parquet"), &damaged);
    std::fs::remove_file(sandbox.path().join("logs/random.parquet")).unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::write(sandbox.path().join("logs/text.parquet"), "This is no Parquet file at all.").unwrap();

    let file = "logs/damaged.parquet";
    let told = sandbox.run(&["log", "stats", file]).stderr;
    let (place, column) = told.strip_prefix("error: ").and_then(|told| told.split_once(": column ")).unwrap();
    let (column, _) = column.split_once(" is damaged: its checksum is ").unwrap();
    let row_group = place.strip_prefix(&format!("{file}: row group ")).unwrap();
    assert!((1..groups).contains(&row_group.parse().unwrap()), "{row_group} of {groups}");
    let reason = format!("{file}: row group {row_group}: column {column} is damaged: its checksum is ");
    for args in [&["log", "stats", file][..], &["log", "show", file, "--best", "1"]] {
        let refused = sandbox.run(args);
        assert!(refused.stderr.starts_with(&format!("error: {reason}")), "{}", refused.stderr);
        assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.lines().count()), (Some(1), "", 1));
    }
    let no_parquet = "error: logs/text.parquet: is no Parquet file";
    let refused = sandbox.run(&["log", "stats", "logs/text.parquet"]).stderr;
    assert!(refused.starts_with(no_parquet), "{refused}");

    let passed = sandbox.run(&["log", "stats", "logs", "--skip-bad", "--json"]);
    assert_eq!(passed.code, Some(0), "{}", passed.stderr);
    let stats: serde_json::Value = serde_json::from_str(&passed.stdout).unwrap();
    assert_eq!((&stats["skipped"], &stats["row_groups"]), (&json!(2), &json!(groups)));
    let left = stats["episodes"].as_u64().unwrap();
    assert!(0 < left && left < 60, "{left}");
    assert!(passed.stderr.contains("passed over: 1 files, 1 row groups, 0 episodes"), "{}", passed.stderr);
    assert!(passed.stderr.contains(&reason) && passed.stderr.contains("is no Parquet file"), "{}", passed.stderr);

    let checked = sandbox.run(&["log", "check", "logs"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains(no_parquet), "{}", checked.stdout);
    let found =
        format!("error: {file}: row group {row_group}, cannot be read: column {column} is damaged: its checksum is ");
    assert!(checked.stdout.contains(&found), "{}", checked.stdout);

    let import = ["log", "import", file, "--out", "rest.parquet"];
    assert!(sandbox.run(&import).stderr.starts_with(&format!("error: {reason}")));
    let imported = sandbox.run(&[&import[..], &["--skip-bad"]].concat());
    assert!(imported.stdout.starts_with("rest.parquet: "), "{}{}", imported.stdout, imported.stderr);
    assert_eq!(episodes(&sandbox.path().join("rest.parquet")).len() as u64, left);
}

#[test]
fn json_lines_are_imported() {
    let lines = concat!(
        "{\"episode_id\": \"a\", \"state\": \"S.\", \"action\": \"right\", \"reward\": 0, \"done\": false}\n",
        "{\"episode_id\": \"a\", \"state\": \".S\", \"action\": \"down\", \"reward\": 1, \"done\": true}\n",
        "{\"episode_id\": \"b\", \"state\": \"S.\", \"action\": \"down\", \"reward\": -1, \"done\": true}\n",
    );
    let sandbox = Sandbox::new().with("played.jsonl", lines).with("played.txt", lines);
    let import = ["log", "import", "played.jsonl", "--env-id", "pond-v1", "--policy-id", "me"];
    let report = sandbox.run(&[&import[..], &["--out", "logs/a.parquet", "--json"]].concat()).json();
    assert_eq!((&report["episodes"], &report["rows"], &report["terminated"]), (&json!(2), &json!(3), &json!(2)));
    let shown = sandbox.run(&["log", "show", "logs", "--worst", "1"]).success();
    assert_eq!(
        shown,
        "episode b\nnumber 1, logs/a.parquet row 2 (row group 0)\npond-v1, played by me\n1 turns, return -1, \
         terminated\n\nstep 0\n  S.\n> down\n  reward -1\n"
    );
    assert_eq!(
        sandbox.run(&["log", "show", "logs", "--episode", "c"]).stderr,
        "error: --episode c: no episode of the log has this id; `palestra log stats` tells what is there\n"
    );
    let refused = |args: &[&str], message: &str| {
        let outcome = sandbox.run(&[&["log", "import"][..], args].concat());
        assert_eq!((outcome.code, outcome.stderr), (Some(1), format!("error: {message}\n")));
    };
    refused(
        &["played.txt", "--out", "b.parquet"],
        "played.txt: its name does not tell what it is; add --format jsonl, preferences, minari or parquet",
    );
    refused(
        &["played.jsonl", "--out", "b.parquet", "--skip-bad"],
        "--skip-bad: only what is damaged in Parquet files can be passed over; mend the line, or remove it",
    );
    refused(
        &["played.jsonl", "--out", "logs/a.parquet"],
        "logs/a.parquet: there is a file already; name another, or replace it with --overwrite",
    );
    sandbox.run(&["log", "import", "played.txt", "--format", "jsonl", "--out", "b.parquet"]).success();

    let wrong = lines.replace("\"reward\": 1,", "\"reward\": \"much\",");
    let sandbox = Sandbox::new().with("played.jsonl", &wrong);
    let outcome = sandbox.run(&["log", "import", "played.jsonl", "--out", "b.parquet"]);
    assert!(outcome.stderr.starts_with("error: played.jsonl: line 2, reward: "), "{}", outcome.stderr);
    assert!(!sandbox.path().join("b.parquet").exists(), "nothing is left of it");
}

#[test]
fn minari_datasets_are_imported() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/tests/minari/lake/parquet-v0");
    let sandbox = Sandbox::new();
    let report = sandbox.run(&["log", "import", folder, "--out", "lake.parquet", "--json"]).json();
    assert!(report["episodes"].as_u64() > Some(0), "{report}");
    sandbox.run(&["log", "check", "lake.parquet"]).success();
}

/// Files of a run's experience, complete or not.
fn kept(run_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run_dir.join("experience")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_keeps_its_play_once_however_often_it_is_killed() {
    let sandbox = lake();
    let train = |out: &'static str| vec!["train", "lake.toml", "--quiet", "--set", "rollout.record=true", "--out", out];
    sandbox.run(&train("whole")).success();
    let spans = [(0, 2), (3, 5), (6, 8), (9, 11)].map(|(a, b)| format!("updates-{a:06}-{b:06}.parquet"));
    let whole: Vec<Episode> = {
        assert_eq!(kept(&sandbox.path().join("whole")), spans);
        untimed(&sandbox.path().join("whole/experience"))
    };
    assert_eq!(whole.len(), 12 * 32);
    for (at, episode) in whole.iter().enumerate() {
        assert_eq!((episode.policy_step, episode.policy_id.as_str()), (at as u64 / 32, "lake"));
    }

    let run_dir = sandbox.path().join("killed");
    let mut resume: &[&str] = &[];
    for updates in [2, 5, 10] {
        let mut child = sandbox.command(&[&train("killed")[..], resume].concat()).spawn().unwrap();
        wait_for_updates(&mut child, &run_dir, updates);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it was over before it was killed");
        resume = &["--resume"];
    }
    assert!(kept(&run_dir).len() < 5 || kept(&run_dir).contains(&".recording".to_string()));
    sandbox.run(&[&train("killed")[..], resume].concat()).success();
    assert_eq!(kept(&run_dir), spans, "and nothing half written");
    assert!(untimed(&run_dir.join("experience")) == whole, "the same episodes, each once");

    let args = ["log", "check", "killed/experience", "--replay", "--tokenizer", "killed", "--json"];
    let checked = sandbox.run(&args).json();
    assert_eq!((&checked["findings"], &checked["replayed"]["right"]), (&json!([]), &json!(384)));
    assert_eq!(checked["decoded"]["right"], json!(384));

    // Removes the last checkpoint: the updates after the one before it are played and recorded again.
    let last = checkpoints(&run_dir).pop().unwrap();
    std::fs::remove_dir_all(last).unwrap();
    sandbox.run(&[&train("killed")[..], resume].concat()).success();
    assert_eq!((kept(&run_dir), metrics_lines(&run_dir).len()), (spans.to_vec(), 12));
    assert!(untimed(&run_dir.join("experience")) == whole);
}

#[test]
fn only_play_is_kept() {
    let learn = "name = \"x\"\n[rollout]\nrecord = true\n[data]\nfiles = [\"logs\"]\n[bc]\n";
    let sandbox = Sandbox::new().with("x.toml", learn);
    sandbox.assert_refused(&["train", "x.toml"], "x.toml: rollout.record: [bc] plays nothing to learn from; remove it");
}

/// Ctrl-C ends a recording in order: the episodes so far are complete.
#[test]
fn a_recording_that_is_interrupted_is_whole() {
    let sandbox = Sandbox::new();
    let args = ["rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "1000000000", "--out", "log.parquet"];
    let mut child = sandbox.command(&args).spawn().unwrap();
    let path: PathBuf = sandbox.path().join("log.parquet");
    let partial = sandbox.path().join("log.parquet.partial");
    while !partial.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0), "{told}");
    assert!(told.contains("stopped; log.parquet holds the ") && told.contains(" episodes that had ended\n"), "{told}");
    let log = Log::open(&[path.display().to_string()], ReadOptions::default()).unwrap();
    assert!(!log.info(0).is_cut);
}

/// A recording that is killed in the middle loses the episodes since the last flush alone, and goes on.
#[test]
fn a_recording_that_is_killed_goes_on() {
    let sandbox = Sandbox::new().with("pond.toml", POND);
    let args = ["rollout", "pond.toml", "--policy", "random", "--quiet", "--flush-every", "0"];
    let whole = [&args[..], &["--episodes", "40", "--out", "whole.parquet"]].concat();
    sandbox.run(&whole).success();
    let endless = [&args[..], &["--episodes", "1000000000", "--out", "log.parquet"]].concat();
    let mut child = sandbox.command(&endless).spawn().unwrap();
    let partial = sandbox.path().join("log.parquet.partial");
    while std::fs::metadata(&partial).map_or(0, |file| file.len()) < 100_000 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = Log::open(&[partial.display().to_string()], ReadOptions::default()).unwrap().episodes().count();
    assert!(kept > 2, "{kept} episodes");
    let again = |episodes: usize, more: &[&str]| {
        let episodes = episodes.to_string();
        let named = ["--episodes", episodes.as_str(), "--out", "log.parquet", "--json"];
        sandbox.run(&[&args[..], &named, more].concat())
    };
    again(9, &[]).assert_json_error("log.parquet.partial: a recording that was killed left it; go on with --resume");
    again(kept + 9, &["--resume", "--seed", "1"]).assert_json_error("log.parquet.partial: its episodes are those of");
    let count = kept.max(40) + 1;
    let report = again(count, &["--resume"]).json();
    assert_eq!((report["episodes"].as_u64(), partial.exists()), (Some(count as u64), false), "{report}");
    let checked = sandbox.run(&["log", "check", "log.parquet", "--replay", "--json"]).json();
    assert_eq!((&checked["findings"], &checked["replayed"]["right"]), (&json!([]), &json!(count)));
    let whole = untimed(&sandbox.path().join("whole.parquet"));
    assert_eq!(untimed(&sandbox.path().join("log.parquet"))[..40], whole);
}
