//! Import of human preference data as episodes.

use palestra_datasets::import::{ImportOptions, import_preferences};
use palestra_datasets::log::{Log, ReadOptions};
use palestra_datasets::{Content, End, Message};

#[test]
fn each_labelled_answer_is_an_episode_that_is_worth_what_people_said() {
    let directory = tempfile::tempdir().unwrap();
    let (input, to) = (directory.path().join("preferences.jsonl"), directory.path().join("preferences.parquet"));
    let lines = r#"{"prompt": "sky?", "chosen": "blue", "rejected": "red", "annotator": "ada"}
{"prompt": [{"role": "user", "content": "sky?"}], "completion": [{"role": "assistant", "content": "grey"}], "rating": 3}
{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "sea?"}], "completion": "wet", "rating": 5}
{"prompt": "sky?", "completion": "old", "rating": 1}
"#;
    std::fs::write(&input, lines).unwrap();
    let report = import_preferences(std::slice::from_ref(&input), &to, &ImportOptions::default()).unwrap();
    assert_eq!((report.episodes, report.terminated), (5, 5));
    let log = Log::open(&[to.display().to_string()], ReadOptions::default()).unwrap();
    let mut found = Vec::new();
    for located in log.episodes() {
        let episode = located.unwrap().episode;
        assert_eq!((episode.end, episode.reward_source.as_deref()), (Some(End::Terminated), Some("human")));
        let turn = &episode.turns[0];
        found.push((turn.observation.clone(), turn.action.clone(), turn.reward));
    }
    let talk = Content::Messages(vec![Message::new("system", "s"), Message::new("user", "sea?")]);
    let texts = [("sky?", "blue", 1.0), ("sky?", "grey", 0.0), ("sky?", "old", -1.0), ("sky?", "red", -1.0)];
    let mut expected: Vec<_> = texts.map(|(prompt, answer, reward)| (prompt.into(), answer.to_string(), reward)).into();
    expected.push((talk, "wet".to_string(), 1.0));
    assert_eq!(found, expected);

    std::fs::write(
        &input,
        lines.replace("blue", "red").replace("\"rejected\": \"red\"", "\"rejected\": \"blue\"") + lines,
    )
    .unwrap();
    let error =
        import_preferences(&[input], &directory.path().join("no.parquet"), &ImportOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("preferences.jsonl: annotator \"ada\" labelled the same answers twice"),
        "{error}"
    );
    assert!(!directory.path().join("no.parquet").exists());
}
