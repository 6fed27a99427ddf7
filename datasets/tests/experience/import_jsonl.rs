//! Import of JSON lines in the customary shapes.

use palestra_datasets::import::{ImportOptions, ImportReport, import_jsonl};
use palestra_datasets::{Content, End, Episode, Result, Turn};

use crate::made::{episodes, place};

/// Imports a file `run.jsonl` with these lines.
fn import(text: &str) -> Result<(Vec<Episode>, ImportReport)> {
    let (folder, to) = place();
    let input = folder.path().join("run.jsonl");
    std::fs::write(&input, text).unwrap();
    let result = import_jsonl(&[input], &to, &ImportOptions::default()).map(|report| (episodes(&to), report));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, if result.is_ok() { 2 } else { 1 }, "no file is left beside");
    result
}

fn refused(text: &str, reason: &str) {
    let error = import(text).unwrap_err().to_string();
    assert!(error.contains(&format!("run.jsonl: {reason}")), "{error}");
}

fn states(episode: &Episode) -> Vec<&str> {
    let texts = episode.turns.iter().map(|turn| match &turn.observation {
        Content::Text(text) => text.as_str(),
        Content::Messages(_) => panic!("{turn:?}"),
    });
    texts.collect()
}

#[test]
fn transitions_end_with_done() {
    let (read, report) = import(
        r#"{"state": "a", "action": "x", "reward": 1, "done": false}
{"state": "b", "action": "y", "reward": -0.5, "done": true}

{"state": "c", "action": "z", "reward": 2, "done": 1}
{"state": "d", "action": "z", "reward": 0, "done": 0}
"#,
    )
    .unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(read.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["run/0", "run/1", "run/2"]);
    assert_eq!((states(&read[0]), read[0].total_reward()), (vec!["a", "b"], 0.5));
    let ends: Vec<_> = read.iter().map(|one| one.end).collect();
    assert_eq!(ends, [Some(End::Terminated), Some(End::Terminated), None]);
    assert_eq!(read[2].end_reason.as_deref(), Some("cut"));
    assert_eq!((report.episodes, report.rows, report.terminated, report.cut), (3, 4, 2, 1));
    assert!(report.to_string().contains("1 cut (the source tells no end)"), "{report}");
}

#[test]
fn the_two_ends_are_told_apart() {
    let end = |fields: &str| {
        let line = format!(r#"{{"obs": "a", "action": "x", "reward": 0, {fields}}}"#);
        import(&line).unwrap().0[0].end
    };
    assert_eq!(end(r#""terminated": true, "truncated": false"#), Some(End::Terminated));
    assert_eq!(end(r#""terminated": false, "truncated": true"#), Some(End::Truncated));
    assert_eq!(end(r#""terminal": true, "timeout": true"#), Some(End::Terminated));
    assert_eq!(end(r#""done": true, "timeout": true"#), Some(End::Truncated));
    assert_eq!(end(r#""done": true, "terminated": false"#), Some(End::Truncated));
    assert_eq!(end(r#""done": true, "truncated": false"#), Some(End::Terminated));
    assert_eq!(end(r#""done": true, "info": {"TimeLimit.truncated": true}"#), Some(End::Truncated));
    assert_eq!(
        end(r#""done": true, "info": "{\"TimeLimit.truncated\": true}""#),
        Some(End::Truncated),
        "info as a text"
    );
    assert_eq!(end(r#""done": true, "info": "{\"TimeLimit.truncated\": false}""#), Some(End::Terminated));
    assert_eq!(end(r#""done": false"#), None);
}

#[test]
fn an_episode_ends_where_its_id_does() {
    let (read, report) = import(
        r#"{"episode_id": 7, "observation": "a", "action": "x", "reward": 0}
{"episode_id": 7, "observation": "b", "action": "x", "reward": 0, "next_observation": "c"}
{"episode_id": "own", "observation": "q", "action": "x", "reward": 0, "truncated": true, "next_observation": "r"}
"#,
    )
    .unwrap();
    assert_eq!(read.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["run/7", "own"]);
    assert_eq!((states(&read[0]), read[0].end), (vec!["a", "b"], None));
    assert_eq!(read[0].final_observation, Some("c".into()));
    assert_eq!((read[1].end, read[1].final_observation.clone()), (Some(End::Truncated), Some("r".into())));
    assert_eq!(report.cut, 1);
}

#[test]
fn what_is_no_text_becomes_json() {
    let (read, report) = import(
        r#"{"state": [1, 2.5], "action": 3, "reward": 0, "done": false, "legal_actions": [3, 4], "next_state": {"b": 1}}
{"state": {"b": 1}, "action": "x", "reward": 0, "done": true, "extra": 5, "info": {"a": [1]}}
"#,
    )
    .unwrap();
    assert_eq!(states(&read[0]), ["[1,2.5]", r#"{"b":1}"#]);
    assert_eq!(read[0].turns[0].action, "3");
    assert_eq!(read[0].turns[0].legal_actions, Some(vec!["3".to_string(), "4".to_string()]));
    assert_eq!(read[0].turns[1].info.as_deref(), Some(r#"{"a":[1]}"#));
    assert_eq!(report.as_json, 3);
    assert_eq!(report.ignored_fields, [("extra".to_string(), 1)].into());
}

#[test]
fn the_columns_of_a_log_come_along() {
    let (read, _) = import(
        r#"{"observation": "a", "action": "x", "reward": 1, "terminated": true, "env_id": "maze-v1", "seed": 4,
            "split": "test", "policy_id": "p", "policy_step": 3, "tokenizer_hash": "h", "temperature": 0.5,
            "action_ids": [5, 6], "log_probs": [-0.5, -1], "reward_parts": {"rules": 1}, "invalid_action": true,
            "end_reason": "goal", "final_observation": "b", "timestamp": 12, "reward_source": "rules"}"#
            .replace('\n', " ")
            .as_str(),
    )
    .unwrap();
    let turn = Turn {
        observation: "a".into(),
        action: "x".to_string(),
        reward: 1.0,
        reward_parts: [("rules".to_string(), 1.0)].into(),
        invalid_action: true,
        action_ids: Some(vec![5, 6]),
        log_probs: Some(vec![-0.5, -1.0]),
        timestamp: Some(12),
        ..Turn::default()
    };
    let expected = Episode {
        id: "run/0".to_string(),
        env_id: "maze-v1".to_string(),
        seed: Some(4),
        split: Some("test".to_string()),
        turns: vec![turn],
        final_observation: Some("b".into()),
        end: Some(End::Terminated),
        end_reason: Some("goal".to_string()),
        policy_id: "p".to_string(),
        policy_step: 3,
        tokenizer_hash: Some("h".to_string()),
        temperature: Some(0.5),
        reward_source: Some("rules".to_string()),
        ..Episode::default()
    };
    assert_eq!(read, [expected]);
}

#[test]
fn trajectories_are_lists_or_steps() {
    let (read, report) = import(
        r#"{"states": ["a", "b", "c"], "actions": [0, 1], "rewards": [0, 1], "dones": [false, true], "seed": 9}
{"observations": ["a"], "actions": ["x"], "rewards": [1], "terminals": [0], "timeouts": [1], "infos": [{}, {}]}
{"id": "t", "steps": [{"state": "a", "action": "x", "reward": 0}, {"state": "b", "action": "y", "reward": 1, "step": 1}], "truncated": true, "final_state": "c"}
{"obs": ["a"], "actions": ["x"], "rewards": [1]}
"#,
    )
    .unwrap();
    let seen: Vec<_> = read.iter().map(|one| (one.id.as_str(), states(one), one.end)).collect();
    let expected = [
        ("run/0", vec!["a", "b"], Some(End::Terminated)),
        ("run/1", vec!["a"], Some(End::Truncated)),
        ("t", vec!["a", "b"], Some(End::Truncated)),
        ("run/2", vec!["a"], None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((read[0].final_observation.clone(), read[0].seed), (Some("c".into()), Some(9)));
    assert_eq!(read[2].final_observation, Some("c".into()));
    assert_eq!((report.rows, report.as_json), (6, 2));
    assert_eq!(report.ignored_fields, [].into());
}

#[test]
fn our_own_episodes_come_back() {
    let own = crate::made::episode("own/1", &[0.5, 1.0]);
    let (read, _) = import(&format!("{}\n", serde_json::to_string(&own).unwrap())).unwrap();
    assert_eq!(read, [own]);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let good = r#"{"state": "a", "action": "x", "reward": 0, "done": false}"#;
    let second = |line: &str, reason: &str| refused(&format!("{good}\n{line}\n"), &format!("line 2, {reason}"));
    second("{", "the line: is no JSON: column 1: the row that begins here does not end");
    second("[1]", "the line: [1] where an object {...} should be");
    second(r#"{"action": "x"}"#, "observation or state or obs: missing");
    second(
        r#"{"satte": "b", "action": "x"}"#,
        "observation or state or obs: missing; besides what is known, there is satte, action",
    );
    second(r#"{"state": "b", "action": "x", "reward": "1"}"#, "reward: \"1\" where a finite number should be");
    second(r#"{"state": "b", "action": "x", "reward": 1e39}"#, "reward: 1e+39 where a finite number should be");
    second(r#"{"state": "b", "action": "x", "reward": 1, "done": 2}"#, "done: 2 where true, false, 1 or 0 should be");
    second(r#"{"state": "b", "action": "x", "reward": 1}"#, "done: missing, and episode_id too");
    second(r#"{"state": "b", "action": "x", "reward": 1, "done": true, "seed": -1}"#, "seed: -1 where a whole number");
    second(
        r#"{"state": "b", "action": "x", "reward": 1, "done": true, "log_prob": 0.5}"#,
        "log_probs: 0.5 is not a log-probability",
    );
    second(r#"{"states": ["b"], "actions": ["x"], "rewards": [1, 2]}"#, "rewards: 2 values where 1 should be");
    second(
        r#"{"states": ["b", "c"], "actions": ["x", "y"], "rewards": [1, 2], "dones": [true, true]}"#,
        "step 0, the end flag: ends the episode, and the trajectory goes on to step 1",
    );
    second(r#"{"steps": [{"state": "b", "action": "x", "reward": null}]}"#, "step 0, reward: missing");
    second(r#"{"turns": [{"observation": "b"}], "id": "x"}"#, "the episode: missing field `action`");
    second(r#"{"id": "x", "turns": []}"#, "step: the episode has no turns");
}

#[test]
fn transitions_out_of_order_are_noticed() {
    let lines = r#"{"state": "a", "action": "x", "reward": 0, "done": false, "next_state": "b"}
{"state": "q", "action": "x", "reward": 0, "done": false, "next_state": "r"}
"#;
    refused(lines, "line 2, state: \"q\", and by its next_state the line before led to \"b\"");
    let lines = r#"{"episode_id": 1, "state": "a", "action": "x", "reward": 0}
{"episode_id": 2, "state": "a", "action": "x", "reward": 0}
{"episode_id": 1, "state": "b", "action": "x", "reward": 0}
"#;
    refused(lines, "line 3, episode_id: \"run/1\" stands there a second time");
}

#[test]
fn several_files_become_one_log() {
    let (folder, to) = place();
    let line = r#"{"state": "a", "action": "x", "reward": 0, "done": true}"#;
    let inputs = ["one.jsonl", "two.jsonl"].map(|name| folder.path().join(name));
    for input in &inputs {
        std::fs::write(input, format!("{line}\n{line}")).unwrap();
    }
    let options = ImportOptions { policy_id: Some("p".to_string()), ..ImportOptions::default() };
    let report = import_jsonl(&inputs, &to, &options).unwrap();
    assert_eq!(report.episodes, 4);
    let read = episodes(&to);
    assert_eq!(read.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["one/0", "one/1", "two/0", "two/1"]);
    assert!(read.iter().all(|one| one.policy_id == "p"));
}

#[test]
fn a_list_of_messages_is_messages_and_every_other_value_a_text() {
    let messages = r#"[{"role":"user","content":"a","name":"ada"}]"#;
    let line = |state: &str| format!("{{\"state\": {state}, \"action\": \"x\", \"reward\": 0, \"done\": true}}\n");
    let as_text = format!("{messages:?}");
    let states = [messages, as_text.as_str(), "[0.5, 1]", r#"[{"role": "tree", "x": 1}]"#];
    let logged = "{\"observation_messages\": [{\"role\": \"user\", \"content\": \"a\", \"name\": \"ada\"}], \"action\": \"x\", \
                  \"reward\": 0, \"done\": true}\n";
    let (read, report) = import(&(states.map(line).concat() + logged)).unwrap();
    let parsed: Content = serde_json::from_str(messages).unwrap();
    let expected = [parsed.clone(), messages.into(), "[0.5,1]".into(), r#"[{"role":"tree","x":1}]"#.into(), parsed];
    assert_eq!(read.iter().map(|it| it.turns[0].observation.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(report.as_json, 2);

    let odd = line("\"a\"").replace("state\": \"a\"", "observation_messages\": \"a\"");
    refused(&odd, "line 1, observation_messages: ");
    let odd = line("\"a\"").replace("state\": \"a\"", "observation_messages\": [{\"content\": \"a\"}]");
    refused(&odd, "line 1, observation_messages: message 1: {\"content\":\"a\"} has no text `role`");
}
