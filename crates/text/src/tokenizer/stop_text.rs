//! Stop texts: strings that end a generated text and are no part of it.

use std::cell::RefCell;

use super::{TextStream, Tokenizer};
use crate::Result;

/// Text of tokens as they arrive, up to the first stop text.
///
/// Text is held back while it may be the beginning of a stop text. So what is searched with each token is at most as long
/// as the longest stop text and the token's own text together, however long the whole text is.
pub struct StopStream<'a> {
    stream: TextStream<'a>,
    stop: &'a [String],
    held: String,
    is_stopped: bool,
}

impl<'a> StopStream<'a> {
    /// A stream that has seen no tokens.
    pub fn new(tokenizer: &'a Tokenizer, stop: &'a [String]) -> Self {
        Self { stream: TextStream::new(tokenizer), stop, held: String::new(), is_stopped: false }
    }

    /// True once a stop text has arrived. Nothing comes after it.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Adds a token and returns the further text that stands before any stop text, possibly empty.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<String> {
        if self.is_stopped {
            return Ok(String::new());
        }
        let piece = self.stream.push(token)?;
        Ok(self.take(&piece))
    }

    /// The remaining text when no token follows: what was held back begins no stop text.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn finish(&mut self) -> Result<String> {
        if self.is_stopped {
            return Ok(String::new());
        }
        let last = self.stream.finish()?;
        let text = self.take(&last);
        Ok(text + &std::mem::take(&mut self.held))
    }

    fn take(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        if let Some(before) = before_stop(&self.held, self.stop).map(str::len) {
            self.is_stopped = true;
            self.held.truncate(before);
            return std::mem::take(&mut self.held);
        }
        let begins_stop = |at: &usize| self.stop.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let until = self.held.char_indices().map(|(at, _)| at).find(begins_stop).unwrap_or(self.held.len());
        let rest = self.held.split_off(until);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Stop check of texts that are written at once, each in a row of its own.
pub struct StopCheck<'a> {
    tokenizer: &'a Tokenizer,
    stop: &'a [String],
    rows: RefCell<Vec<StopStream<'a>>>,
}

impl<'a> StopCheck<'a> {
    /// A check of `rows` texts that have begun.
    pub fn new(tokenizer: &'a Tokenizer, stop: &'a [String], rows: usize) -> Self {
        let streams = (0..rows).map(|_| StopStream::new(tokenizer, stop)).collect();
        Self { tokenizer, stop, rows: RefCell::new(streams) }
    }

    /// Begins another text in a row.
    pub fn begin(&self, row: usize) {
        self.rows.borrow_mut()[row] = StopStream::new(self.tokenizer, self.stop);
    }

    /// Takes the next token of a row's text, and returns true once the text holds a stop text. Tokens that cannot be
    /// decoded stop nothing.
    pub fn is_stopped(&self, row: usize, token: u32) -> bool {
        let stream = &mut self.rows.borrow_mut()[row];
        stream.push(token).is_ok() && stream.is_stopped()
    }
}

/// The text before the first stop text; `None` if there is none.
pub fn before_stop<'a>(text: &'a str, stop: &[String]) -> Option<&'a str> {
    stop.iter().filter_map(|stop| text.find(stop.as_str())).min().map(|at| &text[..at])
}

#[cfg(test)]
mod tests;
