//! Prompts from files and options, converted to the observations of each turn.

use std::collections::BTreeSet;
use std::path::Path;

use palestra_datasets::rows::Rows;
use palestra_datasets::split_mix::mix;
use palestra_datasets::{Content, Message, take_conversation};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{EnvSpec, Error, Options, Result};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CompletionOptions {
    /// File of JSON lines, Parquet, CSV or TSV with a column `prompt`, `turns`, `messages`, `conversations` or `instruction`.
    file: Option<String>,
    /// Inline prompts, in place of a file.
    prompts: Vec<String>,
    /// System message before each conversation.
    system: Option<String>,
    /// Maximum number of turns of an episode; 0: as many as a row has.
    max_turns: u32,
    /// Characters of answers, in addition to those of the prompts and of their answers.
    alphabet: String,
    /// The column with the scripted policy's answer.
    answer: String,
    /// Share of the prompts that is held out, from 0 to below 1. A hash of the prompt chooses, so that equal prompts are
    /// on one side, and a prompt stays on its side when others are added.
    held_out: f64,
    /// Prompts that are shown.
    split: Split,
}

/// Prompts of a file that an environment shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Split {
    /// All of them.
    #[default]
    All,
    /// Those that are not held out.
    Train,
    /// Those that are held out.
    HeldOut,
}

impl Default for CompletionOptions {
    fn default() -> Self {
        Self {
            file: None,
            prompts: Vec::new(),
            system: None,
            max_turns: 0,
            alphabet: String::new(),
            answer: "answer".into(),
            held_out: 0.0,
            split: Split::All,
        }
    }
}

/// All tasks of an environment.
pub(super) struct Tasks {
    pub spec: EnvSpec,
    /// The tasks; at least one.
    pub tasks: Vec<Task>,
}

/// One prompt or conversation to be answered.
#[derive(Debug, PartialEq)]
pub(super) struct Task {
    /// Observation before each answer; at least one, none empty.
    pub turns: Vec<Content>,
    /// A known good answer.
    pub answer: Option<String>,
    /// The columns of the row that are not part of the prompt.
    pub row: Map<String, Value>,
}

/// Error in a row: the column and the reason.
type Wrong = (&'static str, String);

impl Tasks {
    /// Reads the prompts that the options name.
    ///
    /// # Errors
    /// Neither a file nor prompts, or both; a file that cannot be read, is empty, or has a row without a prompt.
    pub fn read(options: CompletionOptions, written: &Options) -> Result<Self> {
        let tasks = match (&options.file, options.prompts.is_empty()) {
            (Some(file), true) => read_file(file, &options)?,
            (None, false) => {
                let plain =
                    |prompt: &String| options.task(Map::from_iter([("prompt".to_string(), prompt.clone().into())]));
                let tasks = options.prompts.iter().map(plain).collect::<Result<Vec<_>, _>>();
                tasks.map_err(|(_, reason)| written.wrong("prompts", reason))?
            }
            (Some(_), false) => return Err(written.wrong("prompts", "there is a `file` too; remove one of them")),
            (None, true) => {
                let reason = "missing: name JSON lines, Parquet, CSV or TSV with a column prompt, turns or messages \
                              (or write prompts = [...])";
                return Err(written.wrong("file", reason));
            }
        };
        let mut alphabet: BTreeSet<char> = options.alphabet.chars().collect();
        for task in &tasks {
            task.turns.iter().for_each(|turn| alphabet.extend(turn.as_text().chars()));
            alphabet.extend(task.answer.iter().flat_map(|answer| answer.chars()));
        }
        let tasks = options.split_of(tasks).map_err(|reason| written.wrong("held_out", reason))?;
        let spec = EnvSpec {
            id: "completion-v2".to_string(),
            max_turns: tasks.iter().map(|task| task.turns.len() as u32).max(),
            stochastic: tasks.iter().any(|task| task != &tasks[0]),
            tasks: Some(tasks.len() as u64),
            alphabet: Some(alphabet.into_iter().collect()),
            ..EnvSpec::default()
        };
        Ok(Self { spec, tasks })
    }
}

fn read_file(file: &str, options: &CompletionOptions) -> Result<Vec<Task>> {
    let failed = |error: palestra_datasets::Error| Error::Definition(error.to_string());
    let mut tasks = Vec::new();
    for row in Rows::open(Path::new(file)).map_err(failed)? {
        let (origin, row) = row.map_err(failed)?;
        tasks.push(options.task(row).map_err(|(column, reason)| failed(origin.error(column, reason)))?);
    }
    match tasks.is_empty() {
        true => Err(Error::File { path: file.to_string(), reason: "there is no prompt in it".to_string() }),
        false => Ok(tasks),
    }
}

impl CompletionOptions {
    /// Tasks of the split, at least one. `Err` says why there is none.
    fn split_of(&self, mut tasks: Vec<Task>) -> Result<Vec<Task>, String> {
        let Self { held_out, split, .. } = *self;
        if !(0.0..1.0).contains(&held_out) {
            return Err(format!("{held_out} is no share; write a number from 0 to below 1, such as 0.1"));
        }
        let count = tasks.len();
        match split {
            Split::All => {}
            Split::Train => tasks.retain(|task| task.hash_fraction() >= held_out),
            Split::HeldOut => tasks.retain(|task| task.hash_fraction() < held_out),
        }
        match (tasks.is_empty(), split) {
            (false, _) => Ok(tasks),
            (true, Split::HeldOut) => Err(format!("{held_out} of {count} prompts: none is held out; raise it")),
            (true, _) => Err(format!("{held_out} of {count} prompts: all are held out; lower it")),
        }
    }

    fn task(&self, mut row: Map<String, Value>) -> Result<Task, Wrong> {
        let mut take = |column: &'static str| row.remove(column).filter(|value| !value.is_null());
        let (prompt, turns, tools) = (take("prompt"), take("turns"), take("tools"));
        let output = row.get("output").cloned();
        let messages = match prompt.is_some() || turns.is_some() {
            true => row.get("messages").filter(|value| !value.is_null()).map(|_| Vec::new()),
            false => take_conversation(&mut row)?,
        };
        row.extend(output.map(|output| ("output".to_string(), output))); // which may be the answer
        let shown: Vec<Content> = match (prompt, turns, messages) {
            (None, None, None) => {
                let found: Vec<&String> = row.keys().collect();
                return Err(("prompt", format!("is missing, and so are turns and messages; the row has {found:?}")));
            }
            (None, None, Some(messages)) => by_user(messages).map_err(|reason| ("messages", reason))?,
            (_, _, Some(_)) => return Err(("messages", "stands beside a prompt; a row has one of them".to_string())),
            (prompt, turns, None) => {
                let first = prompt.map(history).transpose().map_err(|reason| ("prompt", reason))?;
                let further = turns.map(texts).transpose().map_err(|reason| ("turns", reason))?;
                first.into_iter().chain(further.into_iter().flatten()).collect()
            }
        };
        let shown = shown.into_iter().take(if self.max_turns == 0 { usize::MAX } else { self.max_turns as usize });
        let mut turns: Vec<Content> =
            shown.enumerate().map(|(turn, content)| self.with_system(turn, content)).collect();
        if let Some((first, tools)) = turns.first_mut().zip(tools) {
            // Whoever lists tools has a conversation, even if its only message is written as a text.
            let messages = Content::Messages(first.to_messages("user"));
            *first = messages.with_tools(tools).map_err(|reason| ("tools", reason))?.simplified("user");
        }
        match turns.iter().any(|turn| turn.as_text().trim().is_empty()) || turns.is_empty() {
            true => Err(("prompt", "is empty; there is nothing to answer".to_string())),
            false => {
                let answer = row.get(&self.answer).and_then(Value::as_str).filter(|_| turns.len() == 1);
                Ok(Task { answer: answer.map(str::to_string), turns, row })
            }
        }
    }

    /// Adds the system message before the first answer. The text beside it is a user message.
    fn with_system(&self, turn: usize, content: Content) -> Content {
        match self.system.as_ref().filter(|_| turn == 0) {
            Some(system) => {
                let system = vec![Message::new("system", system)];
                Content::Messages([system, content.to_messages("user")].concat())
            }
            None => content,
        }
    }
}

impl Task {
    /// Hash of the prompt, evenly spread over 0 to 1.
    fn hash_fraction(&self) -> f64 {
        let texts = self.turns.iter().flat_map(|turn| turn.as_text().as_bytes().to_vec());
        let hash = texts.fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Parses a prompt: a text, or the messages before the single answer.
fn history(prompt: Value) -> Result<Content, String> {
    let prompt = Content::parse(prompt)?;
    match &prompt {
        Content::Messages(messages) if messages.is_empty() => Err("is an empty list, and no conversation".to_string()),
        Content::Messages(messages) if messages.last().is_some_and(Message::is_assistant) => {
            Err("ends with a message of the assistant; there is nothing to answer".to_string())
        }
        _ => Ok(prompt),
    }
}

/// Messages before each answer of a conversation whose answers are written by the agent. The assistant's messages in
/// the file are dropped.
fn by_user(messages: Vec<Message>) -> Result<Vec<Content>, String> {
    let (mut shown, mut waiting) = (Vec::new(), Vec::new());
    for message in messages.into_iter().filter(|message| !message.is_assistant()) {
        let is_user = message.role() == "user";
        waiting.push(message);
        if is_user {
            shown.push(Content::Messages(std::mem::take(&mut waiting)));
        }
    }
    if shown.is_empty() { Err("has no message of a user; there is nothing to answer".to_string()) } else { Ok(shown) }
}

fn texts(turns: Value) -> Result<Vec<Content>, String> {
    let wrong = || "is no list of texts".to_string();
    let turns = turns.as_array().ok_or_else(wrong)?;
    turns.iter().map(|turn| turn.as_str().map(Content::from).ok_or_else(wrong)).collect()
}
