//! Chat templates: format conversations as the text, and the tokens, that a published model was trained on.
//!
//! Templates are written for Jinja in Python, with the additions of transformers: `raise_exception`, `tojson` without
//! HTML escapes, and `{% generation %}` around the text to train on. `strftime_now` tells a fixed date, so that a text is
//! the same every day.

mod date;
mod history;
mod json;
mod limits;
mod marking;
mod markup;
mod python;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, context};
use palestra_datasets::Message;
use palestra_gguf::{Gguf, is_gguf};
use serde_json::Value;

use super::gguf::{self, files_of_gguf};
use crate::{Error, NamedTemplate, Result};
pub use date::ChatDate;
pub use history::History;
pub use limits::TemplateLimits;
pub use marking::{EncodedChat, MarkedText};
use source::{Source, rewrite};

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

/// Stands for an answer whose place in the rendered text is looked for.
const ANSWER: char = '\u{FDD2}';

const NAME: &str = "chat";

impl ChatTemplate {
    /// The template of a model directory: `chat_template.jinja`, otherwise that of `tokenizer_config.json`; or that of a
    /// GGUF file. `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, or an invalid template.
    pub fn from_directory(directory: &Path) -> Result<Option<Self>> {
        Self::from_directory_within(TemplateLimits::default(), directory)
    }

    /// As [`ChatTemplate::from_directory`], within other limits.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_directory`].
    pub fn from_directory_within(limits: TemplateLimits, directory: &Path) -> Result<Option<Self>> {
        if is_gguf(directory) {
            let (_, config) = tokenizer_config(directory)?;
            let template = files_of_gguf(directory)?.remove("chat_template.jinja");
            let origin = format!("chat template of {}", directory.display());
            return template.map(|text| Self::within(limits, origin, &text, special_tokens(&config))).transpose();
        }
        let own = directory.join("chat_template.jinja");
        if own.exists() {
            return Self::from_name_within(limits, &NamedTemplate::File(own), Some(directory)).map(Some);
        }
        let (config_path, config) = tokenizer_config(directory)?;
        let template = Self::text_in(&config);
        let origin = format!("chat_template of {}", config_path.display());
        template.map(|text| Self::within(limits, origin, text, special_tokens(&config))).transpose()
    }

    /// Text of the template in a `tokenizer_config.json`; of several that of the name `default`.
    pub fn text_in(config: &Value) -> Option<&str> {
        match &config["chat_template"] {
            Value::Array(named) => named.iter().find(|one| one["name"] == "default")?["template"].as_str(),
            one => one.as_str(),
        }
    }

    /// The template of a file; `eos_token` and the other special tokens are those of the directory `model`.
    ///
    /// # Errors
    /// A file that cannot be read, or an invalid template.
    pub fn from_file(path: &Path, model: Option<&Path>) -> Result<Self> {
        Self::from_name(&NamedTemplate::File(path.to_path_buf()), model)
    }

    /// The template that a run file names; `eos_token` and the other special tokens are those of the directory `model`.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_file`].
    pub fn from_name(name: &NamedTemplate, model: Option<&Path>) -> Result<Self> {
        Self::from_name_within(TemplateLimits::default(), name, model)
    }

    /// As [`ChatTemplate::from_name`], within other limits.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_file`].
    pub fn from_name_within(limits: TemplateLimits, name: &NamedTemplate, model: Option<&Path>) -> Result<Self> {
        let config = model.map(tokenizer_config).transpose()?.map(|(_, config)| config);
        Self::within(limits, name.to_string(), &name.text()?, special_tokens(&config.unwrap_or_default()))
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
        let rewritten = limits.on_a_stack(|| rewrite(text, &|code| limits.check_tag(code)));
        let Source { text, marks_generation, nests } = rewritten.and_then(|read| read).map_err(refused)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&origin, &error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        python::add_to(&mut environment);
        markup::add_to(&mut environment);
        environment.add_filter("tojson", json::tojson);
        environment.add_filter("generation", |text: String| format!("{BEGIN}{text}{END}"));
        environment.add_function("raise_exception", |reason: String| -> Result<Jinja, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {reason}")))
        });
        let reads_parts =
            ["'type'", "\"type\"", ".type", "'text'", "\"text\"", ".text"].iter().any(|it| text.contains(it));
        let asks_for_date = text.contains("strftime_now");
        let compiled = limits.on_a_stack(|| environment.add_template_owned(NAME, text)).map_err(refused)?;
        compiled.map_err(|error| failed(&origin, &error))?;
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

    /// An error about this template.
    fn refusal(&self, reason: impl std::fmt::Display) -> Error {
        Error::Tokenizer(format!("{}: {reason}", self.origin))
    }

    fn render_marked(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if let Some(message) = messages.iter().find(|message| message.to_string().contains([BEGIN, END])) {
            let reason = "holds U+FDD0 or U+FDD1, which are no characters";
            return Err(self.refusal(format!("a message of {} {reason}", message.role())));
        }
        let bytes: usize = messages.iter().map(|message| message.to_string().len()).sum();
        let tools = messages.first().and_then(Message::tools).unwrap_or(&Value::Null);
        let steps = self.limits.steps.saturating_add(bytes as u64);
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
            true => TemplateLimits::rendering(steps, render)
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

/// The `tokenizer_config.json` of a model directory, null if there is none; or that of a GGUF file.
fn tokenizer_config(directory: &Path) -> Result<(PathBuf, Value)> {
    if is_gguf(directory) {
        let [_, config] = gguf::to_hugging_face(&Gguf::open(directory)?)?;
        return Ok((directory.to_owned(), config));
    }
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

fn failed(origin: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let reason = error.detail().map_or_else(|| error.kind().to_string(), String::from);
    Error::Tokenizer(format!("{origin}: {line}{reason}"))
}

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod snippets;
#[cfg(test)]
mod tests;
