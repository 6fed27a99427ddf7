//! Supervised training examples from the rows of JSON lines and Parquet files: texts, conversations, and prompts with
//! completions.
//!
//! Column names are those of published data sets. Messages are `{"role", "content"}`; other keys are kept.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::log::paths::find_files;
use crate::preferences::{Message, Text};
pub use crate::rows::{Origin, Place};
use crate::rows::{Rows, shown};

/// Columns that make up an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `text`: the loss covers all of it.
    Text,
    /// `messages`: the loss covers the messages of the assistant.
    Messages,
    /// `prompt` and `completion`, texts or messages: the loss covers the completion.
    Completion,
    /// `prompt` and `chosen` of preferences, or `chosen` alone if it is a whole conversation: the loss covers the
    /// answer.
    Chosen,
}

/// An example from a row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Location of the row.
    pub origin: Origin,
    /// Content of the example.
    pub lesson: Lesson,
}

/// Content of an example, divided into context and text that the loss covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Lesson {
    /// A text, covered by the loss as a whole.
    Text(String),
    /// A prompt and its completion.
    Continuation {
        /// The context, which the loss does not cover.
        prompt: String,
        /// The text that the loss covers.
        completion: String,
    },
    /// A conversation; the loss covers the messages of the assistant.
    Conversation {
        /// JSON objects with strings `role` and `content`, at least one.
        messages: Vec<Value>,
        /// Index of the first message that the loss may cover; only messages of the assistant are covered.
        from: usize,
    },
}

/// Iterator over the examples of some files, in order. Each file is read as it is needed. Iteration ends after an
/// error.
pub struct Examples {
    form: Form,
    files: VecDeque<PathBuf>,
    open: Option<Rows>,
    failed: bool,
}

impl Lesson {
    /// Returns the example of a prompt and its answer, as preference files have both. An answer that repeats the whole
    /// conversation is recognized. `Err` says why the two make no example.
    pub fn of_answer(prompt: &Text, answer: &Text) -> Result<Self, String> {
        let said = |text: &Text| match text {
            Text::Plain(text) => Said::Text(text.clone()),
            Text::Messages(messages) => {
                let role_and_content = |message: &Message| json!({ "role": message.role, "content": message.content });
                Said::Messages(messages.iter().map(role_and_content).collect())
            }
        };
        match answer {
            Text::Messages(messages) if messages.is_empty() => Err("is an empty list, and no answer".into()),
            _ if prompt.is_empty() && matches!(answer, Text::Messages(_)) => whole(said(answer)),
            _ => follow(said(prompt), said(answer)),
        }
    }
}

impl Examples {
    /// Opens the examples of files, folders and patterns: `.parquet` files as Parquet, all others as JSON lines.
    ///
    /// # Errors
    /// A pattern that matches no file.
    pub fn open(patterns: &[impl AsRef<str>], form: Form) -> Result<Self> {
        let files = find_files(patterns, &["jsonl", "ndjson", "json", "parquet"])?;
        Ok(Self { form, files: files.into(), open: None, failed: false })
    }

    fn next_example(&mut self) -> Result<Option<Example>> {
        loop {
            let rows = match &mut self.open {
                Some(rows) => rows,
                None => {
                    let Some(path) = self.files.pop_front() else { return Ok(None) };
                    let (wanted, needed) = self.form.columns();
                    self.open.insert(Rows::open_columns(&path, wanted, needed)?)
                }
            };
            if let Some((origin, row)) = rows.next().transpose()? {
                let lesson = lesson(row, self.form).map_err(|(column, reason)| origin.error(column, reason))?;
                return Ok(Some(Example { origin, lesson }));
            }
            self.open = None;
        }
    }
}

impl Iterator for Examples {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Result<Example>> {
        if self.failed {
            return None;
        }
        let next = self.next_example();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl Form {
    /// Returns the columns to read, and how many of the first of them are required.
    fn columns(self) -> (&'static [&'static str], usize) {
        match self {
            Self::Text => (&["text"], 1),
            Self::Messages => (&["messages"], 1),
            Self::Completion => (&["prompt", "completion"], 2),
            Self::Chosen => (&["chosen", "prompt"], 1),
        }
    }
}

/// An invalid row: the column, and the reason.
type Wrong = (&'static str, String);

/// A text, or the messages of a conversation.
enum Said {
    Text(String),
    Messages(Vec<Value>),
}

fn lesson(mut row: Map<String, Value>, form: Form) -> Result<Lesson, Wrong> {
    let (wanted, needed) = form.columns();
    if let Some(missing) = wanted[..needed].iter().find(|name| row.get(**name).is_none_or(Value::is_null)) {
        let found: Vec<&String> = row.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name).collect();
        return Err((missing, format!("is missing; the row has {found:?}")));
    }
    let mut take = |column: &'static str| match row.remove(column) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => said(value).map(Some).map_err(|reason| (column, reason)),
    };
    let mut needs = |column| Ok(take(column)?.expect("it was looked for above"));
    match form {
        Form::Text => match needs("text")? {
            Said::Text(text) => Ok(Lesson::Text(text)),
            Said::Messages(_) => {
                Err(("text", "is a list where a text should be; text.format says what is read".into()))
            }
        },
        Form::Messages => match needs("messages")? {
            Said::Messages(messages) => Ok(Lesson::Conversation { messages, from: 0 }),
            Said::Text(_) => Err(("messages", "is a text where a list of {\"role\", \"content\"} should be".into())),
        },
        Form::Completion => follow(needs("prompt")?, needs("completion")?).map_err(|reason| ("completion", reason)),
        Form::Chosen => {
            let chosen = needs("chosen")?;
            match take("prompt")? {
                Some(prompt) => follow(prompt, chosen),
                None => whole(chosen),
            }
            .map_err(|reason| ("chosen", reason))
        }
    }
}

/// Returns the example of a prompt and its completion. The completion may repeat the prompt, as in preferences of whole
/// conversations.
fn follow(prompt: Said, completion: Said) -> Result<Lesson, String> {
    let message = |role: &str, content: String| json!({ "role": role, "content": content });
    let (prompt, completion) = match (prompt, completion) {
        (Said::Text(prompt), Said::Text(completion)) => return Ok(Lesson::Continuation { prompt, completion }),
        (Said::Messages(prompt), Said::Text(completion)) => (prompt, vec![message("assistant", completion)]),
        (Said::Text(_), Said::Messages(all)) if all[0]["role"] != "assistant" => return whole(Said::Messages(all)),
        (Said::Text(prompt), Said::Messages(completion)) => (vec![message("user", prompt)], completion),
        (Said::Messages(prompt), Said::Messages(completion)) => (prompt, completion),
    };
    let from = prompt.len();
    let messages = if completion.starts_with(&prompt) { completion } else { [prompt, completion].concat() };
    if messages[from..].iter().any(|message| message["role"] == "assistant") {
        Ok(Lesson::Conversation { messages, from })
    } else {
        Err("has no message of the assistant, so that there is nothing to learn".into())
    }
}

/// Returns the example of a conversation whose last message is covered by the loss.
fn whole(conversation: Said) -> Result<Lesson, String> {
    match conversation {
        Said::Messages(messages) if messages[messages.len() - 1]["role"] == "assistant" => {
            Ok(Lesson::Conversation { from: messages.len() - 1, messages })
        }
        Said::Messages(_) => Err("does not end with a message of the assistant".into()),
        Said::Text(_) => Err("is a text without a `prompt`: what of it is the answer is not known".into()),
    }
}

fn said(value: Value) -> Result<Said, String> {
    match value {
        Value::String(text) => Ok(Said::Text(text)),
        Value::Array(messages) if messages.is_empty() => Err("is an empty list, and no conversation".into()),
        Value::Array(messages) => {
            let messages = messages.into_iter().enumerate();
            let checked = messages
                .map(|(number, value)| message(value).map_err(|reason| format!("message {}: {reason}", number + 1)));
            checked.collect::<Result<_, _>>().map(Said::Messages)
        }
        other => Err(format!("{} where a text or a list of {{\"role\", \"content\"}} should be", shown(&other))),
    }
}

/// Returns a message with strings for `role` and `content`, without null values, which columns of structs contain.
fn message(value: Value) -> Result<Value, String> {
    let Value::Object(mut object) = value else {
        return Err(format!("{} where {{\"role\", \"content\"}} should be", shown(&value)));
    };
    object.retain(|_, value| !value.is_null());
    if !object.get("role").is_some_and(Value::is_string) {
        return Err(format!("{} has no text `role`", shown(&Value::Object(object))));
    }
    let content = match object.remove("content") {
        // An assistant message that only calls tools has no content.
        None => Some(String::new()),
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => parts.iter().map(|part| part["text"].as_str()).collect(),
        Some(_) => None,
    };
    match content {
        Some(content) => object.insert("content".into(), content.into()),
        None => return Err("its `content` is no text".into()),
    };
    Ok(Value::Object(object))
}
