use super::*;

/// Writes a row to Parquet as another tool does, and reads it.
fn read_as_parquet(line: &serde_json::Value) -> Vec<Result<Record>> {
    let row = line.as_object().unwrap().clone();
    let names: Vec<String> = row.keys().cloned().collect();
    let batch = columns::batch_of(&names, &[row]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("labels.parquet");
    let out = std::fs::File::create(&file).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    read(&file).unwrap().collect()
}

/// Returns every format, with texts or messages, and the expected label.
fn every_form(text: fn(&str, &str) -> (serde_json::Value, Content)) -> Vec<(serde_json::Value, Preference)> {
    let [(ask, _), (good, chosen), (bad, rejected)] =
        [("user", "sky?"), ("assistant", "blue"), ("assistant", "red")].map(|(role, content)| text(role, content));
    let better = |margin| Preference::Better { chosen: chosen.clone(), rejected: rejected.clone(), margin };
    let label = |good| Preference::Label { completion: chosen.clone(), good };
    let steps = Preference::Steps { completions: vec![chosen.clone(), rejected.clone()], good: vec![true, false] };
    let best = Preference::Best { completions: vec![chosen.clone(), rejected.clone()], best: 0 };
    let rating = Preference::Rating { completion: chosen.clone(), rating: 4.0 };
    vec![
        (json!({"prompt": ask, "chosen": good, "rejected": bad}), better(None)),
        (json!({"prompt": ask, "chosen": good, "rejected": bad, "margin": 1.5}), better(Some(1.5))),
        (
            json!({"prompt": ask, "chosen": good, "rejected": bad, "tie": true}),
            Preference::Tie { answers: [chosen.clone(), rejected.clone()] },
        ),
        (json!({"prompt": ask, "completion": good, "label": true}), label(true)),
        (json!({"prompt": ask, "completion": good, "label": 0}), label(false)),
        (json!({"prompt": ask, "completions": [good, bad], "labels": [true, false]}), steps),
        (json!({"prompt": ask, "completions": [good, bad], "best": 0}), best),
        (json!({"prompt": ask, "completion": good, "rating": 4}), rating.clone()),
        (json!({"prompt": ask, "completion": good, "score": 4.0}), rating),
    ]
}

#[test]
fn every_form_is_read_from_lines_and_parquet_as_texts_and_as_messages() {
    let plain = |_: &str, content: &str| (json!(content), Content::from(content));
    let told = |role: &str, content: &str| (json!([{"role": role, "content": content}]), messages(&[(role, content)]));
    let named = |row: &serde_json::Value, column: &str| {
        let mut row = row.clone();
        row[column] = "ada".into();
        row
    };
    for (text, prompt) in [(plain as fn(&str, &str) -> _, plain("user", "sky?").1), (told, told("user", "sky?").1)] {
        for (row, preference) in every_form(text) {
            for column in ["annotator", "worker", "rater_id"] {
                let row = named(&row, column);
                let expected = by(
                    "ada",
                    Record { prompt: prompt.clone(), preference: preference.clone(), ..better("", "a", "b") },
                );
                assert_eq!(one(row.clone()), expected, "{row}");
                assert_eq!(read_as_parquet(&row).remove(0).unwrap(), expected, "{row} in Parquet");
            }
        }
    }
}

#[test]
fn the_columns_of_openai_and_implicit_prompts_are_read_from_parquet_too() {
    let ask = json!([{"role": "user", "content": "sky?"}]);
    let rows = [
        json!({"input": {"messages": ask}, "preferred_output": [{"role": "assistant", "content": "blue"}],
            "non_preferred_output": [{"role": "assistant", "content": "red"}]}),
        json!({"info": {"post": "sky?"}, "summaries": [{"text": "red", "policy": "a"}, {"text": "blue", "policy": "b"}],
            "choice": 1, "worker": "w"}),
        json!({"info": {"article": "sky?"}, "summaries": [{"text": "blue"}, {"text": "red"}], "choice": 0}),
        json!({"question": {"full_text": "sky?"}, "answer_0": "blue", "answer_1": "red", "score_0": 1.0, "score_1": -1.0}),
        json!({"chosen": "The sky is blue", "rejected": "The sky is red"}),
        json!({"chosen": [{"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}],
            "rejected": [{"role": "user", "content": "sky?"}, {"role": "assistant", "content": "red"}]}),
    ];
    for row in rows {
        let found = read_as_parquet(&row).remove(0).unwrap();
        assert_eq!(found, one(row.clone()), "{row}");
        let Preference::Better { chosen, .. } = &found.preference else { panic!("{found:?}") };
        assert!(serde_json::to_string(chosen).unwrap().contains("blue"), "{found:?}");
    }
}

#[test]
fn what_is_no_number_is_refused_wherever_a_number_should_be() {
    let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
    let single = json!({"prompt": "p", "completion": "a"});
    let web = json!({"question": "q", "answer_0": "x", "answer_1": "y", "score_0": 1.0, "score_1": 0.0});
    for (row, column) in [
        (&pair, "margin"),
        (&pair, "weight"),
        (&single, "rating"),
        (&single, "score"),
        (&web, "score_0"),
        (&web, "score_1"),
    ] {
        for value in [json!("NaN"), json!("good"), json!([1]), json!({})] {
            let mut row = row.clone();
            row[column] = value.clone();
            let error = refusal(&row);
            assert!(error.contains(&format!("{column}: {value} where a finite number should be")), "{error}");
        }
        // JSON has no literal for it, but Python writes one.
        let mut row = row.clone();
        row[column] = "?".into();
        let error = refusal(row.to_string().replace("\"?\"", "NaN"));
        assert!(error.contains("line 1, the line: is no JSON"), "{error}");
    }
    let error = refusal(json!({"prompt": "p", "completion": "a", "label": 0.5}));
    assert!(error.contains("label: 0.5 where"), "{error}");
    let error = refusal(json!({"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}));
    assert!(error.contains("choice: 2 where 0 or 1 should be"), "{error}");
}

#[test]
fn an_empty_file_says_so_in_either_format() {
    for text in ["", "\n\n"] {
        assert!(refusal(text).ends_with("is empty: it should have a row for each preference or prompt"));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("none.parquet");
    let batch = columns::batch_of(&["prompt".to_string()], &[]).unwrap();
    let out = std::fs::File::create(&file).unwrap();
    let writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), None).unwrap();
    writer.close().unwrap();
    let error = read(&file).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.ends_with("none.parquet: is empty: it should have a row for each preference or prompt"), "{error}");
}
