//! The assistant's parts of a rendered conversation, as text and as tokens.

use std::ops::Range;

use palestra_datasets::Message;

use super::history::WAYS_OUT;
use super::{BEGIN, ChatTemplate, END, History};
use crate::tokenizer::Kind;
use crate::{Error, Result, Tokenizer};

/// A conversation as text, with the assistant's parts.
#[derive(Debug, Clone, Default, PartialEq)]
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

/// The messages up to a turn of the assistant, and their text.
struct Turn<'a> {
    messages: &'a [Message],
    whole: String,
}

impl ChatTemplate {
    /// Renders a whole conversation and marks the assistant's parts: the text inside `{% generation %}` if the template
    /// has it, otherwise the text that each assistant message adds to that of the messages before.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; a template that rewrites earlier turns, or leaves out their thinking.
    pub fn mark(&self, messages: &[Message]) -> Result<MarkedText> {
        self.mark_from(messages, 0, None)
    }

    /// Tokens of a whole conversation with the assistant mask. Special tokens in the template are one token each.
    ///
    /// # Errors
    /// As [`ChatTemplate::mark`]; text that the tokenizer cannot encode.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<EncodedChat> {
        self.encode_marked(tokenizer, self.mark(messages)?)
    }

    /// Tokens of a conversation in which the messages of the assistant from index `from` on, counted from 0, are learned:
    /// one text, or with [`History::AsTemplate`] one for each of these messages, which ends with it.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`], for the messages from `from` on.
    pub fn encode_rows(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        from: usize,
        history: Option<History>,
    ) -> Result<Vec<EncodedChat>> {
        let turns = || (from..messages.len()).filter(|&at| messages[at].is_assistant());
        if history == Some(History::AsTemplate) && turns().next().is_some() {
            let row = |at: usize| self.encode_marked(tokenizer, self.mark_from(&messages[..=at], at, None)?);
            return turns().map(row).collect();
        }
        Ok(vec![self.encode_marked(tokenizer, self.mark_from(messages, from, history)?)?])
    }

    /// Marks the assistant's parts of the messages from index `from` on. Earlier messages need not be told apart.
    fn mark_from(&self, messages: &[Message], from: usize, history: Option<History>) -> Result<MarkedText> {
        let text = self.render(messages, false)?;
        let turns = (from..messages.len()).filter(|&at| messages[at].is_assistant());
        let turns: Vec<Turn> = turns
            .map(|at| Ok(Turn { messages: &messages[..=at], whole: self.render(&messages[..=at], false)? }))
            .collect::<Result<_>>()?;
        match turns.iter().find(|turn| !text.starts_with(&turn.whole)) {
            None if self.marks_generation => self.mark_by_generation(messages, from),
            None => self.mark_by_prefixes(text, &turns),
            Some(_) if history == Some(History::AsWritten) => self.mark_as_written(messages, from),
            Some(turn) => {
                let number = turn.messages.len();
                Err(self.refusal(format!("it writes message {number} otherwise once messages follow, {WAYS_OUT}")))
            }
        }
    }

    fn mark_by_generation(&self, messages: &[Message], from: usize) -> Result<MarkedText> {
        let mut marked = MarkedText::default();
        let rendered = self.render_marked(messages, false)?;
        for part in rendered.split_inclusive([BEGIN, END]) {
            let text = part.trim_end_matches([BEGIN, END]);
            let start = marked.text.len();
            marked.text.push_str(text);
            if part.ends_with(END) && !text.is_empty() {
                marked.assistant.push(start..marked.text.len());
            }
        }
        if from > 0 {
            let before = self.render(&messages[..from], false)?;
            if !marked.text.starts_with(&before) {
                return Err(self.refusal(format!(
                    "the text of the first {from} messages is not the beginning of the whole, so that what follows cannot be \
                     told"
                )));
            }
            marked.assistant.retain(|range| range.start >= before.len());
        }
        let answers: String = marked.assistant.iter().map(|range| &marked.text[range.clone()]).collect();
        for at in (from..messages.len()).filter(|&at| messages[at].is_assistant()) {
            self.check_thinking(&messages[..=at], &answers)?;
        }
        Ok(marked)
    }

    fn mark_by_prefixes(&self, text: String, turns: &[Turn]) -> Result<MarkedText> {
        let mut assistant = Vec::new();
        for Turn { messages, whole } in turns {
            let answer = self.answer_in(whole, messages)?;
            self.check_thinking(messages, &answer.text)?;
            assistant.push(answer.before.len()..answer.before.len() + answer.text.len());
        }
        Ok(MarkedText { text, assistant })
    }

    fn encode_marked(&self, tokenizer: &Tokenizer, marked: MarkedText) -> Result<EncodedChat> {
        let mut chat = EncodedChat::default();
        for (token, Range { start, end }) in encode_with_places(tokenizer, &marked.text)? {
            chat.tokens.push(token);
            let is_inside = |range: &Range<usize>| range.start <= start && start < range.end && end <= range.end;
            chat.is_assistant.push(marked.assistant.iter().any(is_inside));
        }
        Ok(chat)
    }
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
