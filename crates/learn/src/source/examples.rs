//! Fine-tuning examples as rows of tokens, one per row or packed, shuffled in each epoch.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use palestra_datasets::Content;
use palestra_datasets::examples::{Examples, Form, Lesson};
use palestra_datasets::shards::Shuffle;
use palestra_envs::episode_seed;
use serde::{Deserialize, Serialize};

use super::packing::pack;
use crate::batch::TextRow;
use crate::{Error, Result};
use palestra_report::Metrics;
use palestra_text::{ChatTemplate, EncodedChat, Tokenizer};

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
}

/// An example as tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EncodedExample {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// For each token, true if it counts in the loss.
    pub learned: Vec<bool>,
    /// True if prompt and completion were encoded apart, since their border lies inside a token of the whole text.
    pub is_apart: bool,
}

/// Counts of the examples of some files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExampleCounts {
    /// Examples read.
    pub read: usize,
    /// Truncated examples.
    pub cut: usize,
    /// Examples dropped for their length, including those left without a counted token after truncation.
    pub too_long: usize,
    /// Examples dropped because they have no counted token, such as a conversation without a message of the assistant.
    pub without_target: usize,
    /// Tokens that count in the loss.
    pub counted: usize,
    /// All kept tokens.
    pub tokens: usize,
    /// Truncated tokens.
    pub cut_off: usize,
    /// Examples whose completion is encoded apart from its prompt.
    pub apart: usize,
}

/// The encoded examples of some files, one per row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExampleRows {
    /// One row per kept example, in the order of the files.
    pub rows: Vec<TextRow>,
    /// Counts over all examples.
    pub counts: ExampleCounts,
}

/// Endless stream of rows: each epoch goes through all examples in its own order and packing.
#[derive(Debug, Clone)]
pub struct ExampleOrder {
    examples: Arc<[TextRow]>,
    lengths: Vec<usize>,
    /// Max length of a packed row; `None`: one example per row.
    packed_to: Option<usize>,
    seed: u64,
    place: ExamplePlace,
    /// The examples of each row of this epoch.
    epoch_rows: Vec<Vec<usize>>,
}

/// Position of the next row in the examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamplePlace {
    /// Completed passes over all examples.
    pub epoch: u64,
    /// Rows drawn in this epoch.
    pub number: u64,
}

/// Error of an example: the column and the reason.
pub type Wrong = (&'static str, String);

/// An example fitted to the max length of a row.
pub(super) enum Encoded {
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
    /// Reads and encodes all examples of some files.
    ///
    /// # Errors
    /// A row without what its form needs, a template that fails, a text that cannot be encoded: with file, row and
    /// column. Files in which there is nothing to learn.
    pub fn read(&self, files: &[String], form: Form) -> Result<ExampleRows> {
        let lengths = self.tokenizer.token_bytes();
        let mut found = ExampleRows::default();
        for example in Examples::open(files, form)? {
            let example = example?;
            let encoded = self.encode(&example.lesson);
            let encoded = encoded.map_err(|(column, reason)| example.origin.error(column, reason))?;
            found.counts.apart += usize::from(encoded.is_apart);
            found.take(self.fit(encoded), &lengths);
        }
        let ExampleCounts { read, too_long, without_target, .. } = found.counts;
        match (found.rows.is_empty(), read) {
            (false, _) => Ok(found),
            (true, 0) => Err(Error::Data(format!("{}: there is no row in it", files.join(", ")))),
            (true, _) => Err(Error::Data(format!(
                "{}: of {read} rows none is left to learn from: {too_long} are longer than text.window = {} tokens, and \
                 {without_target} have nothing that is learned",
                files.join(", "),
                self.max_length - 1
            ))),
        }
    }

    /// Encodes an example.
    pub(super) fn encode(&self, lesson: &Lesson) -> Result<EncodedExample, Wrong> {
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
            Lesson::Conversation { messages, from } => {
                let missing = || {
                    let reason = "there is no chat template to write it with: start from a model that has one, or name a \
                                  file in text.chat_template";
                    ("messages", reason.to_string())
                };
                let template = self.template.ok_or_else(missing)?;
                let EncodedChat { tokens, is_assistant } = template
                    .encode_from(self.tokenizer, messages, *from)
                    .map_err(|error| ("messages", error.to_string()))?;
                Ok(EncodedExample { tokens, learned: is_assistant, is_apart: false })
            }
        }
    }

    /// Encodes two whole texts that part somewhere. All tokens count but the longest beginning that they share.
    pub(super) fn encode_parted(&self, texts: [String; 2]) -> Result<[EncodedExample; 2], Wrong> {
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
    pub(super) fn fit(&self, EncodedExample { mut tokens, mut learned, .. }: EncodedExample) -> Encoded {
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

impl ExampleRows {
    fn take(&mut self, encoded: Encoded, lengths: &[u32]) {
        let counts = &mut self.counts;
        counts.read += 1;
        let mut row = match encoded {
            Encoded::Whole(row) => row,
            Encoded::Cut(row, beyond) => {
                (counts.cut, counts.cut_off) = (counts.cut + 1, counts.cut_off + beyond);
                row
            }
            Encoded::TooLong => return counts.too_long += 1,
            Encoded::WithoutTarget => return counts.without_target += 1,
        };
        row.bytes = row.counted.iter().map(|&at| lengths[row.tokens[at] as usize] as usize).sum();
        (counts.tokens, counts.counted) = (counts.tokens + row.tokens.len(), counts.counted + row.counted.len());
        self.rows.push(row);
    }

    /// Splits off the given share at the end, at least one example.
    ///
    /// # Errors
    /// Fewer than two examples.
    pub fn split_off(&mut self, share: f64) -> Result<Vec<TextRow>> {
        let count = self.rows.len();
        if count < 2 {
            return Err(Error::Data(
                "text.files: there is one example, and one more is needed to be held out; name text.validation".into(),
            ));
        }
        let held_out = ((count as f64 * share) as usize).clamp(1, count - 1);
        Ok(self.rows.split_off(count - held_out))
    }
}

impl ExampleCounts {
    /// Metrics of each update.
    pub fn metrics(&self) -> Metrics {
        let named = [
            ("data/examples_cut", self.cut),
            ("data/examples_dropped", self.too_long + self.without_target),
            ("data/tokens_cut_off", self.cut_off),
            ("data/examples_apart", self.apart),
        ];
        named.map(|(name, count)| (name.to_string(), count as f64)).into()
    }
}

impl ExampleOrder {
    /// Creates a stream of rows from these examples; the seed fixes their order.
    pub fn new(examples: Arc<[TextRow]>, packed_to: Option<usize>, seed: u64) -> Self {
        let lengths = examples.iter().map(|row| row.tokens.len()).collect();
        let place = ExamplePlace::default();
        let mut order = Self { examples, lengths, packed_to, seed, place, epoch_rows: Vec::new() };
        order.begin_epoch(0);
        order
    }

    /// The next row.
    pub fn draw(&mut self) -> TextRow {
        if self.place.number >= self.epoch_rows.len() as u64 {
            self.begin_epoch(self.place.epoch + 1);
        }
        // Packing sorts by length, so rows are shuffled again.
        let shuffle = Shuffle::new(self.epoch_rows.len() as u64, !episode_seed(self.seed, self.place.epoch));
        let row = &self.epoch_rows[shuffle.at(self.place.number) as usize];
        self.place.number += 1;
        join(row.iter().map(|&at| &self.examples[at]))
    }

    /// Number of rows of this epoch; others have about as many.
    pub fn rows_per_epoch(&self) -> u64 {
        self.epoch_rows.len() as u64
    }

    /// Position of the next row.
    pub fn place(&self) -> ExamplePlace {
        self.place
    }

    /// Moves to a position; returns false if the position does not exist.
    pub fn go_to(&mut self, place: ExamplePlace) -> bool {
        self.begin_epoch(place.epoch);
        self.place = place;
        place.number <= self.epoch_rows.len() as u64
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.place = ExamplePlace { epoch, number: 0 };
        let count = self.examples.len() as u64;
        let shuffle = Shuffle::new(count, episode_seed(self.seed, epoch));
        let order = (0..count).map(|number| shuffle.at(number) as usize);
        self.epoch_rows = match self.packed_to {
            Some(max_length) => pack(&self.lengths, order, max_length),
            None => order.map(|at| vec![at]).collect(),
        };
    }
}

/// Packs examples into as few rows as possible, always in the same order.
pub fn packed(examples: &[TextRow], max_length: usize) -> Vec<TextRow> {
    let lengths: Vec<usize> = examples.iter().map(|row| row.tokens.len()).collect();
    let rows = pack(&lengths, 0..examples.len(), max_length);
    rows.iter().map(|row| join(row.iter().map(|&at| &examples[at]))).collect()
}

/// Joins examples into one row; attention does not cross their borders.
fn join<'a>(examples: impl IntoIterator<Item = &'a TextRow>) -> TextRow {
    let mut row = TextRow::default();
    for example in examples {
        let start = row.tokens.len();
        if start > 0 {
            row.borders.push(start);
        }
        row.counted.extend(example.counted.iter().map(|at| start + at));
        row.tokens.extend(&example.tokens);
        row.bytes += example.bytes;
    }
    row
}

/// Returns the chat template: from its own file if given, otherwise from a model's directory.
///
/// # Errors
/// A file that cannot be read, or is no template.
pub fn template_of(file: Option<&Path>, model: Option<&Path>) -> Result<Option<ChatTemplate>> {
    match (file, model) {
        (Some(file), _) => Ok(Some(ChatTemplate::from_file(file, model)?)),
        (None, Some(model)) => Ok(ChatTemplate::from_directory(model)?),
        (None, None) => Ok(None),
    }
}

impl fmt::Display for ExampleCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, cut, too_long, without_target, counted, tokens, cut_off, apart } = self;
        write!(f, "{read} examples of {tokens} tokens, {counted} of them learned")?;
        if *cut > 0 {
            write!(f, "; {cut} cut to text.window, which leaves out {cut_off} tokens")?;
        }
        if *too_long > 0 {
            write!(f, "; {too_long} dropped as longer than text.window")?;
        }
        if *without_target > 0 {
            write!(f, "; {without_target} dropped that have nothing to learn")?;
        }
        if *apart > 0 {
            write!(
                f,
                "; {apart} whose prompt ends inside a token of the whole text, encoded apart from the completion"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
