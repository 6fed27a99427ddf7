use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::Message;

mod every_form;

/// Writes a file of these lines in a directory of its own.
fn file(lines: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("labels.jsonl");
    std::fs::write(&file, lines).unwrap();
    (directory, file)
}

fn read_lines(lines: &str) -> Vec<Result<Record>> {
    let (_directory, file) = file(lines);
    read(&file).unwrap().collect()
}

fn one(line: serde_json::Value) -> Record {
    read_lines(&line.to_string()).remove(0).unwrap()
}

fn refusal(line: impl ToString) -> String {
    read_lines(&line.to_string()).remove(0).unwrap_err().to_string()
}

fn better(prompt: &str, chosen: &str, rejected: &str) -> Record {
    let preference = Preference::Better { chosen: chosen.into(), rejected: rejected.into(), margin: None };
    Record { prompt: prompt.into(), is_parted: false, preference, annotator: None, weight: 1.0, other: Map::new() }
}

fn messages(of: &[(&str, &str)]) -> Content {
    let message = |&(role, content): &(&str, &str)| Message::new(role, content);
    Content::Messages(of.iter().map(message).collect())
}

fn by(annotator: &str, record: Record) -> Record {
    Record { annotator: Some(annotator.to_string()), ..record }
}

#[test]
fn pairs_of_trl_with_the_prompt_apart_or_in_front_of_both() {
    assert_eq!(one(json!({"prompt": "sky", "chosen": " blue", "rejected": " red"})), better("sky", " blue", " red"));
    assert_eq!(
        one(json!({"chosen": "The sky is blue.", "rejected": "The sky is red."})),
        Record { is_parted: true, ..better("The sky is", " blue.", " red.") }
    );
    // The first character differs: the prompt is empty, and there is no character before it.
    let parted = Record { is_parted: true, ..better("", "é", "è") };
    assert_eq!(one(json!({"chosen": "é", "rejected": "è"})), parted);
    let ask = json!({"role": "user", "content": "Sky?"});
    let chat = |answer: &str| json!([ask, {"role": "assistant", "content": answer}]);
    for prompt in [json!(null), json!("Sky?")] {
        let record = one(json!({"prompt": prompt, "chosen": chat("Blue."), "rejected": chat("Red.")}));
        assert_eq!(record.prompt, messages(&[("user", "Sky?")]));
        let (chosen, rejected) = (messages(&[("assistant", "Blue.")]), messages(&[("assistant", "Red.")]));
        assert_eq!(record.preference, Preference::Better { chosen, rejected, margin: None });
    }
}

#[test]
fn margins_ties_labels_steps_and_ratings() {
    let record = one(
        json!({"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2, "rater_id": 7, "weight": 0.5, "topic": "t"}),
    );
    assert_eq!((record.annotator.as_deref(), record.weight), (Some("7"), 0.5));
    assert_eq!(record.other, json!({"topic": "t"}).as_object().unwrap().clone());
    assert!(matches!(record.preference, Preference::Better { margin: Some(2.0), .. }));
    let tie = Preference::Tie { answers: ["a".into(), "b".into()] };
    assert_eq!(one(json!({"prompt": "p", "chosen": "a", "rejected": "b", "tie": true})).preference, tie);
    let label = Preference::Label { completion: "a".into(), good: false };
    assert_eq!(one(json!({"prompt": "p", "completion": "a", "label": 0})).preference, label);
    let steps = Preference::Steps { completions: vec!["a".into(), "b".into()], good: vec![true, false] };
    assert_eq!(one(json!({"prompt": "p", "completions": ["a", "b"], "labels": [true, false]})).preference, steps);
    let rating = Preference::Rating { completion: "a".into(), rating: 3.7 };
    assert_eq!(one(json!({"prompt": "p", "completion": "a", "rating": 3.7})).preference, rating);
}

#[test]
fn the_columns_of_openai() {
    let tuning = one(json!({
        "input": {"messages": [{"role": "user", "content": "Sky?"}], "tools": []},
        "preferred_output": [{"role": "assistant", "content": [{"type": "text", "text": "Blue."}]}],
        "non_preferred_output": [{"role": "assistant", "content": "Red."}],
    }));
    assert_eq!(tuning.prompt, messages(&[("user", "Sky?")]));
    let Preference::Better { chosen, rejected, margin: None } = tuning.preference else { panic!("{tuning:?}") };
    assert_eq!((chosen.simplified("assistant"), rejected), ("Blue.".into(), messages(&[("assistant", "Red.")])));

    let summary = one(json!({
        "info": {"post": "long"}, "summaries": [{"text": "no", "policy": "a"}, {"text": "yes", "policy": "b"}],
        "choice": 1, "worker": "w",
    }));
    assert_eq!(Record { other: Map::new(), ..summary }, by("w", better("long", "yes", "no")));

    let web =
        json!({"question": {"full_text": "q"}, "answer_0": "x", "answer_1": "y", "score_0": -1.0, "score_1": 1.0});
    let preference = Preference::Better { chosen: "y".into(), rejected: "x".into(), margin: Some(2.0) };
    assert_eq!(one(web).preference, preference);
    let tie = one(json!({"question": "q", "answer_0": "x", "answer_1": "y", "score_0": 0, "score_1": 0}));
    assert!(matches!(tie.preference, Preference::Tie { .. }));
}

#[test]
fn whole_texts_are_parted_and_equal_ones_are_told() {
    let parted = one(json!({"chosen": "I think.", "rejected": "I thank."}));
    assert_eq!(parted, Record { is_parted: true, ..better("I th", "ink.", "ank.") });
    // One is the beginning of the other.
    let beginning = one(json!({"chosen": "It is. Yes.", "rejected": "It is."}));
    assert_eq!(beginning, Record { is_parted: true, ..better("It is.", " Yes.", "") });
    let equal = one(json!({"chosen": "a", "rejected": "a"}));
    assert!(equal.is_of_equals() && one(json!({"prompt": "p", "chosen": "a", "rejected": "a"})).is_of_equals());
    assert!(!parted.is_of_equals() && !one(json!({"prompt": "p", "chosen": "a", "rejected": "b"})).is_parted);
}

#[test]
fn of_conversations_one_may_be_the_beginning_of_the_other() {
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let short = [say("user", "Sky?"), say("assistant", "Blue.")];
    let long = [&short[..], &[say("user", "Sure?"), say("assistant", "Yes.")]].concat();
    let record = one(json!({"chosen": long, "rejected": short}));
    assert_eq!((record.prompt, record.is_parted), (messages(&[("user", "Sky?")]), false));
    let chosen = messages(&[("assistant", "Blue."), ("user", "Sure?"), ("assistant", "Yes.")]);
    let rejected = messages(&[("assistant", "Blue.")]);
    assert_eq!(record.preference, Preference::Better { chosen, rejected, margin: None });
    assert!(one(json!({"chosen": short, "rejected": short})).is_of_equals());
}

#[test]
fn tools_of_a_row_stand_in_the_first_message_of_its_prompt() {
    let tools = json!([{"type": "function", "function": {"name": "add"}}]);
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let answers = json!({"chosen": [say("assistant", "3")], "rejected": [say("assistant", "4")]});
    let with = |prompt: serde_json::Value, tools: serde_json::Value| {
        let mut row = answers.clone();
        (row["prompt"], row["tools"]) = (prompt, tools);
        one(row)
    };
    let prompt = json!([say("user", "1 + 2?")]);
    for written in [tools.clone(), tools.to_string().into()] {
        let record = with(prompt.clone(), written);
        let Content::Messages(messages) = &record.prompt else { panic!("{:?}", record.prompt) };
        assert_eq!((messages[0].tools(), record.other.len()), (Some(&tools), 0));
        assert_eq!(messages[0].without_tools(), Message::new("user", "1 + 2?"));
    }
    for none in [json!(null), json!([]), json!("")] {
        assert_eq!(with(prompt.clone(), none).prompt, messages(&[("user", "1 + 2?")]));
    }
    let wrong = refusal(json!({"prompt": prompt, "chosen": "a", "rejected": "b", "tools": "add"}));
    assert!(wrong.contains("line 1, tools: \"add\" where a list of tools"), "{wrong}");
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_column_and_the_rest_is_read() {
    let lines = "{\"prompt\": \"p\", \"completion\": \"a\", \"rating\": NaN}\n\n{\"prompt\": \"p\", \"completion\": \"a\", \"rating\": 1}\n";
    let read = read_lines(lines);
    let error = read[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("labels.jsonl: line 1, the line: is no JSON") && error.contains("NaN"), "{error}");
    assert!(read[1].is_ok());
    let cases = [
        (
            json!({"prompt": "p", "completion": "a", "rating": "good"}),
            "rating: \"good\" where a finite number should be",
        ),
        (json!({"prompt": "p", "chosen": "a"}), "rejected: missing; besides, there is prompt"),
        (json!({"prompt": 3, "chosen": "a", "rejected": "b"}), "prompt: 3 where a text, or a list of"),
        (
            json!({"prompt": "p", "chosen": [{"role": "user"}], "rejected": "b"}),
            "chosen: message 1: {\"role\":\"user\"} has no `content`",
        ),
        (
            json!({"prompt": "p", "completions": ["a"], "labels": [true, true]}),
            "labels: has 2 values for 1 completions",
        ),
        (json!({"prompt": "p", "completions": ["a", "b"], "best": 2}), "best: 2 where the number of one of"),
        (json!({"prompt": "p", "completions": ["a", "a"], "best": 0}), "completions: should hold at least two"),
        (json!({"prompt": "p", "completion": "a"}), "label: missing, and rating too"),
        (json!({"prompt": "p", "completion": "a", "label": 1, "weight": 0}), "weight: 0.0 where a number above 0"),
        (json!({"text": "p"}), "the columns: are text, which is no preference"),
        (json!([1]), "the line: 1 where an object"),
    ];
    for (line, expected) in cases {
        let error = refusal(line);
        assert!(error.contains("labels.jsonl: line 1, ") && error.contains(expected), "{error}");
    }
    assert!(refusal(" \n").contains("is empty"), "{}", refusal(" \n"));
}

#[test]
fn both_formats_hold_what_was_written() {
    let mut of_all_kinds = vec![
        by("ada", better("p", "a \"quoted\"\n", "b")),
        Record { preference: Preference::Tie { answers: ["a".into(), "b".into()] }, ..better("p", "", " ") },
        Record { preference: Preference::Label { completion: "é".into(), good: true }, ..better("p", "", " ") },
        Record { preference: Preference::Rating { completion: "a".into(), rating: 0.1 }, ..better("p", "", " ") },
        Record {
            preference: Preference::Best { completions: vec!["a".into(), "b".into()], best: 1 },
            ..better("p", "", " ")
        },
        Record {
            preference: Preference::Steps { completions: vec!["a".into()], good: vec![false] },
            ..better("p", "", " ")
        },
    ];
    of_all_kinds[0].other = json!({"seconds": 1.5, "item": 3, "policies": ["x", "y"]}).as_object().unwrap().clone();
    let chosen = messages(&[("user", "q"), ("assistant", "a")]);
    let preference = Preference::Better { chosen, rejected: messages(&[("user", "r")]), margin: Some(1.0) };
    let of_messages =
        vec![Record { prompt: messages(&[("user", "p")]), preference, weight: 0.25, ..better("", "", " ") }];
    let directory = tempfile::tempdir().unwrap();
    for (name, records) in [("kinds", of_all_kinds), ("messages", of_messages)] {
        for ending in ["jsonl", "parquet"] {
            let file = directory.path().join(format!("{name}.{ending}"));
            write(&file, &records).unwrap();
            let again: Vec<Record> = read(&file).unwrap().collect::<Result<_>>().unwrap();
            assert_eq!(again, records, "{name}.{ending}");
            let error = write(&file, &records).unwrap_err().to_string();
            assert!(error.contains("there is a file already"), "{error}");
        }
    }
}

#[test]
fn parquet_says_which_row_holds_nan_and_which_column_two_kinds() {
    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let ratings: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
    let columns = [("prompt", text.clone()), ("completion", text), ("rating", ratings)];
    let batch = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nan.parquet");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let records: Vec<_> = read(&path).unwrap().collect();
    assert!(records[0].is_ok());
    let error = records[1].as_ref().unwrap_err().to_string();
    assert!(error.ends_with("nan.parquet: row 1, column rating: NaN where a finite number should be"), "{error}");

    let mixed = [better("p", "a", "b"), Record { prompt: messages(&[("user", "p")]), ..better("", "a", "b") }];
    let error = write(&directory.path().join("mixed.parquet"), &mixed).unwrap_err().to_string();
    assert!(error.contains("column prompt holds values of several kinds"), "{error}");
}

#[test]
fn bytes_of_an_answer_are_text_and_those_of_an_image_are_left_out() {
    use arrow_array::{ArrayRef, BinaryArray};
    use std::sync::Arc;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bytes.parquet");
    let bytes =
        |first: &'static [u8], second: &'static [u8]| Arc::new(BinaryArray::from(vec![first, second])) as ArrayRef;
    let image = bytes(b"\x89PNG", b"note");
    let columns = [
        ("prompt", bytes(b"p", b"p")),
        ("chosen", bytes(b"a", b"caf\xe9")),
        ("rejected", bytes(b"b", b"b")),
        ("image", image),
    ];
    let batch = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let records: Vec<_> = read(&path).unwrap().collect();
    assert_eq!(*records[0].as_ref().unwrap(), better("p", "a", "b"));
    let error = records[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("bytes.parquet: row 1, column chosen: byte 3 of 4 (0xe9) is no UTF-8"), "{error}");
}

#[test]
fn the_majority_decides_and_shares_add_up() {
    let for_a = || better("p", "a", "b");
    let for_b = || better("p", "b", "a");
    let votes = || vec![by("1", for_a()), by("2", for_b()), by("3", for_a()), better("q", "a", "b")];
    let majority = resolve(votes(), Rule::Majority).unwrap();
    assert_eq!(majority, Resolved { records: vec![for_a(), better("q", "a", "b")], conflicts: 1, dropped: 0 });
    let shares: Vec<f64> = resolve(votes(), Rule::Share).unwrap().records.iter().map(|record| record.weight).collect();
    assert_eq!(shares, [2.0 / 3.0, 1.0 / 3.0, 1.0]);
    // Equal weight for both: a tie of pairs, and no decision for labels.
    let even = resolve([by("1", for_a()), by("2", for_b())], Rule::Majority).unwrap();
    assert!(matches!(even.records[0].preference, Preference::Tie { .. }));
    let label =
        |good| Record { preference: Preference::Label { completion: "a".into(), good }, ..better("p", "", " ") };
    let even = resolve([label(true), label(false)], Rule::Majority).unwrap();
    assert_eq!(even, Resolved { records: vec![], conflicts: 1, dropped: 1 });
    let rating =
        |rating| Record { preference: Preference::Rating { completion: "a".into(), rating }, ..better("p", "", " ") };
    for (ratings, expected) in [(vec![5.0, 1.0, 4.0], 4.0), (vec![1.0, 4.0], 2.5), (vec![1.0, 1.0, 5.0], 1.0)] {
        let median = resolve(ratings.iter().map(|of| rating(*of)), Rule::Majority).unwrap();
        assert_eq!(median.records, [rating(expected)]);
    }
}

#[test]
fn a_person_who_says_two_things_is_asked_which() {
    let error = resolve([by("ada", better("p", "a", "b")), by("ada", better("p", "b", "a"))], Rule::Share).unwrap_err();
    assert!(
        error.contains("\"ada\" labelled the same answers twice, and not alike: chosen \"a\" and chosen \"b\""),
        "{error}"
    );
    let once = resolve([by("ada", better("p", "a", "b")), by("ada", better("p", "a", "b"))], Rule::Share).unwrap();
    assert_eq!((once.records.len(), once.conflicts), (1, 0));
}

#[test]
fn rows_of_csv_are_those_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let of_csv = |text: &str| {
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, text).unwrap();
        read(&file).unwrap().collect::<Vec<_>>()
    };
    let pairs = of_csv("prompt,chosen,rejected,margin\np,a,\"b, c\",\nq,a,b,0.5\n");
    assert_eq!(*pairs[0].as_ref().unwrap(), better("p", "a", "b, c"));
    assert_eq!(*pairs[1].as_ref().unwrap(), one(json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5})));
    let labels = of_csv("prompt,completion,label\np,3,True\np,b,0\np,c,good\n");
    assert_eq!(*labels[0].as_ref().unwrap(), one(json!({"prompt": "p", "completion": "3", "label": true})));
    assert_eq!(*labels[1].as_ref().unwrap(), one(json!({"prompt": "p", "completion": "b", "label": false})));
    let told = labels[2].as_ref().unwrap_err().to_string();
    assert!(told.ends_with("labels.csv: line 4, label: \"good\" where true or false should be"), "{told}");
}
