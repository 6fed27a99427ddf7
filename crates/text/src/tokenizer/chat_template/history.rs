//! Earlier turns of a conversation, which templates of reasoning models write otherwise than when they were the last.

use palestra_datasets::Message;
use serde::{Deserialize, Serialize};

use super::{ANSWER, ChatTemplate, MarkedText};
use crate::{Error, Result};

/// Treatment of the earlier turns of a conversation by a template that rewrites them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Each turn stays as it was written: a conversation is one text.
    AsWritten,
    /// Each turn of the assistant is read after the history that the template writes: a conversation is a text for each
    /// of them.
    AsTemplate,
}

/// Ways out where a template rewrites history.
pub(super) const WAYS_OUT: &str = "as templates of reasoning models drop the thinking of earlier turns: choose history = \"as_written\" (every turn stays \
     as it was written) or history = \"as_template\" (each turn of the assistant apart, after the history that the template \
     writes), or name a template that keeps every turn, such as chat_template = \"qwen3-training\" or \"r1-training\"";

/// An answer of the assistant in a rendered conversation.
pub(super) struct Answer {
    /// Text before the answer, as far as the whole conversation and the prompt of the answer have it in common.
    pub before: String,
    /// Beginning of the assistant's turn that the prompt has and the whole conversation has not.
    pub left_out: String,
    /// The answer with its end token.
    pub text: String,
    /// Text that the template puts after it, such as a line break.
    pub after: String,
}

impl ChatTemplate {
    /// Text between the end of an assistant's answer, its end token included, and the start of its next turn after
    /// further messages. With [`History::AsWritten`] the template may write the answer otherwise once they follow.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; a template that rewrites earlier turns, without a history that allows it.
    pub fn render_further(&self, messages: &[Message], history: Option<History>) -> Result<String> {
        self.further(messages, true, history)
    }

    fn further(&self, messages: &[Message], add_generation_prompt: bool, history: Option<History>) -> Result<String> {
        let question = Message::new("user", "a");
        let answered = |answer: &str| [question.clone(), Message::new("assistant", answer)];
        let go_on = |answer: &str| self.render(&[&answered(answer)[..], messages].concat(), add_generation_prompt);
        // An answer that thinks, so that a template which forgets thoughts shows it.
        let thoughtful = "<think>\nb\n</think>\n\nb";
        let answer = self.answer(&answered(thoughtful))?;
        if answer.left_out.is_empty()
            && let Some(rest) = go_on(thoughtful)?.strip_prefix(&(answer.before + &answer.text))
        {
            return Ok(rest.to_string());
        }
        if history != Some(History::AsWritten) {
            return Err(self.refusal(format!("it writes an answer otherwise once messages follow, {WAYS_OUT}")));
        }
        let marked = ANSWER.to_string();
        let Answer { text, .. } = self.answer(&answered(&marked))?;
        let all = go_on(&marked)?;
        let end = text.split_once(ANSWER).map(|(_, end)| end);
        let rest = end.zip(all.split_once(ANSWER)).and_then(|(end, (_, rest))| rest.strip_prefix(end));
        rest.map(str::to_string).ok_or_else(|| {
            self.refusal("what ends an answer depends on the messages after it, so that nothing can go on from it")
        })
    }

    /// Renders a conversation in which each turn of the assistant from message `from` on stays as it is written when it is
    /// the last.
    pub(super) fn mark_as_written(&self, messages: &[Message], from: usize) -> Result<MarkedText> {
        let mut marked = MarkedText::default();
        let (mut after, mut next) = (String::new(), 0);
        for at in (from..messages.len()).filter(|&at| messages[at].is_assistant()) {
            let answer = self.answer(&messages[..=at])?;
            if next == 0 {
                marked.text = answer.before;
            } else {
                let further = self.further(&messages[next..at], true, Some(History::AsWritten))?;
                let kept = further.strip_suffix(answer.left_out.as_str());
                marked.text.push_str(kept.ok_or_else(|| self.unclear(at))?);
            }
            self.check_thinking(&messages[..=at], &answer.text)?;
            let start = marked.text.len();
            marked.text.push_str(&answer.text);
            marked.assistant.push(start..marked.text.len());
            (after, next) = (answer.after, at + 1);
        }
        match next {
            0 => marked.text = self.render(messages, false)?,
            _ if next == messages.len() => marked.text.push_str(&after),
            _ => marked.text.push_str(&self.further(&messages[next..], false, Some(History::AsWritten))?),
        }
        Ok(marked)
    }

    /// The last message as an answer to those before it.
    fn answer(&self, messages: &[Message]) -> Result<Answer> {
        self.answer_in(&self.render(messages, false)?, messages)
    }

    /// The last message as an answer to those before it. `whole` is the text of all of them.
    ///
    /// # Errors
    /// A template with which the answer changes the text before it.
    pub(super) fn answer_in(&self, whole: &str, messages: &[Message]) -> Result<Answer> {
        let at = messages.len() - 1;
        let prompt = self.render(&messages[..at], true)?;
        let mut shared = prompt.len();
        if !whole.starts_with(&prompt) {
            // Templates of R1's family begin an answer with <think> in the prompt, and without it in a conversation. As in
            // TRL, the answer is what follows after the text that both share.
            let same = prompt.char_indices().zip(whole.chars()).take_while(|((_, left), right)| left == right);
            shared = same.last().map_or(0, |((start, character), _)| start + character.len_utf8());
            let messages_alone = self.render(&messages[..at], false)?;
            if messages_alone.len() > shared || !whole.starts_with(&messages_alone) {
                return Err(self.unclear(at));
            }
        }
        // The turn ends with its end token: a line break after it is not part of the assistant's answer.
        let own = &whole[shared..];
        let ends = self.special.get("eos_token").is_some_and(|eos| own.trim_end().ends_with(eos.as_str()));
        let (text, after) = own.split_at(if ends { own.trim_end().len() } else { own.len() });
        Ok(Answer {
            before: whole[..shared].to_string(),
            left_out: prompt[shared..].to_string(),
            text: text.to_string(),
            after: after.to_string(),
        })
    }

    /// # Errors
    /// A text of the answer that is the last message without the thinking that it has.
    pub(super) fn check_thinking(&self, messages: &[Message], answer: &str) -> Result<()> {
        let end = "</think>";
        let thinks = messages.last().is_some_and(|message| message.text().contains(end));
        if !thinks || answer.contains(end) {
            return Ok(());
        }
        Err(self.refusal(format!(
            "it leaves out the thinking (up to {end}) of message {}, which is learned: name a template that keeps it, such as \
             chat_template = \"qwen3-training\" or \"r1-training\"",
            messages.len()
        )))
    }

    /// The error of an answer that cannot be told from the text before it.
    pub(super) fn unclear(&self, at: usize) -> Error {
        self.refusal(format!(
            "what message {} adds cannot be told: the text of the messages before it is not the beginning of the whole; put \
             {{% generation %}} and {{% endgeneration %}} around what the assistant writes",
            at + 1
        ))
    }
}
