//! Conversations in rows of published data sets, under the names that their tools give them.

use serde_json::{Map, Value};

use crate::error::shown;
use crate::{Content, Message};

/// Columns that a conversation is read from.
pub(crate) const COLUMNS: [&str; 8] =
    ["messages", "conversations", "instruction", "input", "output", "system", "history", "tools"];

/// An invalid column, and the reason.
type Wrong = (&'static str, String);

/// Removes the conversation from a row; `None` if it has none. `Err` gives the column and the problem.
///
/// A conversation is `messages`, or `conversations` (ShareGPT's, with `from` and `value`) with `system`?, or
/// `instruction`, `input`?, `output`?, `system`? and `history`? (Alpaca's).
///
/// ```
/// # use palestra_datasets::take_conversation;
/// let row = r#"{"instruction": "Add them.", "input": "1 and 2", "output": "3", "id": 7}"#;
/// let mut row = serde_json::from_str(row)?;
/// let messages = take_conversation(&mut row).unwrap().unwrap();
/// assert_eq!(messages.iter().map(ToString::to_string).collect::<Vec<_>>(), ["user: Add them.\n1 and 2", "assistant: 3"]);
/// assert_eq!(row.len(), 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn take_conversation(row: &mut Map<String, Value>) -> Result<Option<Vec<Message>>, Wrong> {
    if let Some(messages) = take(row, "messages") {
        return messages_of(messages).map(Some).map_err(|reason| ("messages", reason));
    }
    if let Some(messages) = take(row, "conversations") {
        let messages = messages_of(messages).map_err(|reason| ("conversations", reason))?;
        let has_system = messages.first().is_some_and(|message| message.role() == "system");
        let system = if has_system { None } else { text(row, "system")? };
        return Ok(Some(system_first(system).chain(messages).collect()));
    }
    let Some(instruction) = text(row, "instruction")? else { return Ok(None) };
    let (system, output) = (text(row, "system")?, text(row, "output")?);
    let question = match text(row, "input")? {
        Some(input) => format!("{instruction}\n{input}"),
        None => instruction,
    };
    let mut messages: Vec<Message> = system_first(system).collect();
    for turn in history(row)? {
        messages.extend(["user", "assistant"].into_iter().zip(turn).map(|(role, text)| Message::new(role, text)));
    }
    messages.push(Message::new("user", question));
    messages.extend(output.map(|output| Message::new("assistant", output)));
    Ok(Some(messages))
}

/// Parses messages. The column says that it holds messages, so a text in it is their JSON.
fn messages_of(value: Value) -> Result<Vec<Message>, String> {
    let value = match value {
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
            _ => return Err("is a text where a list of {\"role\", \"content\"} should be".to_string()),
        },
        value => value,
    };
    match Content::parse(value)? {
        Content::Messages(messages) if messages.is_empty() => Err("is an empty list, and no conversation".to_string()),
        content => Ok(content.to_messages("user")),
    }
}

/// Parses the turns before an instruction: pairs of a question and its answer.
fn history(row: &mut Map<String, Value>) -> Result<Vec<[String; 2]>, Wrong> {
    let Some(value) = take(row, "history") else { return Ok(Vec::new()) };
    serde_json::from_value(value.clone())
        .map_err(|_| ("history", format!("{} where a list of [question, answer] should be", shown(&value))))
}

/// Removes a text; an empty one counts as absent.
fn text(row: &mut Map<String, Value>, column: &'static str) -> Result<Option<String>, Wrong> {
    match take(row, column) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(other) => Err((column, format!("{} where a text should be", shown(&other)))),
    }
}

fn take(row: &mut Map<String, Value>, column: &str) -> Option<Value> {
    row.remove(column).filter(|value| !value.is_null())
}

fn system_first(system: Option<String>) -> impl Iterator<Item = Message> {
    system.map(|system| Message::new("system", system)).into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(row: Value) -> Result<Vec<String>, String> {
        let Value::Object(mut row) = row else { panic!("{row}") };
        let found = take_conversation(&mut row).map_err(|(column, reason)| format!("{column}: {reason}"))?;
        Ok(found.into_iter().flatten().map(|message| message.to_string()).collect())
    }

    #[test]
    fn published_names_are_read() {
        let chat = json!([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho", "weight": 1}]);
        let read = ["user: hi", "assistant: ho\n  weight: 1"];
        assert_eq!(taken(json!({"conversations": chat})).unwrap(), read);
        assert_eq!(taken(json!({"conversations": chat.to_string()})).unwrap(), read, "JSON in a column of texts");
        assert_eq!(taken(json!({"conversations": chat, "system": "be"})).unwrap()[0], "system: be");
        assert_eq!(taken(json!({"messages": chat})).unwrap(), read);
        let alpaca = json!({"instruction": "do", "input": "", "output": "done", "history": [["q", "a"]]});
        assert_eq!(taken(alpaca).unwrap(), ["user: q", "assistant: a", "user: do", "assistant: done"]);
        assert_eq!(taken(json!({"text": "a", "input": "b"})).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_conversation_is_named() {
        for (row, expected) in [
            (json!({"messages": "hi"}), "messages: is a text where a list of {\"role\", \"content\"} should be"),
            (json!({"messages": "[{\"role\": 1}]"}), "messages: message 1: {\"role\":1} has no text `role`"),
            (json!({"conversations": []}), "conversations: is an empty list"),
            (
                json!({"conversations": [{"from": "narrator", "value": "x"}]}),
                "conversations: message 1: {\"from\":\"narrator\",\"value\":\"x\"} is from none of human, gpt,",
            ),
            (json!({"instruction": 3}), "instruction: 3 where a text should be"),
            (json!({"instruction": "do", "history": ["q"]}), "history: [\"q\"] where a list of [question, answer]"),
        ] {
            let error = taken(row).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
