//! Supervised training examples from the rows of JSON, CSV, TSV and Parquet files: texts, conversations, and prompts with
//! completions.
//!
//! Column names are those of published data sets.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::content::parse_tools;
use crate::error::Result;
use crate::log::paths::find_files;
pub use crate::origin::{Origin, RowPlace};
use crate::rows::{ROW_FILES, Rows};
use crate::{Content, Message, conversation};

/// Columns that make up an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `text`: the loss covers all of it.
    Text,
    /// `messages`, or `conversations` of ShareGPT, or `instruction`, `input` and `output` of Alpaca: the loss covers the
    /// messages of the assistant. Beside conversations of all forms, a column `tools` lists the tools that they may call.
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
        /// The messages, at least one.
        messages: Vec<Message>,
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
    pub fn of_answer(prompt: &Content, answer: &Content) -> Result<Self, String> {
        match answer {
            Content::Messages(messages) if messages.is_empty() => Err("is an empty list, and no answer".into()),
            Content::Messages(_) if prompt.is_empty() => whole(answer.clone()),
            _ => follow(prompt.clone(), answer.clone()),
        }
    }
}

impl Examples {
    /// Opens the examples of files, folders and patterns: `.parquet` files as Parquet, `.csv` and `.tsv` files as
    /// such, all others as JSON.
    ///
    /// # Errors
    /// A pattern that matches no file.
    pub fn open(patterns: &[impl AsRef<str>], form: Form) -> Result<Self> {
        let files = find_files(patterns, &ROW_FILES)?;
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
    /// Returns the columns to read, and groups of columns of each of which one is required.
    fn columns(self) -> (&'static [&'static str], &'static [&'static [&'static str]]) {
        match self {
            Self::Text => (&["text"], &[&["text"]]),
            Self::Messages => (&conversation::COLUMNS, &[&["messages", "conversations", "instruction"]]),
            Self::Completion => (&["prompt", "completion", "tools"], &[&["prompt"], &["completion"]]),
            Self::Chosen => (&["chosen", "prompt", "tools"], &[&["chosen"]]),
        }
    }
}

/// An invalid row: the column, and the reason.
type Wrong = (&'static str, String);

fn lesson(mut row: Map<String, Value>, form: Form) -> Result<Lesson, Wrong> {
    let tools = row.remove("tools").unwrap_or_default();
    match without_tools(row, form)? {
        Lesson::Conversation { mut messages, from } => {
            if let Some(tools) = parse_tools(tools).map_err(|reason| ("tools", reason))? {
                messages[0].set_tools(tools);
            }
            Ok(Lesson::Conversation { messages, from })
        }
        plain => Ok(plain),
    }
}

fn without_tools(mut row: Map<String, Value>, form: Form) -> Result<Lesson, Wrong> {
    let (_, needed) = form.columns();
    let is_missing = |name: &&str| row.get(*name).is_none_or(Value::is_null);
    if let Some(group) = needed.iter().find(|group| group.iter().all(is_missing)) {
        let found: Vec<&String> = row.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name).collect();
        return Err((group[0], format!("is missing; the row has {found:?}")));
    }
    if form == Form::Messages {
        return conversation_of(row);
    }
    let mut take = |column: &'static str| match row.remove(column) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => filled(value).map(Some).map_err(|reason| (column, reason)),
    };
    let mut needs = |column| Ok(take(column)?.expect("it was looked for above"));
    match form {
        Form::Text => match needs("text")? {
            Content::Text(text) => Ok(Lesson::Text(text)),
            Content::Messages(_) => {
                Err(("text", "is a list where a text should be; text.format says what is read".into()))
            }
        },
        Form::Messages => unreachable!("returned above"),
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

fn conversation_of(mut row: Map<String, Value>) -> Result<Lesson, Wrong> {
    let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
    if !has("messages") && !has("conversations") && !has("output") {
        return Err(("output", "is missing beside the instruction, so that there is nothing to learn".to_string()));
    }
    match conversation::take_conversation(&mut row)? {
        Some(messages) => Ok(Lesson::Conversation { messages, from: 0 }),
        None => Err(("instruction", "is empty, so that there is nothing to answer".to_string())),
    }
}

/// Returns the example of a prompt and its completion. The completion may repeat the prompt, as in preferences of whole
/// conversations.
fn follow(prompt: Content, completion: Content) -> Result<Lesson, String> {
    if let (Content::Text(prompt), Content::Text(completion)) = (&prompt, &completion) {
        return Ok(Lesson::Continuation { prompt: prompt.clone(), completion: completion.clone() });
    }
    let answer = completion.to_messages("assistant");
    if matches!(prompt, Content::Text(_)) && !answer[0].is_assistant() {
        return whole(completion);
    }
    let prompt = prompt.to_messages("user");
    let from = prompt.len();
    // The tools of a prompt stand in its first message, and not in that of an answer which repeats it.
    let is_same = |(own, other): (&Message, &Message)| own == other || own.without_tools() == *other;
    let repeats = answer.len() >= from && prompt.iter().zip(&answer).all(is_same);
    let messages = [&prompt, &answer[if repeats { from } else { 0 }..]].concat();
    if messages[from..].iter().any(Message::is_assistant) {
        Ok(Lesson::Conversation { messages, from })
    } else {
        Err("has no message of the assistant, so that there is nothing to learn".into())
    }
}

/// Returns the example of a conversation whose last message is covered by the loss.
fn whole(conversation: Content) -> Result<Lesson, String> {
    match conversation {
        Content::Messages(messages) if messages.last().is_some_and(Message::is_assistant) => {
            Ok(Lesson::Conversation { from: messages.len() - 1, messages })
        }
        Content::Messages(_) => Err("does not end with a message of the assistant".into()),
        Content::Text(_) => Err("is a text without a `prompt`: what of it is the answer is not known".into()),
    }
}

/// Parses a text or messages, at least one.
fn filled(value: Value) -> Result<Content, String> {
    match Content::parse(value)? {
        Content::Messages(messages) if messages.is_empty() => Err("is an empty list, and no conversation".into()),
        content => Ok(content),
    }
}
