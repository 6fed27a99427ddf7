//! Chat templates: format conversations as the text, and the tokens, that a published model was trained on.
//!
//! Templates are written for Jinja in Python, with the additions of transformers: `raise_exception`, `tojson` without
//! HTML escapes, and `{% generation %}` around the text to train on. `strftime_now` tells a fixed date, so that a text is
//! the same every day.

mod date;
mod json;
mod limits;
mod python;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, context};
use palestra_datasets::Message;
use serde_json::Value;

use super::{Kind, Tokenizer};
use crate::{Error, Result};
pub use date::ChatDate;
pub use limits::TemplateLimits;
use source::{Source, rewrite};

/// A conversation as text, with the assistant's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedText {
    /// The text.
    pub text: String,
    /// The assistant's parts, as ascending byte ranges: its text and the end token of its turn.
    pub assistant: Vec<Range<usize>>,
}

/// A conversation as tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedChat {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Assistant mask: true if the token is part of the assistant's answer. A token that also holds text before its
    /// turn is not.
    pub is_assistant: Vec<bool>,
}

/// Formats conversations as text.
///
/// ```
/// # use palestra_text::{ChatTemplate, Message};
/// let text = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}";
/// let template = ChatTemplate::new("example", text, Default::default())?;
/// assert_eq!(template.render(&[Message::new("user", "hello")], false)?, "<user>hello\n");
/// # Ok::<(), palestra_text::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    origin: String,
    environment: Environment<'static>,
    /// Special tokens by their names in templates, such as `bos_token` and `eos_token`.
    special: BTreeMap<String, String>,
    marks_generation: bool,
    /// True if the template reads contents that are lists of parts.
    reads_parts: bool,
    asks_for_date: bool,
    date: ChatDate,
    limits: TemplateLimits,
    /// True if a value may be nested so deep that freeing it takes a stack of its own.
    nests: bool,
}

/// Marks around the text of `{% generation %}` in the rendered text: code points that are not characters.
const BEGIN: char = '\u{FDD0}';
const END: char = '\u{FDD1}';

const NAME: &str = "chat";

impl ChatTemplate {
    /// The template of a model directory: `chat_template.jinja`, otherwise that of `tokenizer_config.json`; `None` if
    /// there is none.
    ///
    /// # Errors
    /// A file that cannot be read, or an invalid template.
    pub fn from_directory(directory: &Path) -> Result<Option<Self>> {
        let own = directory.join("chat_template.jinja");
        if own.exists() {
            return Self::from_file(&own, Some(directory)).map(Some);
        }
        let (config_path, config) = tokenizer_config(directory)?;
        let template = match &config["chat_template"] {
            Value::Array(named) => {
                named.iter().find(|one| one["name"] == "default").and_then(|one| one["template"].as_str())
            }
            one => one.as_str(),
        };
        let origin = format!("chat_template of {}", config_path.display());
        template.map(|text| Self::new(origin, text, special_tokens(&config))).transpose()
    }

    /// The template of a file; `eos_token` and the other special tokens are those of the directory `model`.
    ///
    /// # Errors
    /// A file that cannot be read, or an invalid template.
    pub fn from_file(path: &Path, model: Option<&Path>) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let config = model.map(tokenizer_config).transpose()?.map(|(_, config)| config);
        Self::new(path.display().to_string(), &text, special_tokens(&config.unwrap_or_default()))
    }

    /// A template from its text. `origin` is for messages; `special` holds the values of `eos_token` and the other
    /// special tokens.
    ///
    /// # Errors
    /// An invalid template, with the line.
    pub fn new(origin: impl Into<String>, text: &str, special: BTreeMap<String, String>) -> Result<Self> {
        Self::within(TemplateLimits::default(), origin, text, special)
    }

    /// As [`ChatTemplate::new`], within other limits.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn within(
        limits: TemplateLimits,
        origin: impl Into<String>,
        text: &str,
        special: BTreeMap<String, String>,
    ) -> Result<Self> {
        let origin = origin.into();
        let refused = |reason: String| Error::Tokenizer(format!("{origin}: {reason}"));
        limits.check_length(text).map_err(refused)?;
        let Source { text, marks_generation, nests } =
            rewrite(text, &|code| limits.check_tag(code)).map_err(refused)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&origin, &error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        python::add_to(&mut environment);
        environment.add_filter("tojson", json::tojson);
        environment.add_filter("generation", |text: String| format!("{BEGIN}{text}{END}"));
        environment.add_function("raise_exception", |reason: String| -> Result<Jinja, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {reason}")))
        });
        let reads_parts =
            ["'type'", "\"type\"", ".type", "'text'", "\"text\"", ".text"].iter().any(|it| text.contains(it));
        let asks_for_date = text.contains("strftime_now");
        limits::compile(&mut environment, NAME, text).map_err(|error| failed(&origin, &error))?;
        let template = Self {
            origin,
            environment,
            special,
            marks_generation,
            reads_parts,
            asks_for_date,
            date: ChatDate::default(),
            limits,
            nests,
        };
        Ok(template.with_date(ChatDate::default()))
    }

    /// Sets the date that `strftime_now` tells.
    pub fn with_date(mut self, date: ChatDate) -> Self {
        self.environment.add_function("strftime_now", move |form: &str| date.format(form));
        Self { date, ..self }
    }

    /// The date that the template may write; `None` if it asks for none.
    pub fn date(&self) -> Option<ChatDate> {
        self.asks_for_date.then_some(self.date)
    }

    /// Renders a conversation as text; `add_generation_prompt` adds the start of the assistant's next turn.
    ///
    /// # Errors
    /// A template that fails, or that refuses the conversation, with its reason.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        Ok(self.render_marked(messages, add_generation_prompt)?.replace([BEGIN, END], ""))
    }

    /// Text between the end of an assistant's answer, its end token included, and the start of its next turn after
    /// further messages.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; a template with which an answer changes the text before it.
    pub fn render_further(&self, messages: &[Message]) -> Result<String> {
        let before = vec![Message::new("user", "a"), Message::new("assistant", "b")];
        let MarkedText { text, assistant } = self.mark(&before)?;
        let end = assistant.last().map_or(text.len(), |range| range.end);
        let all = self.render(&[before, messages.to_vec()].concat(), true)?;
        all.strip_prefix(&text[..end]).map(str::to_string).ok_or_else(|| {
            let reason = "what stands before a further message depends on that message, so that nothing can go on from it; \
                          rollout.context = \"observation\" shows each turn alone";
            Error::Tokenizer(format!("{}: {reason}", self.origin))
        })
    }

    /// Renders a whole conversation and marks the assistant's parts: the text inside `{% generation %}` if the template
    /// has it, otherwise the text that each assistant message adds to that of the messages before.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; without `{% generation %}`, a template with which the text of the first messages is
    /// not a prefix of the whole text.
    pub fn mark(&self, messages: &[Message]) -> Result<MarkedText> {
        if self.marks_generation { self.mark_by_generation(messages) } else { self.mark_by_prefixes(messages, 0) }
    }

    /// Tokens of a whole conversation with the assistant mask. Special tokens in the template are one token each.
    ///
    /// # Errors
    /// As [`ChatTemplate::mark`]; text that the tokenizer cannot encode.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<EncodedChat> {
        self.encode_from(tokenizer, messages, 0)
    }

    /// As [`ChatTemplate::encode`], with a mask that holds only the assistant's parts of messages from index `from` on,
    /// counted from 0.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`], for the messages from `from` on; with `{% generation %}`, a template with which the
    /// text of the messages before is not a prefix of the whole text.
    pub fn encode_from(&self, tokenizer: &Tokenizer, messages: &[Message], from: usize) -> Result<EncodedChat> {
        // Earlier messages need not be told apart: templates of reasoning models drop the thinking from them.
        let MarkedText { text, mut assistant } = match self.marks_generation {
            true => self.mark_by_generation(messages)?,
            false => self.mark_by_prefixes(messages, from)?,
        };
        if from > 0 && self.marks_generation {
            let before = self.render(&messages[..from], false)?;
            if !text.starts_with(&before) {
                return Err(Error::Tokenizer(format!(
                    "{}: the text of the first {from} messages is not the beginning of the whole, so that what follows \
                     cannot be told",
                    self.origin
                )));
            }
            assistant.retain(|range| range.start >= before.len());
        }
        let mut chat = EncodedChat::default();
        for (token, Range { start, end }) in encode_with_places(tokenizer, &text)? {
            chat.tokens.push(token);
            let is_inside = |range: &Range<usize>| range.start <= start && start < range.end && end <= range.end;
            chat.is_assistant.push(assistant.iter().any(is_inside));
        }
        Ok(chat)
    }

    fn mark_by_generation(&self, messages: &[Message]) -> Result<MarkedText> {
        let mut marked = MarkedText { text: String::new(), assistant: Vec::new() };
        let rendered = self.render_marked(messages, false)?;
        for part in rendered.split_inclusive([BEGIN, END]) {
            let text = part.trim_end_matches([BEGIN, END]);
            let start = marked.text.len();
            marked.text.push_str(text);
            if part.ends_with(END) && !text.is_empty() {
                marked.assistant.push(start..marked.text.len());
            }
        }
        Ok(marked)
    }

    fn mark_by_prefixes(&self, messages: &[Message], from: usize) -> Result<MarkedText> {
        let text = self.render(messages, false)?;
        let mut assistant = Vec::new();
        for (at, _) in messages.iter().enumerate().skip(from).filter(|(_, message)| message.is_assistant()) {
            let before = self.render(&messages[..at], true)?;
            let after = self.render(&messages[..=at], false)?;
            if !after.starts_with(&before) || !text.starts_with(&after) {
                return Err(Error::Tokenizer(format!(
                    "{}: what message {} adds cannot be told: the text of the messages before it is not the beginning \
                     of the whole; put {{% generation %}} and {{% endgeneration %}} around what the assistant writes",
                    self.origin,
                    at + 1
                )));
            }
            // The turn ends with its end token: a line break after it is not part of the assistant's answer.
            let own = &after[before.len()..];
            let ends = self.special.get("eos_token").is_some_and(|eos| own.trim_end().ends_with(eos.as_str()));
            let length = if ends { own.trim_end().len() } else { own.len() };
            assistant.push(before.len()..before.len() + length);
        }
        Ok(MarkedText { text, assistant })
    }

    fn render_marked(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if let Some(message) = messages.iter().find(|message| message.to_string().contains([BEGIN, END])) {
            let reason = "holds U+FDD0 or U+FDD1, which are no characters";
            return Err(Error::Tokenizer(format!("{}: a message of {} {reason}", self.origin, message.role())));
        }
        let bytes: usize = messages.iter().map(|message| message.to_string().len()).sum();
        let tools = messages.first().and_then(Message::tools).unwrap_or(&Value::Null);
        let steps = self.limits.steps + bytes as u64;
        let messages: Vec<Value> = messages.iter().map(|message| self.as_read(message)).collect();
        let (messages, tools) = (Jinja::from(Serde(&messages)), Jinja::from(Serde(tools)));
        let values = context! { messages, add_generation_prompt, tools, documents => () };
        let special = Jinja::from(Serde(&self.special));
        self.render_values(context! { ..values, ..special }, steps)
    }

    fn render_values(&self, values: Jinja, steps: u64) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(steps));
        let template = environment.get_template(NAME).map_err(|error| failed(&self.origin, &error))?;
        // An error holds values, too.
        let tell = |error: minijinja::Error| match error.kind() {
            ErrorKind::OutOfFuel => {
                let reason = "a conversation of this length should not need them, so the template is refused";
                Error::Tokenizer(format!("{}: takes more than {steps} steps; {reason}", self.origin))
            }
            _ => failed(&self.origin, &error),
        };
        let render = || template.render(values).map_err(tell);
        match self.nests {
            true => limits::on_a_stack(steps, render)
                .unwrap_or_else(|reason| Err(Error::Tokenizer(format!("{}: {reason}", self.origin)))),
            false => render(),
        }
    }

    /// A message as the template reads it: all its fields, without the tools of the conversation. Parts of a content are
    /// joined for templates that know texts alone.
    fn as_read(&self, message: &Message) -> Value {
        let mut fields = message.fields().clone();
        if message.tools().is_some() {
            fields.shift_remove("tools");
        }
        if !self.reads_parts && message.get("content").is_some_and(Value::is_array) {
            fields.insert("content".to_string(), message.text().into());
        }
        fields.into()
    }
}

/// The `tokenizer_config.json` of a model directory; null if there is none.
fn tokenizer_config(directory: &Path) -> Result<(PathBuf, Value)> {
    let path = directory.join("tokenizer_config.json");
    let config = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| Error::Tokenizer(format!("{}: not valid JSON: {error}", path.display())))?,
        Err(_) => Value::Null,
    };
    Ok((path, config))
}

fn special_tokens(config: &Value) -> BTreeMap<String, String> {
    let token = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(String::from);
    let special = config.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token"));
    special.filter_map(|(name, value)| Some((name.clone(), token(value)?))).collect()
}

/// Tokens with the byte range of the text that each one covers.
fn encode_with_places(tokenizer: &Tokenizer, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
    match &tokenizer.kind {
        Kind::Characters(_) => {
            let mut tokens = Vec::new();
            tokenizer.encode(text, &mut tokens)?;
            let places = text.char_indices().map(|(at, character)| at..at + character.len_utf8());
            Ok(tokens.into_iter().zip(places).collect())
        }
        Kind::HuggingFace(inner) => {
            let encoding = inner.encode(text, false).map_err(|error| Error::Tokenizer(format!("{text:?}: {error}")))?;
            let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
            Ok(encoding.get_ids().iter().copied().zip(places).collect())
        }
    }
}

fn failed(origin: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let reason = error.detail().map_or_else(|| error.kind().to_string(), String::from);
    Error::Tokenizer(format!("{origin}: {line}{reason}"))
}

#[cfg(test)]
mod snippets;
#[cfg(test)]
mod tests;
