//! An example as the tokens of a row, with those that the loss counts.

use palestra_datasets::Content;
use palestra_datasets::examples::Lesson;
use serde::{Deserialize, Serialize};

use crate::batch::TextRow;
use palestra_text::{ChatTemplate, EncodedChat, History, Tokenizer};

/// Treatment of examples that are longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// Truncates the example; drops it if no counted token is left.
    Cut,
    /// Drops the example.
    Drop,
}

/// Treatment of a prompt and a completion, both texts, whose border lies inside a token of the whole text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// Encodes the two apart, as TRL does: the tokens differ from those of the whole text.
    #[default]
    Apart,
    /// Refuses the row.
    Refuse,
}

/// Encoder of examples.
pub struct ExampleEncoder<'a> {
    /// Tokenizer of the examples.
    pub tokenizer: &'a Tokenizer,
    /// Chat template of conversations, if known.
    pub template: Option<&'a ChatTemplate>,
    /// Max length of a row, in tokens; the last token is predicted and not read.
    pub max_length: usize,
    /// Treatment of longer examples.
    pub too_long: TooLong,
    /// Treatment of borders inside tokens.
    pub border: Border,
    /// Treatment of earlier turns by a template that rewrites them.
    pub history: Option<History>,
}

/// An example as tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::source) struct EncodedExample {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// For each token, true if it counts in the loss.
    pub learned: Vec<bool>,
    /// True if prompt and completion were encoded apart, since their border lies inside a token of the whole text.
    pub is_apart: bool,
}

/// Error of an example: the column and the reason.
pub type Wrong = (&'static str, String);

/// An example fitted to the max length of a row.
pub(in crate::source) enum Encoded {
    /// Unchanged.
    Whole(TextRow),
    /// Truncated; with the number of removed tokens.
    Cut(TextRow, usize),
    /// Dropped for its length.
    TooLong,
    /// Dropped because it has no counted token.
    WithoutTarget,
}

impl ExampleEncoder<'_> {
    /// Encodes an example as its rows: one, or with [`History::AsTemplate`] one for each turn of the assistant.
    pub(in crate::source) fn encode_rows(&self, lesson: &Lesson) -> Result<Vec<EncodedExample>, Wrong> {
        let Lesson::Conversation { messages, from } = lesson else { return Ok(vec![self.encode_text(lesson)?]) };
        let missing = || {
            let reason = "there is no chat template to write it with: start from a model that has one, or name a file in \
                          text.chat_template";
            ("messages", reason.to_string())
        };
        let template = self.template.ok_or_else(missing)?;
        let rows = template.encode_rows(self.tokenizer, messages, *from, self.history);
        let rows = rows.map_err(|error| ("messages", error.to_string()))?.into_iter();
        let row =
            |EncodedChat { tokens, is_assistant }| EncodedExample { tokens, learned: is_assistant, is_apart: false };
        Ok(rows.map(row).collect())
    }

    /// Encodes an example as one row.
    pub(in crate::source) fn encode(&self, lesson: &Lesson) -> Result<EncodedExample, Wrong> {
        Ok(self.encode_rows(lesson)?.pop().expect("an example has a row"))
    }

    /// Encodes an example that is no conversation.
    fn encode_text(&self, lesson: &Lesson) -> Result<EncodedExample, Wrong> {
        let encode = |column: &'static str, text: &str| {
            self.tokenizer.encode_beginning(text).map_err(|error| (column, error.to_string()))
        };
        let ended = |mut tokens: Vec<u32>, from: usize| {
            tokens.extend(self.tokenizer.special().end);
            let learned = (0..tokens.len()).map(|at| at >= from).collect();
            EncodedExample { tokens, learned, is_apart: false }
        };
        match lesson {
            Lesson::Text(text) => Ok(ended(encode("text", text)?, 0)),
            Lesson::Continuation { prompt, completion } => {
                let (read, all) = (encode("prompt", prompt)?, encode("completion", &format!("{prompt}{completion}"))?);
                if all.starts_with(&read) {
                    return Ok(ended(all, read.len()));
                }
                if self.border == Border::Refuse {
                    let reason = "the tokens of the prompt are not the beginning of those of prompt and completion together: \
                                  their border lies inside a token; move a space from the end of the prompt to the \
                                  beginning of the completion, or remove border = \"refuse\"";
                    return Err(("prompt", reason.to_string()));
                }
                let (from, mut apart) = (read.len(), read);
                self.tokenizer.encode(completion, &mut apart).map_err(|error| ("completion", error.to_string()))?;
                Ok(EncodedExample { is_apart: true, ..ended(apart, from) })
            }
            Lesson::Conversation { .. } => unreachable!("encoded by the chat template"),
        }
    }

    /// Encodes two whole texts that part somewhere. All tokens count but the longest beginning that they share.
    pub(in crate::source) fn encode_parted(&self, texts: [String; 2]) -> Result<[EncodedExample; 2], Wrong> {
        let [first, second] = texts.map(|text| self.encode(&Lesson::Text(text)));
        let mut both = [first?, second?];
        let shared = both[0].tokens.iter().zip(&both[1].tokens).take_while(|(left, right)| left == right).count();
        for text in &mut both {
            text.learned[..shared].fill(false);
        }
        Ok(both)
    }

    /// Encodes a prompt and its answer as one row, truncated to the max length.
    ///
    /// # Errors
    /// A text that cannot be encoded, or a row with nothing left of the answer: the column, and why.
    pub fn answer(&self, prompt: &Content, answer: &Content) -> Result<TextRow, Wrong> {
        let lesson = Lesson::of_answer(prompt, answer).map_err(|reason| ("completion", reason))?;
        match self.fit(self.encode(&lesson)?) {
            Encoded::Whole(row) | Encoded::Cut(row, _) => Ok(row),
            Encoded::TooLong => {
                let reason = format!("leaves no room for an answer in {} tokens; shorten it", self.max_length);
                Err(("prompt", reason))
            }
            Encoded::WithoutTarget => Err(("completion", "is empty".into())),
        }
    }

    /// Turns tokens and their loss mask into a row, truncated to the max length. The bytes of the row are left at 0.
    pub(in crate::source) fn fit(&self, EncodedExample { mut tokens, mut learned, .. }: EncodedExample) -> Encoded {
        // The first token is never predicted.
        let has_target = |learned: &[bool]| learned.iter().skip(1).any(|&learned| learned);
        if !has_target(&learned) {
            return Encoded::WithoutTarget;
        }
        let beyond = tokens.len().saturating_sub(self.max_length);
        tokens.truncate(self.max_length);
        learned.truncate(self.max_length);
        if beyond > 0 && (self.too_long == TooLong::Drop || !has_target(&learned)) {
            return Encoded::TooLong;
        }
        let counted = (1..tokens.len()).filter(|&at| learned[at]).collect();
        let row = TextRow { tokens, counted, borders: Vec::new(), bytes: 0 };
        if beyond > 0 { Encoded::Cut(row, beyond) } else { Encoded::Whole(row) }
    }
}
