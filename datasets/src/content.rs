//! Content of observations, prompts and answers: a text, or the messages of a conversation.
//!
//! The kind is a type and never guessed: a text that looks like JSON is a text.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Message;
use crate::error::shown;

/// A text, or the messages of a conversation; in JSON a string, or a list of `{"role", "content", ...}`.
///
/// ```
/// # use palestra_datasets::Content;
/// let [text, messages] = [r#""[1, 2]""#, r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]"#];
/// assert_eq!(serde_json::from_str::<Content>(text)?, Content::from("[1, 2]"));
/// let messages: Content = serde_json::from_str(messages)?;
/// assert_eq!(messages.to_string(), "system: Be brief.\nuser: Hi");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum Content {
    /// A plain text.
    Text(String),
    /// Messages, in order.
    Messages(Vec<Message>),
}

/// Description of the JSON that [`Content::parse`] accepts, for errors.
pub(crate) const RIGHT: &str = "a text, or a list of {\"role\", \"content\"}";

impl Content {
    /// Parses JSON; a single message counts as a list of one. `Err` gives the problem.
    pub fn parse(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(messages) => {
                let messages = messages.into_iter().enumerate();
                let parsed = messages
                    .map(|(at, value)| Message::parse(value).map_err(|reason| format!("message {}: {reason}", at + 1)));
                parsed.collect::<Result<_, _>>().map(Self::Messages)
            }
            Value::Object(_) => Ok(Self::Messages(vec![Message::parse(value)?])),
            other => Err(format!("{} where {RIGHT} should be", shown(&other))),
        }
    }

    /// Returns it with the tools that its messages may call, as a column `tools` has them: a list, the JSON of one, or
    /// null. A text is no conversation and has none. `Err` gives the problem.
    pub fn with_tools(mut self, tools: Value) -> Result<Self, String> {
        if let Self::Messages(messages) = &mut self
            && let Some((first, tools)) = messages.first_mut().zip(parse_tools(tools)?)
        {
            first.set_tools(tools);
        }
        Ok(self)
    }

    /// True if there is no text or no message.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Messages(messages) => messages.is_empty(),
        }
    }

    /// Returns it as one text, for people and for models without a chat template. Messages are lines `role: text`, with
    /// a line for each further field; a single message of plain text is that text.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Messages(messages) => match messages.as_slice() {
                [message] if message.further().next().is_none() => message.text(),
                messages => messages.iter().map(Message::to_string).collect::<Vec<_>>().join("\n").into(),
            },
        }
    }

    /// Returns the messages; a text is one message of `role`.
    pub fn to_messages(&self, role: &str) -> Vec<Message> {
        match self {
            Self::Text(text) => vec![Message::new(role, text)],
            Self::Messages(messages) => messages.clone(),
        }
    }

    /// Returns a single plain message of `role` as its text, and anything else as it is: the two are the same prompt,
    /// or the same answer.
    pub fn simplified(&self, role: &str) -> Self {
        match self {
            Self::Messages(messages) => match messages.as_slice() {
                [message] if message.role() == role && message.further().next().is_none() => {
                    Self::Text(message.text().into_owned())
                }
                _ => self.clone(),
            },
            Self::Text(_) => self.clone(),
        }
    }

    /// Returns JSON for hashes and for sorting, equal for equal contents: fields of messages in one order.
    pub fn canonical_json(&self) -> String {
        let in_order = |message: &Message| -> Value {
            let mut further: Vec<_> = message.further().collect();
            further.sort_unstable_by_key(|(name, _)| *name);
            let first = ["role", "content"].into_iter().filter_map(|name| message.fields().get_key_value(name));
            first.chain(further).map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
        };
        match self {
            Self::Text(text) => Value::from(text.as_str()).to_string(),
            Self::Messages(messages) => messages.iter().map(in_order).collect::<Value>().to_string(),
        }
    }

    /// Returns the number of bytes of its text, or of its messages as JSON.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Messages(messages) => serde_json::to_string(messages).map_or(0, |json| json.len()),
        }
    }
}

/// Parses a column `tools`; `None` if there are none.
pub(crate) fn parse_tools(tools: Value) -> Result<Option<Value>, String> {
    let right = "a list of tools such as [{\"type\": \"function\", \"function\": {...}}], or its JSON, should be";
    let wrong = |found: &Value| format!("{} where {right}", shown(found));
    match tools {
        Value::Null => Ok(None),
        Value::Array(tools) if tools.is_empty() => Ok(None),
        Value::Array(ref list) if list.iter().all(Value::is_object) => Ok(Some(tools)),
        Value::String(ref text) if text.trim().is_empty() => Ok(None),
        Value::String(ref text) => match serde_json::from_str(text) {
            Ok(Value::String(_)) | Err(_) => Err(wrong(&tools)),
            Ok(parsed) => parse_tools(parsed),
        },
        other => Err(wrong(&other)),
    }
}

impl Default for Content {
    /// The empty text.
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl fmt::Debug for Content {
    /// A text in quotes, or the list of messages as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Messages(messages) => fmt::Debug::fmt(messages, f),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_text())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Message>> for Content {
    fn from(messages: Vec<Message>) -> Self {
        Self::Messages(messages)
    }
}

impl TryFrom<Value> for Content {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::parse(value)
    }
}

/// Equal if it is this text.
impl PartialEq<str> for Content {
    fn eq(&self, other: &str) -> bool {
        matches!(self, Self::Text(text) if text == other)
    }
}

/// Equal if it is this text.
impl PartialEq<&str> for Content {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// Equal if it is this text.
impl PartialEq<String> for Content {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}
