//! From a file of answers to a file of preferences, on the command line.

use std::io::{BufRead, BufReader};

use palestra_datasets::preferences::{Judgement, read};
use serde_json::Value;

use crate::command::Desk;

const ANSWERS: &str = r#"{"prompt": "Sky?", "completions": ["blue", "red"], "policies": ["new", "old"]}
{"prompt": "Grass?", "completions": ["green", "red"], "policies": ["new", "old"]}
"#;

#[test]
fn from_answers_to_preferences() {
    let desk = Desk::new().with("answers.jsonl", ANSWERS);
    let added = desk.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    assert_eq!(added, "sky.db: 2 items added, 0 were there before\n");
    let judged = desk.type_in(&["label", "sky.db", "--name", "ada"], "a\nb shorter\n").success();
    assert!(judged.contains("Sky?") && judged.ends_with("kept 2 labels of ada in sky.db; 0 left\n"), "{judged}");
    let stats = desk.run(&["label", "stats", "sky.db", "--json"]).json();
    assert_eq!((&stats["items"], &stats["finished"], &stats["labels"]), (&2.into(), &2.into(), &2.into()));
    assert!(desk.run(&["label", "stats", "sky.db"]).success().contains("person    ada: 2 labels, 0 skipped"));
    let exported = desk.run(&["label", "export", "sky.db", "judged.parquet"]).success();
    assert_eq!(exported, "judged.parquet: 2 rows\n");
    for record in read(&desk.path().join("judged.parquet")).unwrap() {
        let record = record.unwrap();
        assert!(matches!(record.judgement, Judgement::Better { .. }), "{record:?}");
        assert_eq!(record.annotator.as_deref(), Some("ada"));
    }
}

#[test]
fn the_page_says_where_it_is_before_it_is_served() {
    let desk = Desk::new().with("answers.jsonl", ANSWERS);
    desk.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    let args = ["label", "serve", "sky.db", "--address", "127.0.0.1:0", "--invite", "ben", "--json"];
    let mut child = desk.command(&args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let serving: Value = serde_json::from_str(&line).unwrap();
    let address = serving["address"].as_str().unwrap();
    let link = serving["links"][0]["link"].as_str().unwrap();
    assert!(serving["is_open_here"] == true && address.starts_with("http://127.0.0.1:"), "{serving}");
    assert!(link.starts_with(&format!("{address}#")) && link.len() == address.len() + 33, "{serving}");
}

#[test]
fn what_is_no_store_and_what_cannot_be_judged_is_named_and_makes_nothing() {
    let missing = "no.db: there is no such label store; `palestra label add` makes one";
    for args in [&["label", "no.db"][..], &["label", "stats", "no.db"], &["label", "serve", "no.db"]] {
        Desk::new().assert_refused(args, missing);
    }
    let bad = format!("{ANSWERS}{{\"prompt\": \"Sea?\", \"completions\": [\"blue\", \"blue\"]}}\n");
    Desk::new().with("bad.jsonl", &bad).assert_refused(
        &["label", "add", "sky.db", "bad.jsonl"],
        "bad.jsonl: line 3, completions: answer 1 is there twice; the answers should differ",
    );
    Desk::new().with("empty.jsonl", "").assert_refused(
        &["label", "add", "sky.db", "empty.jsonl"],
        "empty.jsonl: is empty: it should have a row for each judgement or prompt",
    );
}
