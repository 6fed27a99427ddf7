//! The examples of some files as rows, with counts of what was kept of them.

use std::fmt;
use std::ops::AddAssign;

use palestra_datasets::examples::{Examples, Form};

use super::encoder::{Encoded, ExampleEncoder};
use crate::batch::TextRow;
use crate::{Error, Result};
use palestra_report::Metrics;

/// Counts of the examples of some files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExampleCounts {
    /// Examples read; turns of the assistant where each is a row of its own.
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

/// The encoded examples of some files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExampleRows {
    /// Rows of the kept examples, in the order of the files.
    pub rows: Vec<TextRow>,
    /// Counts over all examples.
    pub counts: ExampleCounts,
    /// Number of the example of each row: a conversation may have several rows.
    examples: Vec<usize>,
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
        for (number, example) in Examples::open(files, form)?.enumerate() {
            let example = example?;
            let encoded = self.encode_rows(&example.lesson);
            for row in encoded.map_err(|(column, reason)| example.origin.error(column, reason))? {
                found.counts.apart += usize::from(row.is_apart);
                found.take(self.fit(row), number, &lengths);
            }
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
}

impl ExampleRows {
    fn take(&mut self, encoded: Encoded, number: usize, lengths: &[u32]) {
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
        self.examples.push(number);
    }

    /// Splits off the given share of the rows at the end: whole examples, at least one.
    ///
    /// # Errors
    /// Fewer than two examples.
    pub fn split_off(&mut self, share: f64) -> Result<Vec<TextRow>> {
        let begins = |at: &usize| self.examples[*at] != self.examples[at - 1];
        let count = self.rows.len();
        let held_out = ((count as f64 * share) as usize).max(1);
        let before = (1..=count.saturating_sub(held_out)).rev().find(begins);
        let at = before.or_else(|| (1..count).find(begins)).ok_or_else(|| {
            Error::Data(
                "text.files: there is one example, and one more is needed to be held out; name text.validation".into(),
            )
        })?;
        self.examples.truncate(at);
        Ok(self.rows.split_off(at))
    }
}

impl AddAssign for ExampleCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { read, cut, too_long, without_target, counted, tokens, cut_off, apart } = other;
        self.read += read;
        self.cut += cut;
        self.too_long += too_long;
        self.without_target += without_target;
        self.counted += counted;
        self.tokens += tokens;
        self.cut_off += cut_off;
        self.apart += apart;
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
