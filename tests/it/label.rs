//! From a file of answers to a file of preferences, on the command line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use palestra_datasets::preferences::{Preference, read};
use serde_json::Value;

use crate::command::Sandbox;
use crate::tiny_run::write_model;

const ANSWERS: &str = r#"{"prompt": "Sky?", "completions": ["blue", "red"], "policies": ["new", "old"]}
{"prompt": "Grass?", "completions": ["green", "red"], "policies": ["new", "old"]}
"#;

#[test]
fn from_answers_to_preferences() {
    let sandbox = Sandbox::new().with("answers.jsonl", ANSWERS);
    let added = sandbox.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    assert_eq!(added, "sky.db: 2 items added, 0 were there before\n");
    let labelled = sandbox.type_in(&["label", "sky.db", "--name", "ada"], "a\nb shorter\n").success();
    assert!(labelled.contains("Sky?") && labelled.ends_with("kept 2 labels of ada in sky.db; 0 left\n"), "{labelled}");
    let stats = sandbox.run(&["label", "stats", "sky.db", "--json"]).json();
    assert_eq!((&stats["items"], &stats["finished"], &stats["labels"]), (&2.into(), &2.into(), &2.into()));
    assert!(sandbox.run(&["label", "stats", "sky.db"]).success().contains("person    ada: 2 labels, 0 skipped"));
    let exported = sandbox.run(&["label", "export", "sky.db", "preferences.parquet"]).success();
    assert_eq!(exported, "preferences.parquet: 2 rows\n");
    for record in read(&sandbox.path().join("preferences.parquet")).unwrap() {
        let record = record.unwrap();
        assert!(matches!(record.preference, Preference::Better { .. }), "{record:?}");
        assert_eq!(record.annotator.as_deref(), Some("annotator-1"));
    }
    sandbox.run(&["label", "export", "sky.db", "named.csv", "--names"]).success();
    let named = std::fs::read_to_string(sandbox.path().join("named.csv")).unwrap();
    assert!(named.starts_with("prompt,chosen,rejected,annotator,item,"), "{named}");
    assert!(named.contains("Sky?,") && named.contains(",ada,1,"), "{named}");
    let tasks = ["label", "export", "sky.db", "tasks.json", "--form", "label-studio", "--config", "labeling.xml"];
    assert_eq!(sandbox.run(&tasks).success(), "tasks.json: 2 rows\n");
    let again = sandbox.run(&["label", "add", "again.db", "tasks.json"]).success();
    assert_eq!(again, "again.db: 2 items added, 0 were there before; 2 labels taken over\n");
    assert_eq!(sandbox.run(&["label", "stats", "again.db", "--json"]).json()["labels"], 2);
    let more = sandbox.run(&["label", "add", "again.db", "tasks.json"]).success();
    assert!(more.ends_with("; 0 labels taken over, 2 items had one of the same annotator\n"), "{more}");
    let anew = sandbox.run(&["label", "add", "anew.db", "tasks.json", "--without-labels"]).success();
    assert_eq!(anew, "anew.db: 2 items added, 0 were there before\n");
    let refused = |args: &[&str], expected: &str| {
        let stderr = sandbox.run(&[&["label", "export", "sky.db"], args].concat()).stderr;
        assert!(stderr.contains(expected), "{stderr}");
    };
    refused(&["a.txt"], "a.txt: its name does not tell what to write; let it end in .jsonl, .parquet, .csv or .tsv");
    refused(&["a.jsonl", "--form", "argilla"], "a.jsonl: its name does not tell what to write; let it end in .json");
    refused(&["a.jsonl", "--ties", "--form", "best"], "--ties: only --form pairs has ties");
    refused(&["a.jsonl", "--config", "a.xml"], "--config: only --form label-studio has a configuration");
}

#[test]
fn the_least_sure_items_come_first() {
    let scored = "prompt\tcompletion_1\tcompletion_2\tscores\nsure\ta\tb\t[0, 3]\nunsure\ta\tb\t[1, 1.5]\n";
    let sandbox = Sandbox::new().with("scored.tsv", scored).with("rows.txt", "one\ntwo\n").with("g.md", "# Rules");
    let added = sandbox.run(&["label", "add", "a.db", "scored.tsv", "--order", "active", "--json", "--quiet"]).json();
    assert_eq!((&added["added"], &added["scored"]), (&2.into(), &2.into()));
    let labelled = sandbox.type_in(&["label", "a.db"], "a\nq\n").success();
    let place = |text: &str| labelled.find(text).unwrap_or_else(|| panic!("{labelled}"));
    assert!(place("\nunsure\n") < place("\nsure\n"), "{labelled}");
    // The same from a file, as `palestra score --out` writes it; the items that are there get its scores.
    let lines = [("sure", "a", 1.0), ("sure", "b", 1.25), ("unsure", "a", -3.0), ("unsure", "b", 3.0)];
    let line = |(prompt, completion, score)| {
        serde_json::json!({"prompt": prompt, "completion": completion, "score": score}).to_string() + "\n"
    };
    std::fs::write(sandbox.path().join("scores.jsonl"), lines.map(line).concat()).unwrap();
    let by_file =
        ["label", "add", "c.db", "scored.tsv", "--scores", "scores.jsonl", "--order", "active", "--json", "-q"];
    assert_eq!(sandbox.run(&by_file).json()["scored"], 2);
    let labelled = sandbox.type_in(&["label", "c.db"], "q\n").success();
    assert!(labelled.contains("\nsure\n"), "{labelled}");
    let some = sandbox.run(&["label", "add", "c.db", "rows.txt", "--scores", "scores.jsonl"]);
    assert!(some.stderr.contains("2 of 2 items have an answer without a score in scores.jsonl"), "{}", some.stderr);
    let unscored = sandbox.run(&["label", "add", "b.db", "rows.txt", "--order", "active"]);
    assert!(unscored.stderr.contains("no item of b.db has scores"), "{}", unscored.stderr);
    let refused = sandbox.run(&["label", "serve", "a.db", "--guidelines", "none.md"]).stderr;
    assert!(refused.contains("--guidelines none.md: "), "{refused}");
    let refused = sandbox.run(&["label", "serve", "a.db", "--criterion", "a", "--criterion", "a"]).stderr;
    assert!(refused.contains("criteria: \"a\" is there twice"), "{refused}");
}

#[test]
fn the_page_says_where_it_is_before_it_is_served() {
    let sandbox = Sandbox::new().with("answers.jsonl", ANSWERS);
    sandbox.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    let args = ["label", "serve", "sky.db", "--address", "127.0.0.1:0", "--invite", "ben", "--json"];
    let mut child = sandbox.command(&args).spawn().unwrap();
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

/// More connections than the process may have files: they wait, and the server answers again when some have gone.
#[cfg(unix)]
#[test]
fn a_page_without_free_descriptors_is_served_later() {
    let sandbox = Sandbox::new().with("answers.jsonl", ANSWERS);
    sandbox.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 32 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_palestra")])
        .args(["label", "serve", "sky.db", "--address", "127.0.0.1:0", "--json"])
        .current_dir(sandbox.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let serving: Value = serde_json::from_str(&line).unwrap();
    let address = serving["address"].as_str().unwrap().replace("http://", "").replace('/', "");
    let asks = |patience: Duration| {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        std::io::Result::Ok(reply)
    };
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert!(asks(Duration::from_millis(600)).is_err(), "a file was free: the test shows nothing");
    assert!(child.try_wait().unwrap().is_none(), "the server has ended");
    drop(silent);
    let reply = asks(Duration::from_secs(20)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// A limit of file sizes stands for a full disk: the write fails, and SQLite sees the error.
#[cfg(unix)]
#[test]
fn a_store_on_a_full_disk_keeps_what_it_had() {
    let item = |number: usize| {
        let prompt = format!("Item {number}? {}", "Which is better? ".repeat(10));
        format!("{{\"prompt\": \"{prompt}\", \"completions\": [\"a\", \"b\"]}}\n")
    };
    let many: String = (0..2000).map(item).collect();
    let sandbox = Sandbox::new().with("answers.jsonl", ANSWERS).with("many.jsonl", &many);
    sandbox.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    let stats = || sandbox.run(&["label", "stats", "sky.db", "--json"]).json();
    let before = stats();
    let failed = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ && ulimit -f 200 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_palestra")])
        .args(["label", "add", "sky.db", "many.jsonl"])
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    let told = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: ") && told.contains("sky.db"), "{told}");
    assert_eq!(stats(), before);
    // The disk has room again.
    sandbox.run(&["label", "add", "sky.db", "many.jsonl"]).success();
    assert_eq!(stats()["items"], 2002);
}

#[test]
fn an_address_that_is_taken_ends_nobodys_link() {
    let sandbox = Sandbox::new().with("answers.jsonl", ANSWERS);
    sandbox.run(&["label", "add", "sky.db", "answers.jsonl"]).success();
    let token = palestra_labels::Store::open(&sandbox.path().join("sky.db")).unwrap().invite("ben", false).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = sandbox.run(&["label", "serve", "sky.db", "--address", &address, "--invite", "ben"]).stderr;
    assert!(refused.contains("another --address may be free"), "{refused}");
    let store = palestra_labels::Store::open(&sandbox.path().join("sky.db")).unwrap();
    assert!(store.holder(&token).unwrap().is_some());
}

#[test]
fn what_is_no_store_and_what_cannot_be_labelled_is_named_and_makes_nothing() {
    let missing = "no.db: there is no such label store; `palestra label add` makes one";
    for args in [&["label", "no.db"][..], &["label", "stats", "no.db"], &["label", "serve", "no.db"]] {
        Sandbox::new().assert_refused(args, missing);
    }
    let bad = format!("{ANSWERS}{{\"prompt\": \"Sea?\", \"completions\": [\"blue\", \"blue\"]}}\n");
    Sandbox::new().with("bad.jsonl", &bad).assert_refused(
        &["label", "add", "sky.db", "bad.jsonl"],
        "bad.jsonl: line 3, completions: answer 1 is there twice; the answers should differ",
    );
    Sandbox::new().with("empty.jsonl", "").assert_refused(
        &["label", "add", "sky.db", "empty.jsonl"],
        "empty.jsonl: is empty: it should have a row for each preference or prompt",
    );
}

/// Two models, and two prompts: a text, and a conversation.
fn models() -> Sandbox {
    let prompts = "{\"prompt\": \"sky\", \"topic\": 1}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"why?\"}]}\n";
    let sandbox = Sandbox::new().with("prompts.jsonl", prompts);
    write_model(sandbox.path(), "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}a:");
    std::fs::rename(sandbox.path().join("m"), sandbox.path().join("old")).unwrap();
    write_model(sandbox.path(), "{% for m in messages %}{{ m.content }}!{% endfor %}");
    sandbox
}

const SAMPLED: [&str; 9] =
    ["--prompts", "prompts.jsonl", "--max-new-tokens", "6", "--device", "flex", "--quiet", "--from", "m"];

#[test]
fn answers_are_sampled_from_models_and_the_seed_fixes_them() {
    let sandbox = models();
    let add = |store: &str, options: &[&str]| {
        sandbox.run(&[&["label", "add", store, "--json"][..], &SAMPLED, options].concat()).json()
    };
    let added = add("a.db", &[]);
    assert_eq!((&added["added"], &added["known"], &added["alike"]), (&2.into(), &0.into(), &0.into()));
    assert_eq!(add("a.db", &["--batch", "1"])["known"], 2, "the same, however many at once");
    assert_eq!(add("a.db", &["--seed", "1"])["added"], 2, "others");
    assert_eq!(add("a.db", &["--temperature", "0"])["alike"], 2, "nothing to compare");
    assert_eq!(add("b.db", &["--from", "old", "--samples", "2"])["added"], 2);
    assert_eq!(add("c.db", &["--samples", "1"])["added"], 2, "to be rated");

    let labelled = sandbox.type_in(&["label", "b.db"], "cabd\nd\n").success();
    assert!(labelled.contains("[D]") && labelled.contains("\nwhy?\n"), "{labelled}");
    sandbox.run(&["label", "export", "b.db", "preferences.jsonl"]).success();
    let records: Vec<_> = read(&sandbox.path().join("preferences.jsonl")).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 6 + 3, "all pairs of a ranking, and the best against three others");
    let policies: std::collections::BTreeSet<&str> =
        records.iter().map(|record| record.other["chosen_policy"].as_str().unwrap()).collect();
    assert!(policies.iter().all(|name| ["m", "old"].contains(name)), "{policies:?}");
    let Preference::Better { chosen, .. } = &records[8].preference else { panic!("{records:?}") };
    assert!(serde_json::to_string(chosen).unwrap().starts_with("[{\"role\":\"assistant\""), "{chosen:?}");
    let rated = sandbox.type_in(&["label", "c.db"], "r 4\nx\n").success();
    assert!(rated.ends_with("kept 2 labels of me in c.db; 0 left\n"), "{rated}");
}

#[test]
fn the_page_samples_first() {
    let sandbox = models();
    let args = [&["label", "serve", "sky.db", "--address", "127.0.0.1:0", "--json"][..], &SAMPLED].concat();
    let mut child = sandbox.command(&args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let stats = sandbox.run(&["label", "stats", "sky.db", "--json"]).json();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("http://127.0.0.1:") && stats["items"] == 2, "{line} {stats}");
}

#[test]
fn what_cannot_be_sampled_is_refused_before_a_store_is_made() {
    let sandbox = models();
    let long = format!("{{\"prompt\": \"{}\"}}\n", "a".repeat(60));
    let sandbox = sandbox.with("long.jsonl", &long).with("none.jsonl", "").with("texts.jsonl", "{\"text\": \"sky\"}\n");
    let refused = |options: &[&str]| {
        let outcome = sandbox.run(&[&["label", "add", "sky.db"][..], options].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        assert!(!sandbox.path().join("sky.db").exists());
        outcome.stderr.strip_prefix("error: ").unwrap().trim_end().to_string()
    };
    let from = |file: &'static str| ["--prompts", file, "--device", "flex", "--quiet", "--from", "m"];
    assert_eq!(
        refused(&from("long.jsonl")),
        "long.jsonl: prompt 1, for m: the prompt has 60 tokens, and with 256 more it is longer than the model's context of \
         64; shorten it, or ask for fewer new tokens"
    );
    assert!(refused(&from("none.jsonl")).starts_with("none.jsonl: is empty"));
    assert_eq!(refused(&from("texts.jsonl")), "texts.jsonl: line 1, prompt: missing; besides, there is text");
    let nowhere = ["--prompts", "prompts.jsonl", "--device", "flex", "--quiet", "--from", "nowhere"];
    assert!(refused(&nowhere).starts_with("nowhere is no directory; give a Hugging Face model"));
    let with = |options: &[&'static str]| [&SAMPLED[..], options].concat();
    assert_eq!(refused(&with(&["--from", "m"])), "--from m: is there twice; more answers of one model are --samples");
    assert_eq!(
        refused(&with(&["--from", "old", "--samples", "5"])),
        "--samples 5: of 2 models these are 10 answers to a prompt, and 9 are the most"
    );
    assert_eq!(
        refused(&with(&["--greedy"])),
        "--greedy: --samples 2 would be the same answer each time; leave one out"
    );
    std::fs::remove_file(sandbox.path().join("m/chat_template.jinja")).unwrap();
    assert!(
        refused(&with(&[])).starts_with("prompts.jsonl: prompt 2, for m: the prompt is a conversation, and the model")
    );
    let missing = sandbox.run(&["label", "add", "sky.db", "--prompts", "prompts.jsonl"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("--from"), "{missing:?}");
}
