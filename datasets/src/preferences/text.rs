//! A text, or the messages of a conversation.

use crate::rows::shown;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Role of the author: `system`, `user`, `assistant`, ...
    pub role: String,
    /// Text of the message.
    pub content: String,
}

/// A text, or the messages of a conversation; in JSON a string, or a list of `{"role", "content"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// A plain text.
    Plain(String),
    /// Messages, in order.
    Messages(Vec<Message>),
}

/// Description of the input that [`Text::parse`] accepts, for errors.
pub(super) const RIGHT: &str = "a text, or a list of {\"role\", \"content\"}";

impl Text {
    /// Parses JSON; a single message counts as a list of one. `Err` gives the problem.
    pub fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Plain(text.clone())),
            Value::Array(messages) => messages.iter().map(message).collect::<Result<_, _>>().map(Self::Messages),
            Value::Object(_) => Ok(Self::Messages(vec![message(value)?])),
            _ => Err(format!("{} where {RIGHT} should be", shown(value))),
        }
    }

    /// True if there is no text or no message.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.is_empty(),
            Self::Messages(messages) => messages.is_empty(),
        }
    }
}

impl Text {
    /// Returns the text of an observation: a single user message as its content, other messages as a JSON list.
    /// [`Text::of_observation`] is the inverse.
    pub fn to_observation(&self) -> String {
        match self {
            Self::Plain(text) => match Self::of_observation(text) {
                Self::Plain(text) => text,
                Self::Messages(_) => json(&[Message { role: "user".into(), content: text.clone() }]),
            },
            Self::Messages(messages) => match messages.as_slice() {
                [Message { role, content }] if role == "user" => Self::Plain(content.clone()).to_observation(),
                messages => json(messages),
            },
        }
    }

    /// Parses an observation: a JSON list as messages, any other text as plain text.
    pub fn of_observation(text: &str) -> Self {
        let messages = text.starts_with('[').then(|| serde_json::from_str::<Vec<Message>>(text).ok()).flatten();
        messages.filter(|messages| !messages.is_empty()).map_or_else(|| Self::Plain(text.into()), Self::Messages)
    }
}

fn json(messages: &[Message]) -> String {
    serde_json::to_string(messages).expect("messages are texts")
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_string())
    }
}

/// Splits two whole conversations into their common prefix, the prompt, and the two answers.
///
/// Texts are split as in TRL's `extract_prompt`: before the first character in which they differ, and before a space
/// that precedes it. `Err` says why they cannot be split.
pub(super) fn split_prompt(chosen: &Text, rejected: &Text) -> Result<(Text, Text, Text), String> {
    match (chosen, rejected) {
        (Text::Plain(chosen), Text::Plain(rejected)) => {
            let same = chosen.chars().zip(rejected.chars()).take_while(|(left, right)| left == right);
            let mut end: usize = same.map(|(char, _)| char.len_utf8()).sum();
            if chosen[..end].ends_with(' ') {
                end -= 1;
            }
            let part = |text: &str| Text::Plain(text.to_string());
            Ok((part(&chosen[..end]), part(&chosen[end..]), part(&rejected[end..])))
        }
        (Text::Messages(chosen), Text::Messages(rejected)) => {
            let end = chosen.iter().zip(rejected).take_while(|(left, right)| left == right).count();
            let part = |messages: &[Message]| Text::Messages(messages.to_vec());
            Ok((part(&chosen[..end]), part(&chosen[end..]), part(&rejected[end..])))
        }
        _ => Err("is a text where the other answer is messages; both should be of one kind".to_string()),
    }
}

/// Parses a message; its content may be a list of parts `{"type": "text", "text": ...}`, as in OpenAI's format.
fn message(value: &Value) -> Result<Message, String> {
    let role = value["role"].as_str();
    let content = match &value["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part["text"].as_str()).collect::<Option<String>>(),
        _ => None,
    };
    match (role, content) {
        (Some(role), Some(content)) => Ok(Message { role: role.to_string(), content }),
        _ => Err(format!("{} where {{\"role\": \"...\", \"content\": \"...\"}} should be", shown(value))),
    }
}
