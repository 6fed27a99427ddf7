//! Reading of examples from JSON lines and Parquet, in every form, with errors that name the problem.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use palestra_datasets::Message;
use palestra_datasets::examples::{Example, Examples, Form, Lesson, RowPlace};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

fn read(path: &Path, form: Form) -> Result<Vec<Example>, String> {
    let examples = Examples::open(&[path.display().to_string()], form).map_err(|error| error.to_string())?;
    examples.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Returns the lesson of one line of JSON.
fn lesson_of(line: &Value, form: Form) -> Result<Lesson, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, line.to_string()).unwrap();
    let told = |error: String| error.split_once("a.jsonl: ").map_or(error.clone(), |(_, reason)| reason.to_string());
    read(&path, form).map(|mut examples| examples.remove(0).lesson).map_err(told)
}

fn says(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Returns a column of conversations as pyarrow builds it: structs with all fields, null if a message lacks one.
fn conversations(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let fields = ["role", "content", "name"].map(|name| Field::new(name, DataType::Utf8, true));
    let mut list = ListBuilder::new(StructBuilder::from_fields(fields.to_vec(), 0));
    for row in rows {
        for (role, content) in *row {
            let message = list.values();
            for (at, text) in [Some(*role), Some(*content), None].into_iter().enumerate() {
                message.field_builder::<StringBuilder>(at).unwrap().append_option(text);
            }
            message.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

#[test]
fn every_form_is_read() {
    let continuation = |prompt: &str, completion: &str| Lesson::Continuation {
        prompt: prompt.to_string(),
        completion: completion.to_string(),
    };
    let conversation = |messages: &[Value], from| {
        let messages = messages.iter().map(|message| Message::parse(message.clone()).unwrap()).collect();
        Lesson::Conversation { messages, from }
    };
    let (ask, answer) = (says("user", "hi"), says("assistant", "ho"));
    let both = [ask.clone(), answer.clone()];
    for (line, form, expected) in [
        (json!({"text": "a", "id": 3}), Form::Text, Lesson::Text("a".into())),
        (json!({"messages": both}), Form::Messages, conversation(&both, 0)),
        (json!({"prompt": "a", "completion": "b"}), Form::Completion, continuation("a", "b")),
        (json!({"prompt": [ask], "completion": [answer]}), Form::Completion, conversation(&both, 1)),
        (json!({"prompt": [ask], "completion": "ho"}), Form::Completion, conversation(&both, 1)),
        (json!({"prompt": "hi", "completion": [answer]}), Form::Completion, conversation(&both, 1)),
        (json!({"prompt": "a", "chosen": "b", "rejected": "c"}), Form::Chosen, continuation("a", "b")),
        (json!({"prompt": [ask], "chosen": [answer], "rejected": []}), Form::Chosen, conversation(&both, 1)),
        (json!({"prompt": "hi", "chosen": both, "rejected": 1}), Form::Chosen, conversation(&both, 1)),
        (json!({"prompt": [ask], "chosen": both}), Form::Chosen, conversation(&both, 1)),
        (json!({"prompt": null, "chosen": both}), Form::Chosen, conversation(&both, 1)),
    ] {
        assert_eq!(lesson_of(&line, form), Ok(expected), "{line}");
    }
}

#[test]
fn messages_keep_what_templates_read_and_lose_what_is_null() {
    let call = json!({"role": "assistant", "content": null, "name": null, "tool_calls": [{"id": 1}]});
    let parts = json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
    let Ok(Lesson::Conversation { messages, .. }) = lesson_of(&json!({"messages": [parts, call]}), Form::Messages)
    else {
        panic!("no conversation")
    };
    assert_eq!(messages[0].text(), "ab");
    assert_eq!(json!(messages[1]), json!({"role": "assistant", "content": null, "tool_calls": [{"id": 1}]}));
}

#[test]
fn tools_of_a_row_stand_in_the_first_message() {
    let (ask, answer) = (says("user", "1 + 2?"), says("assistant", "3"));
    let tools = json!([{"type": "function", "function": {"name": "add"}}]);
    let rows = [
        (json!({"messages": [ask, answer], "tools": tools}), Form::Messages),
        (json!({"prompt": [ask], "completion": [answer], "tools": tools.to_string()}), Form::Completion),
        (json!({"prompt": [ask], "chosen": [ask, answer], "tools": tools}), Form::Chosen),
        (json!({"chosen": [ask, answer], "tools": tools}), Form::Chosen),
    ];
    for (row, form) in rows {
        let Ok(Lesson::Conversation { messages, .. }) = lesson_of(&row, form) else { panic!("{row}") };
        assert_eq!((messages.len(), messages[0].tools()), (2, Some(&tools)), "{row}");
    }
    let prompt: palestra_datasets::Content = serde_json::from_value(json!([ask])).unwrap();
    let whole: palestra_datasets::Content = serde_json::from_value(json!([ask, answer])).unwrap();
    let lesson = Lesson::of_answer(&prompt.with_tools(tools.clone()).unwrap(), &whole).unwrap();
    let Lesson::Conversation { messages, from } = lesson else { panic!("{lesson:?}") };
    assert_eq!((messages.len(), messages[0].tools(), from), (2, Some(&tools), 1), "the answer repeats the prompt");
    let wrong = lesson_of(&json!({"messages": [ask, answer], "tools": 3}), Form::Messages).unwrap_err();
    assert!(wrong.contains("tools: 3"), "{wrong}");
}

#[test]
fn parquet_and_lines_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (parquet, lines) = (folder.path().join("a.parquet"), folder.path().join("a.jsonl"));
    let rows: &[&[(&str, &str)]] = &[&[("user", "hi"), ("assistant", "\"ho\"\n")], &[("system", "be"), ("user", "é")]];
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    write_parquet(&parquet, vec![("id", ids), ("messages", conversations(rows))]);
    let line = |row: &&[(&str, &str)]| {
        let messages: Vec<Value> = row.iter().map(|(role, content)| says(role, content)).collect();
        json!({ "messages": messages }).to_string() + "\n\n"
    };
    std::fs::write(&lines, rows.iter().map(line).collect::<String>()).unwrap();
    let [of_parquet, of_lines] = [&parquet, &lines].map(|path| read(path, Form::Messages).unwrap());
    let lessons = |examples: &[Example]| examples.iter().map(|example| example.lesson.clone()).collect::<Vec<_>>();
    assert_eq!(lessons(&of_parquet), lessons(&of_lines));
    let places = |examples: &[Example]| examples.iter().map(|example| example.origin.place).collect::<Vec<_>>();
    assert_eq!(places(&of_parquet), [RowPlace::Row(0), RowPlace::Row(1)]);
    assert_eq!(places(&of_lines), [RowPlace::Line(1), RowPlace::Line(3)]);
}

#[test]
fn a_row_that_teaches_nothing_is_named_with_its_column() {
    let (ask, answer) = (says("user", "hi"), says("assistant", "ho"));
    for (line, form, reason) in [
        (json!({"body": "a"}), Form::Text, "line 1, text: is missing; the row has [\"body\"]"),
        (json!({"text": null}), Form::Text, "line 1, text: is missing; the row has []"),
        (json!({"prompt": "a", "answer": "b"}), Form::Completion, "line 1, completion: is missing; the row has"),
        (json!({"text": 3}), Form::Text, "line 1, text: 3 where a text, or a list of"),
        (json!({"messages": "hi"}), Form::Messages, "line 1, messages: is a text where a list of"),
        (json!({"messages": []}), Form::Messages, "line 1, messages: is an empty list"),
        (json!({"messages": [ask, "ho"]}), Form::Messages, "line 1, messages: message 2: \"ho\" where"),
        (
            json!({"messages": [{"content": "hi"}]}),
            Form::Messages,
            "line 1, messages: message 1: {\"content\":\"hi\"} has",
        ),
        (
            json!({"messages": [{"role": "user", "content": 3}]}),
            Form::Messages,
            "line 1, messages: message 1: {\"role\":\"user\",\"content\":3} has a `content` that is neither",
        ),
        (json!({"prompt": [ask], "completion": [ask]}), Form::Completion, "line 1, completion: has no message of the"),
        (
            json!({"chosen": [answer, ask]}),
            Form::Chosen,
            "line 1, chosen: does not end with a message of the assistant",
        ),
        (json!({"chosen": "a"}), Form::Chosen, "line 1, chosen: is a text without a `prompt`"),
        (json!([1]), Form::Text, "line 1, the line: 1 where an object {...} should be"),
    ] {
        let error = lesson_of(&line, form).unwrap_err();
        assert!(error.starts_with(reason), "{error} is not {reason}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.jsonl"), "{\"text\": \"a\"}\n{\"text\"\n").unwrap();
    std::fs::write(at("b.parquet"), "PAR1 or not").unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    write_parquet(&at("c.parquet"), vec![("text", texts)]);
    for (name, form, part) in [
        ("a.jsonl", Form::Text, "a.jsonl: line 2, the line: is no JSON"),
        ("b.parquet", Form::Text, "b.parquet: "),
        ("c.parquet", Form::Messages, "c.parquet: it has no column messages; its columns are text"),
        ("c.parquet", Form::Text, "c.parquet: row 1, column text: is missing"),
        ("d.jsonl", Form::Text, "d.jsonl: no such file or folder"),
    ] {
        let error = read(&at(name), form).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    std::fs::write(at("e.jsonl"), "\n").unwrap();
    assert_eq!(read(&at("e.jsonl"), Form::Text), Ok(Vec::new()), "who reads it says that it is empty");
}

#[test]
fn bytes_are_text_or_refused_with_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let bytes = |second: &'static [u8]| Arc::new(BinaryArray::from(vec!["é".as_bytes(), second])) as ArrayRef;
    write_parquet(&path, vec![("text", bytes(b"b")), ("image", bytes(b"\x89PNG"))]);
    assert_eq!(read(&path, Form::Text).unwrap()[0].lesson, Lesson::Text("é".to_string()));
    write_parquet(&path, vec![("text", bytes(b"caf\xe9"))]);
    let error = read(&path, Form::Text).unwrap_err();
    assert!(error.ends_with("a.parquet: row 1, column text: byte 3 of 4 (0xe9) is no UTF-8; a text in UTF-8 is right"));

    // A column that says messages holds their JSON.
    let messages = json!([says("user", "hi"), says("assistant", "ho")]).to_string();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![messages]));
    write_parquet(&path, vec![("messages", texts)]);
    let Lesson::Conversation { messages, .. } = &read(&path, Form::Messages).unwrap()[0].lesson else { panic!() };
    assert_eq!(messages.len(), 2);
}

#[test]
fn rows_of_sharegpt_and_alpaca_are_conversations() {
    let expected = |messages: &[Value]| {
        let messages = messages.iter().map(|message| Message::parse(message.clone()).unwrap()).collect();
        Ok(Lesson::Conversation { messages, from: 0 })
    };
    let both = [says("user", "hi"), says("assistant", "ho")];
    let sharegpt = json!({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]});
    assert_eq!(lesson_of(&sharegpt, Form::Messages), expected(&both));
    let alpaca = json!({"instruction": "hi", "input": "", "output": "ho"});
    assert_eq!(lesson_of(&alpaca, Form::Messages), expected(&both));
    let error = lesson_of(&json!({"instruction": "hi"}), Form::Messages).unwrap_err();
    assert!(error.starts_with("line 1, output: is missing"), "{error}");
}
