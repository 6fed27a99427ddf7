//! Runs whose reward is people's labels, asked for during training.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use palestra_labels::{Label, Store, Verdict};

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, metrics_lines, write_model};

const RUN: &str = "\
name = \"asked\"
seed = 1
start_from = \"m\"
[env]
id = \"completion\"
options = { prompts = [\"why?\", \"who?\"] }
[[reward]]
kind = \"labels\"
options = { store = \"asked.db\" }
[rollout]
episodes = 4
group = 2
max_new_tokens = 4
[grpo]
batch = 4
[train]
updates = 3
checkpoint_every = 100
threads = 1
[evaluation]
episodes = 1
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().with("asked.toml", RUN);
    write_model(sandbox.path(), "");
    sandbox
}

const TRAIN: [&str; 5] = ["train", "asked.toml", "--quiet", "--out", "asked"];

/// Labels waiting items until `enough` holds or the program has ended. The first answer shown is good, or better.
fn label_until(sandbox: &Sandbox, child: &mut Child, enough: impl Fn(&Path) -> bool) {
    let file = sandbox.path().join("asked.db");
    while child.try_wait().unwrap().is_none() && !enough(&sandbox.path().join("asked")) {
        std::thread::sleep(Duration::from_millis(5));
        // The program may be creating the store at this moment.
        let Ok(mut store) = Store::open(&file) else { continue };
        let ada = store.annotator("ada").unwrap();
        while let Some(task) = store.next(&ada).unwrap() {
            store.submit(&ada, task.item, &Label::of(Verdict::Best { answer: 0 }), 1.0).unwrap();
        }
    }
}

#[test]
fn training_goes_on_when_people_have_answered() {
    let sandbox = sandbox();
    let mut child = sandbox.command(&TRAIN).spawn().unwrap();
    label_until(&sandbox, &mut child, |_| false);
    let outcome = child.wait_with_output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    let lines = metrics_lines(&sandbox.path().join("asked"));
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["rewards/labels_mean"].is_number() && line["rewards/labels_missing"] == 0.0, "{line}");
    }
    let labelled = Store::open(&sandbox.path().join("asked.db")).unwrap().labelled().unwrap();
    assert!(labelled.len() > 3 && labelled.iter().all(|labelled| labelled.annotator == "ada"), "{labelled:?}");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_while_it_waits_has_saved_what_it_learned_and_goes_on() {
    let sandbox = sandbox();
    let mut child = sandbox.command(&TRAIN).spawn().unwrap();
    label_until(&sandbox, &mut child, |run| !metrics_lines(run).is_empty());
    // The second update's answers wait, and nobody labels them.
    std::thread::sleep(Duration::from_millis(300));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let stopped = child.wait_with_output().unwrap();
    let said = String::from_utf8(stopped.stderr).unwrap();
    let done = metrics_lines(&sandbox.path().join("asked")).len();
    assert_eq!((stopped.status.code(), done < 3), (Some(130), true), "{said}");
    assert!(said.contains(&format!("stopped after update {done} of 3; everything is saved.")), "{said}");
    assert!(said.contains("a second Ctrl-C ends at once"), "{said}");
    let saved = checkpoints(&sandbox.path().join("asked"));
    assert!(saved.len() == 1 && saved[0].ends_with(format!("step-{done:08}")), "{saved:?}");

    let mut child = sandbox.command(&[&TRAIN[..], &["--resume"]].concat()).spawn().unwrap();
    label_until(&sandbox, &mut child, |_| false);
    let outcome = child.wait_with_output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(metrics_lines(&sandbox.path().join("asked")).len(), 3);
}

#[test]
fn labels_that_cannot_be_a_reward_are_refused_before_a_run_is_made() {
    let sandbox = sandbox()
        .with("empty.jsonl", "")
        .with("text.db", "no store, but a text that is long enough to be taken for one");
    for (options, expected) in [
        ("{ files = [\"empty.jsonl\"] }", "empty.jsonl: is empty: it should have a row for each preference or prompt"),
        ("{ store = \"text.db\" }", "text.db: is no label store; name one that `palestra label add` made"),
        ("{ store = \"nowhere/a.db\" }", "to make a label store in"),
    ] {
        std::fs::write(sandbox.path().join("bad.toml"), RUN.replace("{ store = \"asked.db\" }", options)).unwrap();
        let refused = sandbox.run(&["train", "bad.toml", "--quiet", "--out", "bad"]);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{options}: {refused:?}");
        assert!(refused.stderr.contains("bad.toml:9:"), "the line is named: {}", refused.stderr);
        assert!(!sandbox.path().join("bad").exists());
    }
}
