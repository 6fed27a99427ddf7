//! A message of a conversation, with every field of its JSON object.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::shown;

/// One message of a conversation: a JSON object with `role`, `content` and further fields such as `tool_calls`, `name`
/// or `reasoning_content`, all kept, in their order.
///
/// The content is a text, or a list of parts `{"type": "text", "text": ...}` as in OpenAI's format. The assistant's may
/// be null or missing, as where it only calls tools; chat templates tell the two apart. ShareGPT's
/// `{"from": "human", "value": ...}` is read as role and content. Other fields that are null count as missing: columns of
/// Parquet are full of them. A list `tools` of the first message holds the tools of the whole conversation: a row's column
/// `tools` is kept there.
///
/// ```
/// # use palestra_datasets::Message;
/// let json = r#"{"role":"tool","name":"clock","content":[{"type":"text","text":"12:00"}]}"#;
/// let message: Message = serde_json::from_str(json)?;
/// assert_eq!((message.role(), &*message.text()), ("tool", "12:00"));
/// assert_eq!(message.get("name").unwrap(), "clock");
/// assert_eq!(serde_json::to_string(&message)?, json);
/// let call: Message = serde_json::from_str(r#"{"role": "assistant", "content": null, "tool_calls": [], "name": null}"#)?;
/// assert_eq!(call.fields().keys().collect::<Vec<_>>(), ["role", "content", "tool_calls"]);
/// assert!(serde_json::from_str::<Message>(r#"{"role": "user"}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Value")]
pub struct Message {
    fields: Map<String, Value>,
}

/// Role of the messages that the agent writes.
const ASSISTANT: &str = "assistant";

impl Message {
    /// Creates a message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let fields = [("role", role.into()), ("content", content.into())];
        Self { fields: fields.map(|(name, text)| (name.to_string(), Value::from(text))).into_iter().collect() }
    }

    /// Parses a JSON object. `Err` gives the problem.
    pub fn parse(value: Value) -> Result<Self, String> {
        let Value::Object(mut fields) = value else {
            return Err(format!("{} where {{\"role\": \"...\", \"content\": \"...\"}} should be", shown(&value)));
        };
        fields.retain(|name, value| !value.is_null() || name == "content");
        if !fields.contains_key("role") && fields.contains_key("from") && fields.contains_key("value") {
            fields = of_sharegpt(fields)?;
        }
        let wrong = |reason: &str| Err(format!("{} {reason}", shown(&Value::Object(fields.clone()))));
        let Some(role) = fields.get("role").and_then(Value::as_str) else { return wrong("has no text `role`") };
        match fields.get("content") {
            Some(Value::String(_)) => {}
            Some(Value::Array(parts)) if parts.iter().all(|part| part["text"].is_string()) => {}
            Some(Value::Null) | None if role == ASSISTANT => {}
            Some(Value::Null) | None => return wrong("has no `content`"),
            Some(_) => return wrong("has a `content` that is neither a text nor a list of {\"type\", \"text\"}"),
        }
        Ok(Self { fields })
    }

    /// Returns the role of the author: `system`, `user`, `assistant`, or another that the chat template knows.
    pub fn role(&self) -> &str {
        self.fields["role"].as_str().expect("checked when it was parsed")
    }

    /// Returns the text of the content: its parts joined, empty if it is missing.
    pub fn text(&self) -> Cow<'_, str> {
        match self.fields.get("content") {
            Some(Value::String(text)) => Cow::Borrowed(text),
            Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => Cow::Borrowed(""),
        }
    }

    /// Returns a field by its name.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)
    }

    /// Returns the tools of the conversation that begins with this message.
    pub fn tools(&self) -> Option<&Value> {
        self.fields.get("tools").filter(|tools| tools.is_array())
    }

    /// Returns the message without the tools of the conversation.
    pub fn without_tools(&self) -> Self {
        let mut fields = self.fields.clone();
        if self.tools().is_some() {
            fields.shift_remove("tools");
        }
        Self { fields }
    }

    /// Sets the tools of the conversation that begins with this message.
    pub(crate) fn set_tools(&mut self, tools: Value) {
        self.fields.insert("tools".to_string(), tools);
    }

    /// Returns all fields, in their order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// True if the assistant wrote it.
    pub fn is_assistant(&self) -> bool {
        self.role() == ASSISTANT
    }

    /// Iterates over the fields besides role and content.
    pub(crate) fn further(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.iter().filter(|(name, _)| !["role", "content"].contains(&name.as_str()))
    }
}

/// Renames `from` and `value` to `role` and `content`, and ShareGPT's roles to those of chat templates.
fn of_sharegpt(fields: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let role = match fields["from"].as_str() {
        Some("human" | "user") => "user",
        Some("gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model") => ASSISTANT,
        Some("tool" | "observation") => "tool",
        Some("system") => "system",
        Some("developer") => "developer",
        _ => {
            let from = "human, gpt, system or tool";
            return Err(format!("{} is from none of {from}", shown(&Value::Object(fields.clone()))));
        }
    };
    let renamed = fields.into_iter().map(|(name, value)| match name.as_str() {
        "from" => ("role".to_string(), role.into()),
        "value" => ("content".to_string(), value),
        _ => (name, value),
    });
    Ok(renamed.collect())
}

impl fmt::Display for Message {
    /// `role: text`, and a line for each further field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role(), self.text())?;
        self.further().try_for_each(|(name, value)| match value {
            Value::String(text) => write!(f, "\n  {name}: {text}"),
            value => write!(f, "\n  {name}: {value}"),
        })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.fields).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields.serialize(serializer)
    }
}

impl TryFrom<Value> for Message {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::parse(value)
    }
}
