//! A policy that other programs ask for actions: `palestra serve --policy`.

use serde_json::{Value, json};

use crate::command::Sandbox;
use crate::tiny_run::{checkpoints, lake, write_model};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}a:";

/// Answers of the policy in a directory to requests.
#[track_caller]
fn ask(sandbox: &Sandbox, policy: &str, requests: &[Value]) -> Vec<Value> {
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let told = sandbox.type_in(&["serve", "--policy", policy, "--device", "flex"], &lines).success();
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn act(states: Value) -> Value {
    json!({ "type": "act", "session": 7, "states": states })
}

/// A run that is evaluated greedily, and keeps its checkpoints.
fn trained() -> Sandbox {
    let sandbox = lake();
    let set = ["--set", "train.updates=4", "--set", "evaluation.greedy=true", "--set", "train.checkpoint_every=2"];
    sandbox.run(&[&["train", "lake.toml", "--quiet"][..], &set].concat()).success();
    sandbox
}

#[test]
fn a_policy_acts_as_it_plays() {
    let sandbox = trained();
    let played =
        sandbox.run(&["play", "frozen-lake-4x4", "--policy", "runs/lake", "--json", "--quiet", "--seed", "3"]).json();
    let turns = played["episodes"][0]["turns"].as_array().unwrap();
    let state = |turn: &Value| json!({ "observation": turn["observation"], "legal_actions": turn["legal_actions"] });
    let states: Vec<Value> = turns.iter().map(state).collect();
    let actions: Vec<Value> = turns.iter().map(|turn| turn["action"].clone()).collect();
    let hello = json!({ "type": "hello", "protocol": 1, "role": "policy", "worker": 0 });
    let answers = ask(&sandbox, "runs/lake", &[hello, act(json!(states)), act(json!([states[0]]))]);
    let told = json!({ "protocol": 1, "policy": { "context": "observation" }, "type": "hello" });
    assert_eq!(answers[0], told);
    assert_eq!(answers[1], json!({ "actions": actions, "type": "act", "session": 7 }));
    assert_eq!(answers[2]["actions"], json!([actions[0]]), "one alone is the same");
}

#[test]
fn a_choice_depends_on_its_seed_and_the_legal_actions() {
    let sandbox = trained();
    let first = checkpoints(&sandbox.path().join("runs/lake"))[0].display().to_string();
    let state = |seed: u64, legal: &[&str]| json!({ "observation": "A0", "seed": seed, "legal_actions": legal });
    let all = ["l", "d", "r", "u"];
    let many: Vec<Value> = (0..40).map(|seed| state(seed, &all)).collect();
    let mut hot = act(json!(many));
    hot["temperature"] = json!(5.0);
    let mut reversed = act(many.iter().rev().cloned().collect());
    reversed["temperature"] = json!(5.0);
    let answers = ask(&sandbox, &first, &[hot, reversed, act(json!([state(0, &["u"])]))]);
    let actions = answers[0]["actions"].as_array().unwrap();
    assert!(all.iter().all(|action| actions.contains(&json!(action))), "{actions:?}");
    let backwards: Vec<&Value> = answers[1]["actions"].as_array().unwrap().iter().rev().collect();
    assert_eq!(backwards, actions.iter().collect::<Vec<_>>());
    assert_eq!(answers[2]["actions"], json!(["u"]));
}

#[test]
fn a_request_that_is_wrong_is_told_and_the_next_one_answered() {
    let sandbox = trained();
    let unknown = json!({ "type": "act", "session": 1, "observations": [] });
    let cold = json!({ "type": "act", "session": 2, "states": [], "temperature": -1 });
    let unreadable = act(json!([{ "observation": "A0", "legal_actions": ["u"] }, { "observation": "\u{1F600}" }]));
    let answers = ask(
        &sandbox,
        "runs/lake",
        &[unknown, cold, unreadable, json!({ "type": "step", "session": 3 }), act(json!([]))],
    );
    let message = |number: usize| answers[number]["message"].as_str().unwrap();
    assert!(answers[..4].iter().all(|answer| answer["type"] == "error"), "{answers:?}");
    assert!(message(0).contains("unknown field `observations`"), "{}", message(0));
    assert!(message(1).starts_with("temperature: -1"), "{}", message(1));
    assert!(message(2).starts_with("states.1: "), "{}", message(2));
    assert_eq!(message(3), "no message `step`; a policy answers `hello` and `act`");
    assert_eq!(answers[4], json!({ "actions": [], "type": "act", "session": 7 }));
    sandbox.run(&["serve", "--policy", "none"]).assert_error("none is no directory");
}

#[test]
fn a_language_model_continues_texts_and_answers_messages() {
    let sandbox = Sandbox::new();
    write_model(sandbox.path(), TEMPLATE);
    let generated = |options: &[&str]| {
        let args = ["generate", "m", "--json", "--quiet", "--device", "flex", "--max-new-tokens", "6"];
        sandbox.run(&[&args[..], options].concat()).json()["text"].clone()
    };
    let mut asked = act(json!([
        { "observation": "once" },
        { "observation": [{ "role": "user", "content": "once" }] },
        { "observation": "once", "legal_actions": ["ab", "cd"] },
    ]));
    asked["max_new_tokens"] = json!(6);
    let answers = ask(&sandbox, "m", &[asked.clone()]);
    let actions = answers[0]["actions"].as_array().unwrap();
    assert_eq!(actions[1], generated(&["--prompt", "once", "--chat"]));
    assert_ne!(actions[0], actions[1], "a text is no message");
    assert!(["ab", "cd"].contains(&actions[2].as_str().unwrap()));
    std::fs::remove_file(sandbox.path().join("m/chat_template.jinja")).unwrap();
    let told = &ask(&sandbox, "m", &[asked])[0]["message"];
    assert!(told.as_str().unwrap().starts_with("states.1: observation: the model has no chat template"), "{told}");
    sandbox
        .run(&["serve", "--policy", "m", "--set", "rollout.max_new_tokens=3"])
        .assert_error("--set rollout.max_new_tokens=3: m: it is a language model");
}
