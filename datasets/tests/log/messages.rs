//! Observations that are messages: columns of their own, and no guess at a text.

use std::sync::Arc;

use arrow_array::{ArrayRef, NullArray, StringArray};
use palestra_datasets::log::{Columns, LogWriter, ReadOptions, WriteOptions};
use palestra_datasets::{Content, End, Episode, Turn};

use crate::made::{episodes, place, try_open};
use crate::rules::{good, read, refused, with};

const JSON: &str = r#"[{"name":"ada","role":"user","content":[{"type":"text","text":"Time?","weight":0.1}]},{"role":"assistant","tool_calls":[{"id":"1","function":{"arguments":{"zone":null}}}]},{"role":"tool","content":"12:00"}]"#;

fn texts(values: [Option<&str>; 3]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn messages_and_texts_come_back_as_what_they_were() {
    let messages: Content = serde_json::from_str(JSON).unwrap();
    let seen = [messages.clone(), JSON.into(), "[1, 2, 3]".into(), Content::Messages(Vec::new()), "".into()];
    let turn = |observation: &Content| Turn { observation: observation.clone(), ..Turn::default() };
    for last in [Some(messages), Some(JSON.into()), None] {
        let episode = Episode {
            id: "a".into(),
            turns: seen.iter().map(turn).collect(),
            final_observation: last,
            end: Some(End::Truncated),
            ..Episode::default()
        };
        let (_folder, path) = place();
        let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
        writer.write(&episode).unwrap();
        writer.finish().unwrap();
        for columns in [Columns::All, Columns::Learning] {
            let back = episodes(&try_open(&path, ReadOptions { columns, ..ReadOptions::default() }).unwrap());
            assert_eq!(back, std::slice::from_ref(&episode));
            assert_eq!(
                serde_json::to_string(&back[0].turns[0].observation).unwrap(),
                JSON,
                "in the order of its fields"
            );
        }
        let rewards = ReadOptions { columns: Columns::Rewards, ..ReadOptions::default() };
        assert_eq!(episodes(&try_open(&path, rewards).unwrap())[0].turns.len(), 5);
    }
}

#[test]
fn a_log_without_columns_of_messages_has_texts_alone() {
    let read = read(with("observation", texts([Some(JSON), Some("[1]"), Some("z")]))).unwrap();
    assert_eq!([&read[0].turns[0], &read[0].turns[1]].map(|turn| turn.observation.clone()), [JSON, "[1]"]);
}

#[test]
fn a_row_has_a_text_or_messages() {
    let both = |observation: ArrayRef, messages| {
        let mut columns = with("observation", observation);
        columns.push(("observation_messages", texts(messages)));
        columns
    };
    let found = read(both(texts([Some("x"), None, Some("z")]), [None, Some(JSON), None])).unwrap();
    assert!(matches!(&found[0].turns[1].observation, Content::Messages(messages) if messages.len() == 3));
    assert_eq!(found[0].turns[0].observation, "x");
    let alone: Vec<_> = both(Arc::new(NullArray::new(3)), [Some(JSON); 3]);
    assert_eq!(read(alone.clone()).unwrap()[1].turns.len(), 1);
    let without = alone.into_iter().filter(|(name, _)| *name != "observation").collect();
    assert_eq!(read(without).unwrap()[1].turns.len(), 1);

    let xyz = || texts(["x", "y", "z"].map(Some));
    refused(both(xyz(), [None, Some(JSON), None]), "row 1 (row group 0), column observation_messages: stands beside");
    refused(
        both(texts([Some("x"), None, Some("z")]), [None; 3]),
        "row 1 (row group 0), column observation: null; every",
    );
    let odd = both(texts([None, Some("y"), Some("z")]), [Some(r#"[{"content": "a"}]"#), None, None]);
    refused(
        odd,
        "row 0 (row group 0), column observation_messages: is no JSON list of messages: {\"content\":\"a\"} has",
    );
    let mut columns = good();
    columns.push(("final_observation_messages", texts([None, Some("[1]"), None])));
    refused(columns, "row 1 (row group 0), column final_observation_messages: is no JSON list of messages: 1 where");
}
