use palestra_envs::{Registry, RewardDefinition, Turn};
use palestra_labels::{Label, Verdict};
use palestra_model::Device;

use super::*;
use crate::reward::with_kinds;

/// Builds the reward of a TOML table, with paths relative to a folder.
fn reward(folder: &Path, toml: &str) -> Result<palestra_envs::reward::Rewards> {
    let text = format!("kind = \"labels\"\n[options]\n{toml}");
    let definition: RewardDefinition = palestra_settings::parse_toml("run.toml", &text)?;
    let mut definition = definition.written_in("run.toml", &text, "");
    definition.seen_from(folder);
    with_kinds(&Registry::builtin(), &Device::flex(), Arc::default()).rewards([&definition])
}

fn refusal(folder: &Path, toml: &str) -> String {
    reward(folder, toml).map(|_| ()).unwrap_err().to_string()
}

fn episode(turns: &[(&str, &str)]) -> Episode {
    let turn = |&(observation, action): &(&str, &str)| Turn {
        observation: observation.into(),
        action: action.into(),
        ..Turn::default()
    };
    Episode { id: "e".into(), policy_id: "run".into(), turns: turns.iter().map(turn).collect(), ..Episode::default() }
}

fn scores(folder: &Path, toml: &str, mut episodes: Vec<Episode>) -> Vec<Option<f32>> {
    let scored = reward(folder, toml).unwrap().score(&mut episodes).unwrap();
    scored.iter().map(|scored| scored.scores["labels"]).collect()
}

fn folder_with(file: &str, lines: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(file), lines).unwrap();
    folder
}

#[test]
fn files_score_what_they_label() {
    let folder = folder_with(
        "preferences.jsonl",
        r#"{"prompt": "sky?", "chosen": "blue", "rejected": "red"}
{"prompt": [{"role": "user", "content": "sky?"}], "chosen": [{"role": "assistant", "content": "blue"}], "rejected": [{"role": "assistant", "content": "green"}]}
{"prompt": "sea?", "completion": "wet", "rating": 1}
{"prompt": "sea?", "completion": "salt", "rating": 3}
{"prompt": "sun?", "completion": "hot", "label": true}
{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": "d", "label": false}
"#,
    );
    let asked =
        [("sky?", "blue"), ("sky?", "red"), ("sea?", "wet"), ("sea?", "salt"), ("sun?", "hot"), ("sun?", "cold")];
    let mut episodes: Vec<Episode> = asked.iter().map(|turn| episode(&[*turn])).collect();
    episodes.push(episode(&[("a", "b"), ("c", "d")]));
    let expected = [Some(1.0), Some(-1.0), Some(-1.0), Some(1.0), Some(1.0), None, Some(-1.0)];
    let options = "files = [\"preferences.jsonl\"]";
    let error = reward(folder.path(), options).unwrap().score(&mut episodes.clone()).unwrap_err().to_string();
    assert!(error.contains("has no score; missing = \"drop\" leaves out such episodes"), "{error}");
    let files = LabelOptions {
        files: vec![folder.path().join("preferences.jsonl").display().to_string()],
        ..Default::default()
    };
    let known = read_scores(&files).unwrap();
    let found: Vec<_> = episodes.iter().map(|episode| score_of(&known, episode)).collect();
    assert_eq!(found, expected);
    episodes.remove(5);
    assert_eq!(scores(folder.path(), options, episodes)[5], Some(-1.0));
    let scaled = scores(folder.path(), "files = [\"*.jsonl\"]\nscale = [1, 5]", vec![episode(&[("sea?", "salt")])]);
    assert_eq!(scaled, [Some(0.0)]);
}

#[test]
fn people_who_differ_are_averaged_or_outvoted() {
    let line = |who: &str, good: bool| {
        format!("{{\"prompt\": \"p\", \"completion\": \"a\", \"label\": {good}, \"annotator\": \"{who}\"}}\n")
    };
    let folder = folder_with("preferences.jsonl", &[line("ada", true), line("ben", true), line("cyd", false)].concat());
    let score = |rule: &str| {
        scores(folder.path(), &format!("files = [\"preferences.jsonl\"]\n{rule}"), vec![episode(&[("p", "a")])])[0]
            .unwrap()
    };
    assert!((score("") - 1.0 / 3.0).abs() < 1e-6);
    assert_eq!(score("conflicts = \"majority\""), 1.0);
    assert!((score("conflicts = \"all\"") - 1.0 / 3.0).abs() < 1e-6);
}

#[test]
fn what_is_no_label_is_refused_when_the_run_begins() {
    let twice = "{\"prompt\": \"p\", \"completion\": \"a\", \"label\": true, \"annotator\": \"ada\"}\n\
        {\"prompt\": \"p\", \"completion\": \"a\", \"label\": false, \"annotator\": \"ada\"}\n";
    let folder = folder_with("twice.jsonl", twice);
    for (file, text) in [
        ("empty.jsonl", ""),
        ("nan.jsonl", "{\"prompt\": \"p\", \"completion\": \"a\", \"rating\": NaN}\n"),
        ("rated.jsonl", "{\"prompt\": \"p\", \"completion\": \"a\", \"rating\": 9}\n"),
        ("text.db", "no store at all, but a text that is long enough to be read as one"),
    ] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let cases = [
        ("", "missing: name files of preferences, or a label store in `store`"),
        ("files = [\"none.jsonl\"]", "none.jsonl"),
        ("files = [\"empty.jsonl\"]", "empty.jsonl: is empty"),
        ("files = [\"nan.jsonl\"]", "nan.jsonl: line 1, the line: is no JSON"),
        (
            "files = [\"twice.jsonl\"]",
            "\"ada\" labelled the same answers twice, and not alike: label true and label false",
        ),
        ("files = [\"rated.jsonl\"]\nscale = [1, 5]", "rating 9 is outside of the scale, 1 to 5"),
        ("files = [\"rated.jsonl\"]\nstore = \"a.db\"", "there are files too"),
        ("files = [\"rated.jsonl\"]\ntimeout = 1", "files are not waited for"),
        ("store = \"a.db\"\nscale = [1, 2]", "ratings of a label store are from 1 to 5"),
        ("store = \"a.db\"\ntimeout = 0", "0 is no number of minutes above 0"),
        ("store = \"nowhere/a.db\"", "there is no folder"),
        ("store = \"text.db\"", "is no label store"),
        ("stores = \"a.db\"", "store"),
    ];
    for (toml, expected) in cases {
        let error = refusal(folder.path(), toml);
        assert!(error.contains(expected), "{toml}: {error}");
    }
    assert!(!folder.path().join("a.db").exists());
}

#[test]
fn labels_of_other_answers_are_told_with_one_that_was_written() {
    let folder = folder_with("preferences.jsonl", "{\"prompt\": \"p\", \"completion\": \"a\", \"label\": true}\n");
    let rewards = reward(folder.path(), "files = [\"preferences.jsonl\"]").unwrap();
    let error = rewards.score(&mut [episode(&[("p", "b")])]).unwrap_err().to_string();
    assert!(
        error.ends_with("preferences.jsonl: none of 1 answers is labelled; the first is \"b\" to \"p\""),
        "{error}"
    );
}

#[test]
fn people_are_asked_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.db");
    let ask = {
        let folder = folder.path().to_path_buf();
        move || {
            let episodes = ["a", "b", "a"].map(|answer| episode(&[("p", answer)])).to_vec();
            scores(&folder, "store = \"labels.db\"", episodes)
        }
    };
    let asking = std::thread::spawn(ask.clone());
    while !file.exists()
        || Store::open(&file)
            .and_then(|mut store| {
                let ada = store.annotator("ada")?;
                store.next(&ada)
            })
            .unwrap()
            .is_none()
    {
        sleep(Duration::from_millis(5));
    }
    assert!(!asking.is_finished());
    let mut store = Store::open(&file).unwrap();
    let ada = store.annotator("ada").unwrap();
    let task = store.next(&ada).unwrap().unwrap();
    let answer = task.answers.iter().position(|answer| *answer == "b").unwrap();
    store.submit(&ada, task.item, &Label::of(Verdict::Best { answer }), 1.0).unwrap();
    assert_eq!(asking.join().unwrap(), [Some(-1.0), Some(1.0), Some(-1.0)]);
    assert_eq!(ask(), [Some(-1.0), Some(1.0), Some(-1.0)], "nothing is asked twice");
    assert_eq!(store.labelled().unwrap()[0].answers[0].policy.as_deref(), Some("run 0"));
}

#[test]
fn waiting_ends_by_a_stop_or_a_limit_and_what_was_asked_stays() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = reward(folder.path(), "store = \"labels.db\"\ntimeout = 0.0001").unwrap();
    let error = rewards.score(&mut [episode(&[("p", "a")])]).unwrap_err().to_string();
    assert!(error.contains("after 0.0001 minutes 1 of 1 items wait for people, and stay in "), "{error}");
    assert!(error.ends_with("go on with --resume when they are labelled"), "{error}");

    let store = folder.path().join("labels.db");
    let stopped = AskedPeople { store: store.clone(), timeout: None, stop: Arc::new(AtomicBool::new(true)) };
    let error = stopped.score(&[episode(&[("p", "a")])]).unwrap_err().to_string();
    assert!(error.contains("stopped: 1 of 1 items wait for people"), "{error}");
    assert_eq!(Store::open(&store).unwrap().waiting(&[1]).unwrap(), 1);
}
