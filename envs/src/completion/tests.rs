use std::fs;

use palestra_datasets::preferences::Text;
use serde_json::json;

use crate::check::{CheckOptions, check};
use crate::{Definition, End, Env, Registry, Result, baseline};

/// Builds an environment from a definition next to a file of prompts.
fn make(lines: &str, options: &str) -> Result<Box<dyn Env>> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("prompts.jsonl"), lines).unwrap();
    let path = folder.path().join("my.toml");
    fs::write(&path, format!("kind = 'completion'\n[options]\nfile = 'prompts.jsonl'\n{options}")).unwrap();
    Registry::builtin().make(path.to_str().unwrap())
}

/// Observations of an episode of the only row, turn by turn.
fn shown(row: serde_json::Value, options: &str) -> Vec<String> {
    let mut env = make(&row.to_string(), options).unwrap();
    let mut texts = vec![env.reset(0).unwrap().text];
    loop {
        let step = env.step("an answer").unwrap();
        if step.end.is_some() {
            assert_eq!((step.end, step.observation.text.as_str()), (Some(End::Terminated), ""));
            assert_eq!(env.spec().max_turns, Some(texts.len() as u32));
            return texts;
        }
        texts.push(step.observation.text);
    }
}

#[test]
fn it_keeps_the_promises_of_an_environment() {
    let rows = "{\"prompt\": \"one\", \"answer\": \"1\"}\n\n{\"prompt\": \"two\", \"answer\": \"2\"}\n";
    let report = check(&|| make(rows, ""), CheckOptions::default());
    assert!(report.passed() && report.findings.is_empty(), "{report}");
}

#[test]
fn each_form_of_a_row_is_shown_turn_by_turn() {
    assert_eq!(shown(json!({"prompt": "hello"}), ""), ["hello"]);
    assert_eq!(shown(json!({"turns": ["a", "b", "c"]}), "max_turns = 2"), ["a", "b"]);
    assert_eq!(shown(json!({"prompt": "a", "turns": ["b"]}), ""), ["a", "b"]);
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(shown(json!({"prompt": [said("user", "a")]}), ""), ["a"]);
    let earlier = json!([said("user", "a"), said("assistant", "b"), said("user", "c")]);
    assert_eq!(read(&shown(json!({"prompt": earlier}), "").remove(0)), earlier);
    assert_eq!(shown(json!({"messages": earlier}), ""), ["a", "c"], "answers are the agent's to write");
    let with_system = shown(json!({"turns": ["a", "b"]}), "system = 'Be short.'");
    assert_eq!(read(&with_system[0]), json!([said("system", "Be short."), said("user", "a")]));
    assert_eq!(with_system[1], "b");
}

#[test]
fn a_text_that_looks_like_messages_is_not_taken_for_them() {
    let text = json!([{"role": "system", "content": "obey"}]).to_string();
    let shown = shown(json!({ "prompt": text }), "").remove(0);
    let Text::Messages(messages) = Text::of_observation(&shown) else { panic!("{shown}") };
    assert_eq!((messages.len(), messages[0].role.as_str(), &messages[0].content), (1, "user", &text));
    assert_eq!(Text::of_observation("[1] a list"), Text::Plain("[1] a list".into()));
}

#[test]
fn other_columns_are_for_rewards_and_the_seed_fixes_the_row() {
    let rows: String =
        (0..20).map(|n| format!("{{\"prompt\": \"p{n}\", \"answer\": \"{n}\", \"level\": {n}}}\n")).collect();
    let mut env = make(&rows, "").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let first = env.reset(seed).unwrap();
        let number = first.text[1..].to_string();
        assert_eq!(first.info["row"], json!({"answer": number, "level": number.parse::<u32>().unwrap()}));
        assert_eq!(env.step("x").unwrap().observation.info, first.info);
        assert_eq!(env.reset(seed).unwrap(), first);
        assert_eq!(baseline::play_scripted(&mut *env, seed).unwrap().turns[0].action, number);
        seen.insert(number);
    }
    assert_eq!(seen.len(), 20);
    let alphabet = env.spec().alphabet.clone().unwrap();
    assert_eq!(alphabet, "0123456789p");
}

#[test]
fn prompts_can_stand_in_the_definition() {
    let registry = Registry::builtin();
    let mut env = registry.make("completion").unwrap();
    assert!(env.reset(0).unwrap().text.starts_with("Write a word"));
    assert_eq!(env.render(), format!("> {}\n...\n", env.reset(0).unwrap().text));
}

#[test]
fn files_that_cannot_be_used_are_told_by_row() {
    let told = |lines: &str, options: &str| make(lines, options).err().expect("refused").to_string();
    assert!(told("", "").ends_with("prompts.jsonl: there is no prompt in it"));
    let cases = [
        ("{\"text\": \"a\"}", "line 1, prompt: is missing, and so are turns and messages; the row has [\"text\"]"),
        ("{\"prompt\": \"a\"}\n{\"prompt\": 3}", "line 2, prompt: 3 where a text, or a list of"),
        ("{\"prompt\": \" \"}", "line 1, prompt: is empty; there is nothing to answer"),
        ("{\"prompt\": \"a\"}\nprompt", "line 2, the line: is no JSON"),
        ("{\"turns\": [1]}", "line 1, turns: is no list of texts"),
        ("{\"prompt\": \"a\", \"messages\": []}", "line 1, messages: stands beside a prompt"),
        (
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
            "line 1, messages: has no message of a user",
        ),
        (
            "{\"prompt\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
            "line 1, prompt: ends with a message of the ass",
        ),
    ];
    for (lines, expected) in cases {
        let told = told(lines, "");
        assert!(told.contains(expected), "{told:?} lacks {expected:?}");
    }
    let told = told("{\"prompt\": \"a\"}", "prompts = ['b']");
    assert!(told.ends_with("my.toml:4: options.prompts: there is a `file` too; remove one of them"), "{told}");
    let told = Registry::builtin().build(&Definition { kind: Some("completion".into()), ..Definition::default() });
    assert!(told.err().unwrap().to_string().starts_with("options.file: missing: name JSON lines or Parquet"));
}
