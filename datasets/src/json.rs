//! Rows of a JSON file: objects one after another, one on each line or pretty-printed, or the elements of one array.
//!
//! Every reader of rows reads them here, so that a file is right for all of them or for none. Text is UTF-8, or UTF-16
//! with a byte-order mark. Rows are read as they are needed: memory holds one row, however long the file or its array
//! is.

mod fault;
mod integers;
mod utf16;

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Map, Value};

use crate::error::{Error, Result, shown};
use crate::origin::{Origin, RowPlace};
use fault::Fault;
pub(crate) use utf16::Utf8Reader;

/// Number of bytes read at a time.
const CHUNK: usize = 1 << 18;

/// Reader of rows. After an error in a row, it continues with the next line; after one inside of an array, it ends.
///
/// ```
/// # use palestra_datasets::JsonRows;
/// let mut rows = JsonRows::new("a.json".as_ref(), "[{\"a\": 1},\n {\"a\": 2}]".as_bytes());
/// assert_eq!(rows.next_text().unwrap()?, (1, b"{\"a\": 1}".to_vec()));
/// assert_eq!(rows.next().unwrap()?.1["a"], 2);
/// assert!(rows.next().is_none());
/// # Ok::<(), palestra_datasets::Error>(())
/// ```
pub struct JsonRows<R> {
    file: Arc<Path>,
    reader: Utf8Reader<R>,
    /// Text of the file from some byte on.
    buffer: Vec<u8>,
    /// Number of the buffer's bytes that are consumed.
    consumed: usize,
    /// Place of the first byte that is not consumed.
    place: TextPlace,
    bytes: u64,
    input_ended: bool,
    state: State,
}

/// Line and column, counted from 1 in characters, as in editors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextPlace {
    pub line: u64,
    pub column: u64,
}

/// A parsed row.
struct Found<T> {
    /// The line on which it begins.
    line: u64,
    value: T,
    /// Place of its text in the buffer, until more is read.
    text: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Objects one after another.
    Rows,
    /// Elements of an array.
    Elements {
        any: bool,
    },
    AfterArray,
    Ended,
}

impl<R: Read> JsonRows<R> {
    /// Reads from any reader; `file` is used in errors.
    pub fn new(file: &Path, reader: R) -> Self {
        Self {
            file: file.into(),
            reader: Utf8Reader::new(reader),
            buffer: Vec::new(),
            consumed: 0,
            place: TextPlace { line: 1, column: 1 },
            bytes: 0,
            input_ended: false,
            state: State::Start,
        }
    }

    /// Returns the number of bytes of text in the rows so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next row with the line on which it begins; `None` after the last.
    #[expect(clippy::should_implement_trait, reason = "a reader of rows has two ways to the next one")]
    pub fn next(&mut self) -> Option<Result<(u64, Map<String, Value>)>> {
        let found = self.found()?.and_then(|Found { line, value, text }| {
            let row = match value {
                Value::Object(mut row) => integers::keep_long(&mut row, &self.buffer[text]).map(|()| (line, row)),
                other => Err(format!("{} where an object {{...}} should be", shown(&other))),
            };
            row.map_err(|reason| self.refused(line, reason))
        });
        Some(found)
    }

    /// Returns the text of the next row, which is JSON but for its charset, with the line on which it begins; `None` after
    /// the last.
    pub fn next_text(&mut self) -> Option<Result<(u64, Vec<u8>)>> {
        let found = self.found::<IgnoredAny>()?.and_then(|Found { line, text, .. }| {
            let text = self.buffer[text].to_vec();
            match text.first() {
                Some(b'{') => Ok((line, text)),
                _ => {
                    Err(self
                        .refused(line, format!("{} where an object {{...}} should be", String::from_utf8_lossy(&text))))
                }
            }
        });
        Some(found)
    }

    /// The error of a value that is no row.
    fn refused(&mut self, line: u64, reason: String) -> Error {
        if matches!(self.state, State::Elements { .. }) {
            self.state = State::Ended;
        }
        self.origin(line).error("the line", reason)
    }

    fn found<T: DeserializeOwned>(&mut self) -> Option<Result<Found<T>>> {
        let next = self.read();
        if matches!(next, Ok(None) | Err(Error::Io { .. })) {
            self.state = State::Ended;
        }
        next.transpose()
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<Option<Found<T>>> {
        if self.state == State::Ended {
            return Ok(None);
        }
        let next = self.skip_blank()?;
        if self.state == State::Start && next == Some(b'[') {
            self.state = State::Elements { any: false };
            self.consume(1);
            return self.read();
        }
        match (self.state, next) {
            (State::Elements { any }, next) => {
                let element = self.element(any, next);
                if element.is_err() {
                    self.state = State::Ended;
                }
                element
            }
            (State::AfterArray, Some(_)) => {
                self.state = State::Ended;
                let reason = "more text after the end of the array; a file is one array, or an object on each line";
                Err(self.wrong(self.place, reason))
            }
            (_, None) => Ok(None),
            (_, Some(b',')) => {
                let error = self.wrong(
                    self.place,
                    "a comma after a row; rows on lines have none between them, or else the whole file is one array [...]",
                );
                self.skip_line()?;
                Err(error)
            }
            (_, Some(_)) => {
                self.state = State::Rows;
                self.value().map(Some)
            }
        }
    }

    /// Reads the next element of an array, with what separates it from the one before.
    fn element<T: DeserializeOwned>(&mut self, any: bool, next: Option<u8>) -> Result<Option<Found<T>>> {
        let next = match next {
            Some(b',') if any => {
                self.consume(1);
                match self.skip_blank()? {
                    Some(b']') => return Err(self.wrong(self.place, fault::TRAILING_COMMA)),
                    next => next,
                }
            }
            Some(b']') => {
                self.consume(1);
                self.state = State::AfterArray;
                return self.read();
            }
            Some(_) if any => return Err(self.wrong(self.place, "the next row where a comma or the ] should be")),
            next => next,
        };
        match next {
            None => {
                Err(self.wrong(self.place, "the array does not end: the file is cut off, or its last ] is missing"))
            }
            Some(b',') => Err(self.wrong(self.place, "a comma where a row should be; remove it")),
            Some(_) => {
                self.state = State::Elements { any: true };
                self.value().map(Some)
            }
        }
    }

    /// Parses the value that begins at the first unconsumed byte.
    fn value<T: DeserializeOwned>(&mut self) -> Result<Found<T>> {
        let start = self.place;
        loop {
            let text = &self.buffer[self.consumed..];
            let mut values = Deserializer::from_slice(text).into_iter::<T>();
            let parsed = values.next().expect("it begins with something that is not blank");
            let length = values.byte_offset();
            match parsed {
                Ok(value) => {
                    let text = self.consumed..self.consumed + length;
                    self.consume(length);
                    return Ok(Found { line: start.line, value, text });
                }
                Err(error) if error.is_eof() && !self.input_ended => self.fill()?,
                Err(error) => {
                    let fault = Fault::of(text, &error);
                    let place = start.after(&text[..fault.offset]);
                    let further = match place.line > start.line && !error.is_eof() {
                        true => format!("; its row begins on line {}", start.line),
                        false => String::new(),
                    };
                    let told = match error.is_eof() {
                        true => self.wrong(start, &fault.reason),
                        false => self.wrong(place, &(fault.reason + &further)),
                    };
                    if self.state == State::Rows {
                        self.go_on_after(fault.offset, place.line > start.line)?;
                    }
                    return Err(told);
                }
            }
        }
    }

    /// Continues after an error: with the line on which it was found, if the row began before it, or else with the next.
    fn go_on_after(&mut self, offset: usize, is_later_line: bool) -> Result<()> {
        let text = &self.buffer[self.consumed..];
        match text[..offset].iter().rposition(|&byte| byte == b'\n').filter(|_| is_later_line) {
            Some(line_end) => self.consume(line_end + 1),
            None => {
                self.consume(offset);
                self.skip_line()?;
            }
        }
        Ok(())
    }

    /// Consumes the rest of a line.
    fn skip_line(&mut self) -> Result<()> {
        loop {
            let text = &self.buffer[self.consumed..];
            match text.iter().position(|&byte| byte == b'\n') {
                Some(line_end) => {
                    self.consume(line_end + 1);
                    return Ok(());
                }
                None => self.consume(text.len()),
            }
            if self.input_ended {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Consumes white space, and byte-order marks, which stand where files were joined. Returns the byte after it.
    fn skip_blank(&mut self) -> Result<Option<u8>> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        loop {
            let text = &self.buffer[self.consumed..];
            let blank = text.iter().position(|byte| !b" \t\r\n".contains(byte)).unwrap_or(text.len());
            let rest = &text[blank..];
            let is_mark = rest.starts_with(MARK);
            let is_cut = !self.input_ended && MARK.starts_with(rest);
            let next = rest.first().copied();
            self.consume(blank);
            if is_mark {
                let place = self.place;
                self.consume(MARK.len());
                self.place = place;
            } else if is_cut {
                self.fill()?;
            } else {
                return Ok(next);
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.place = self.place.after(&self.buffer[self.consumed..self.consumed + count]);
        self.consumed += count;
        self.bytes += count as u64;
    }

    /// Reads as many bytes as there are unconsumed ones, so that a long row is not parsed again for every chunk.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let wanted = CHUNK.max(self.buffer.len());
        let read = (&mut self.reader).take(wanted as u64).read_to_end(&mut self.buffer);
        let count = read.map_err(Error::io(&self.file, "read it"))?;
        self.input_ended = count < wanted;
        Ok(())
    }

    fn origin(&self, line: u64) -> Origin {
        Origin { file: self.file.clone(), place: RowPlace::Line(line) }
    }

    fn wrong(&self, place: TextPlace, reason: &str) -> Error {
        self.origin(place.line).error("the line", format!("is no JSON: column {}: {reason}", place.column))
    }
}

impl TextPlace {
    /// Returns the place after a text that begins here.
    fn after(self, text: &[u8]) -> Self {
        let characters = |text: &[u8]| text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64;
        match text.iter().rposition(|&byte| byte == b'\n') {
            None => Self { column: self.column + characters(text), ..self },
            Some(last) => {
                let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
                Self { line: self.line + lines, column: 1 + characters(&text[last + 1..]) }
            }
        }
    }
}

/// Returns the column, counted from 1 in characters, of the first fault of a line that is no JSON, and what is wrong.
pub fn json_fault(line: &str, error: &serde_json::Error) -> (u64, String) {
    let Fault { offset, reason } = Fault::of(line.as_bytes(), error);
    let offset = if error.is_eof() { 0 } else { offset };
    (TextPlace { line: 1, column: 1 }.after(&line.as_bytes()[..offset]).column, reason)
}

/// Returns an error for text that has a charset of which nothing but UTF-8 is right.
fn unreadable(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests;
