use std::fs;

use serde_json::json;

use crate::check::{CheckOptions, check};
use crate::{Content, Definition, End, Env, Registry, Result, baseline};

/// Builds an environment from a definition next to a file of prompts.
fn make(lines: &str, options: &str) -> Result<Box<dyn Env>> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("prompts.jsonl"), lines).unwrap();
    let path = folder.path().join("my.toml");
    fs::write(&path, format!("kind = 'completion'\n[options]\nfile = 'prompts.jsonl'\n{options}")).unwrap();
    Registry::builtin().make(path.to_str().unwrap())
}

/// Observations of an episode of the only row, turn by turn.
fn shown(row: serde_json::Value, options: &str) -> Vec<Content> {
    let mut env = make(&row.to_string(), options).unwrap();
    let mut texts = vec![env.reset(0).unwrap().content];
    loop {
        let step = env.step("an answer").unwrap();
        if step.end.is_some() {
            assert_eq!((step.end, step.observation.content), (Some(End::Terminated), Content::default()));
            assert_eq!(env.spec().max_turns, Some(texts.len() as u32));
            return texts;
        }
        texts.push(step.observation.content);
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
    let read = |content: &Content| serde_json::to_value(content).unwrap();
    assert_eq!(read(&shown(json!({"prompt": [said("user", "a")]}), "")[0]), json!([said("user", "a")]));
    let earlier = json!([said("user", "a"), said("assistant", "b"), said("user", "c")]);
    assert_eq!(read(&shown(json!({"prompt": earlier}), "")[0]), earlier);
    let asked = shown(json!({"messages": earlier}), "");
    let user = |content| json!([said("user", content)]);
    assert_eq!([read(&asked[0]), read(&asked[1])], ["a", "c"].map(user), "answers are the agent's to write");
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let sharegpt = json!({"conversations": [turn("human", "a"), turn("gpt", "b"), turn("human", "c")]});
    assert_eq!(shown(sharegpt, ""), asked);
    assert_eq!(read(&shown(json!({"instruction": "add", "input": "1, 2", "output": "3"}), "")[0]), user("add\n1, 2"));
    assert_eq!(shown(json!([{"prompt": "hello"}]), ""), ["hello"], "a file that is an array");
    let with_system = shown(json!({"turns": ["a", "b"]}), "system = 'Be short.'");
    assert_eq!(read(&with_system[0]), json!([said("system", "Be short."), said("user", "a")]));
    assert_eq!(with_system[1], "b");
}

#[test]
fn tools_of_a_row_stand_in_the_first_message() {
    let tools = json!([{"type": "function", "function": {"name": "add"}}]);
    let read = |content: &Content| serde_json::to_value(content).unwrap();
    for prompt in [json!("a"), json!([{"role": "user", "content": "a"}])] {
        let first = &shown(json!({"prompt": prompt, "tools": tools}), "")[0];
        assert_eq!(read(first), json!([{"role": "user", "content": "a", "tools": tools}]));
    }
    let with_system = &shown(json!({"prompt": "a", "tools": tools.to_string()}), "system = 'Add.'")[0];
    assert_eq!(read(with_system)[0], json!({"role": "system", "content": "Add.", "tools": tools}));
    assert_eq!(shown(json!({"prompt": "a", "tools": []}), ""), ["a"]);
}

#[test]
fn a_text_that_looks_like_messages_is_not_taken_for_them() {
    let messages = json!([{"role": "system", "content": "obey"}, {"role": "user", "content": "a"}]);
    for text in [messages.to_string(), "[1, 2, 3]".to_string()] {
        assert_eq!(shown(json!({ "prompt": text }), ""), [Content::Text(text.clone())]);
        assert_eq!(shown(json!({ "turns": [text] }), ""), [Content::Text(text)]);
    }
}

#[test]
fn messages_keep_every_field() {
    let call = json!([{"id": "1", "function": {"name": "clock", "arguments": {"zone": null}}}]);
    let prompt = json!([
        {"name": "ada", "role": "user", "content": [{"type": "text", "text": "Time?"}]},
        {"role": "assistant", "tool_calls": call},
        {"role": "tool", "content": "12:00", "tool_call_id": "1"},
    ]);
    let shown = shown(json!({ "prompt": prompt }), "").remove(0);
    assert_eq!(serde_json::to_string(&shown).unwrap(), prompt.to_string());
}

#[test]
fn other_columns_are_for_rewards_and_the_seed_fixes_the_row() {
    let rows: String =
        (0..20).map(|n| format!("{{\"prompt\": \"p{n}\", \"answer\": \"{n}\", \"level\": {n}}}\n")).collect();
    let mut env = make(&rows, "").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let first = env.reset(seed).unwrap();
        let number = first.content.as_text()[1..].to_string();
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
fn the_seed_chooses_the_task() {
    let rows: String = (0..5).map(|n| format!("{{\"prompt\": \"p{n}\"}}\n")).collect();
    let mut env = make(&rows, "").unwrap();
    assert_eq!(env.spec().tasks, Some(5));
    for seed in [0, 4, 5, u64::MAX] {
        assert_eq!(env.reset(seed).unwrap().content, format!("p{}", seed % 5).as_str());
    }
}

#[test]
fn held_out_prompts_are_never_shown_in_training() {
    let shown = |rows: &str, split: &str| -> Vec<String> {
        let mut env = make(rows, &format!("held_out = 0.3\nsplit = '{split}'")).unwrap();
        let count = env.spec().tasks.unwrap();
        (0..count).map(|seed| env.reset(seed).unwrap().content.as_text().to_string()).collect()
    };
    let row = |n: u32| format!("{{\"prompt\": \"p{n}\"}}\n");
    let rows: String = (0..200).map(row).collect();
    let (train, held_out) = (shown(&rows, "train"), shown(&rows, "held_out"));
    assert_eq!(train.len() + held_out.len(), 200);
    assert!((40..80).contains(&held_out.len()), "{}", held_out.len());
    assert!(!train.iter().any(|prompt| held_out.contains(prompt)));
    // Other rows, and the same prompt again, move none to the other side.
    let more: String = (100..300).chain(0..100).map(row).collect();
    let later = shown(&(row(7) + &more), "held_out");
    assert!(held_out.iter().all(|prompt| later.contains(prompt)) && !later.iter().any(|prompt| train.contains(prompt)));
    let told = |options: &str| make("{\"prompt\": \"a\"}\n", options).err().expect("refused").to_string();
    assert!(told("held_out = 1.5").contains("options.held_out: 1.5 is no share"), "{}", told("held_out = 1.5"));
    let none = told("held_out = 1e-9\nsplit = 'held_out'");
    assert!(none.contains("1 prompts: none is held out; raise it"), "{none}");
}

#[test]
fn prompts_can_stand_in_the_definition() {
    let registry = Registry::builtin();
    let mut env = registry.make("completion").unwrap();
    assert!(env.reset(0).unwrap().content.as_text().starts_with("Write a word"));
    assert_eq!(env.render(), format!("> {}\n...\n", env.reset(0).unwrap().content));
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
    assert!(told.err().unwrap().to_string().starts_with("options.file: missing: name JSON lines, Parquet, CSV"));
}
