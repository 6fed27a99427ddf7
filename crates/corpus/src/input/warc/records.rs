use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::fields::Fields;
use crate::input::compressed::Opened;
use crate::input::lines::{Line, next_line};
use crate::input::members::Positioned;

/// Limit of a header in bytes, and of the line where a record should begin.
const MAX_HEADER: usize = 64 << 10;

/// The records of a web archive, one after the other. Holds one record at a time.
pub(super) struct Records<R> {
    reader: Positioned<R>,
    /// Offset of the gzip member that the buffer of the reader holds.
    member: Option<Rc<Cell<u64>>>,
    /// Number of the record that was read last, from 1.
    number: u64,
    /// Line at which the next record should begin, and its place. `None` at the end of what can be read.
    next: Option<(Vec<u8>, Offset)>,
    /// Reason for which nothing more can be read.
    failed: Option<io::Error>,
}

/// Place of a record in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    /// Number of the record, from 1.
    pub number: u64,
    offset: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    /// In the file, or in what a compressed file holds.
    Byte(u64),
    /// In the file: that of the gzip member in which the record begins.
    Member(u64),
}

/// A record that was read whole.
pub(super) struct Record {
    pub place: RecordPlace,
    pub fields: Fields,
    pub body: Body,
}

pub(super) enum Body {
    /// The record was not asked for.
    Skipped,
    /// The record is longer than asked for.
    TooLarge,
    Whole(Vec<u8>),
}

/// Problem of an archive.
#[derive(Debug)]
pub(super) enum Broken {
    /// A record that cannot be read. The reader goes on with the next one.
    Record(RecordPlace, String),
    /// A file of which nothing more can be read.
    File(io::Error),
}

impl<'a> Records<io::BufReader<Box<dyn Read + 'a>>> {
    pub fn new(opened: Opened<'a>) -> Self {
        Self::start(opened.reader, opened.member)
    }
}

impl<R: BufRead> Records<R> {
    fn start(reader: R, member: Option<Rc<Cell<u64>>>) -> Self {
        let mut records = Self { reader: Positioned::new(reader), member, number: 0, next: None, failed: None };
        records.advance();
        records
    }

    /// Returns the next record, with its body if it is wanted and has at most `most` bytes.
    pub fn next(&mut self, most: usize, is_wanted: impl Fn(&Fields) -> bool) -> Result<Option<Record>, Broken> {
        let Some((line, offset)) = self.next.take() else {
            return self.failed.take().map_or(Ok(None), |error| Err(Broken::File(error)));
        };
        self.number += 1;
        let place = RecordPlace { number: self.number, offset };
        let read = match begins_record(&line) {
            true => self.read(most, is_wanted).map_err(Broken::File)?,
            false => Err(format!("`{}` stands where a record should begin, with WARC/1.0 or WARC/1.1", shown(&line))),
        };
        if self.next.is_none() {
            self.advance();
        }
        let reason = match (read, &self.next) {
            (Ok((_, body)), Some((line, _))) if !begins_record(line) => {
                let length = match &body {
                    Body::Whole(bytes) => bytes.len().to_string(),
                    _ => "its".into(),
                };
                format!("`{}` stands after {length} bytes, where the next record should begin", shown(line))
            }
            (Ok((fields, body)), _) => return Ok(Some(Record { place, fields, body })),
            (Err(reason), _) => reason,
        };
        while self.next.as_ref().is_some_and(|(line, _)| !begins_record(line)) {
            self.advance();
        }
        Err(Broken::Record(place, reason))
    }

    /// Reads a record behind its first line. The inner error is one of the record.
    fn read(&mut self, most: usize, is_wanted: impl Fn(&Fields) -> bool) -> io::Result<Result<(Fields, Body), String>> {
        let mut header = Vec::new();
        let mut line = Vec::new();
        loop {
            match next_line(&mut self.reader, &mut line, MAX_HEADER)? {
                Line::End => return Ok(Err("the file ends in its header".into())),
                Line::Whole if line.trim_ascii().is_empty() => break,
                Line::Whole if header.len() + line.len() <= MAX_HEADER => header.extend_from_slice(&line),
                _ => return Ok(Err(format!("its header has more than {MAX_HEADER} bytes"))),
            }
        }
        let fields = Fields::parse(&header);
        let length = match fields.get("content-length").map(str::parse::<u64>) {
            Some(Ok(length)) => length,
            Some(Err(_)) => {
                let found = fields.get("content-length").unwrap_or_default();
                return Ok(Err(format!("its Content-Length is {found}; a number of bytes is right")));
            }
            None => return Ok(Err("its header has no Content-Length".into())),
        };
        let mut body = Vec::new();
        let mut block = self.reader.by_ref().take(length);
        let is_wanted = is_wanted(&fields);
        let fits = length <= most as u64;
        let read = match is_wanted && fits {
            true => block.read_to_end(&mut body)? as u64,
            false => io::copy(&mut block, &mut io::sink())?,
        };
        if read < length {
            return Ok(Err(format!("the file ends after {read} of its {length} bytes")));
        }
        let body = match (is_wanted, fits) {
            (true, true) => Body::Whole(body),
            (true, false) => Body::TooLarge,
            (false, _) => Body::Skipped,
        };
        Ok(Ok((fields, body)))
    }

    /// Goes to the next line that is not blank. An error is told after the record that was read.
    fn advance(&mut self) {
        match self.next_line() {
            Ok(next) => self.next = next,
            Err(error) => (self.next, self.failed) = (None, Some(error)),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<(Vec<u8>, Offset)>> {
        let mut line = Vec::new();
        loop {
            self.reader.fill_buf()?; // of the member that the line begins in
            let offset = match &self.member {
                Some(member) => Offset::Member(member.get()),
                None => Offset::Byte(self.reader.offset()),
            };
            match next_line(&mut self.reader, &mut line, MAX_HEADER)? {
                Line::End => return Ok(None),
                Line::Whole if line.trim_ascii().is_empty() => {}
                _ => return Ok(Some((line, offset))),
            }
        }
    }
}

impl RecordPlace {
    /// Offset of the record, or of its gzip member.
    pub fn begin(self) -> u64 {
        match self.offset {
            Offset::Byte(offset) | Offset::Member(offset) => offset,
        }
    }
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Offset::Byte(offset) => write!(f, ", record {} at byte {offset}", self.number),
            Offset::Member(offset) => write!(f, ", record {} in the gzip member at byte {offset}", self.number),
        }
    }
}

fn begins_record(line: &[u8]) -> bool {
    line.starts_with(b"WARC/")
}

/// Start of a line, for a message.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.trim_ascii());
    let start: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, body: &str) -> String {
        format!("WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}\r\n\r\n", body.len())
    }

    /// Type and body of each record, or the place and reason of a problem.
    fn read(file: &str) -> Vec<Result<(String, Option<String>), String>> {
        let mut records = Records::start(file.as_bytes(), None);
        let mut found = Vec::new();
        loop {
            found.push(match records.next(20, |fields| fields.get("warc-type") != Some("request")) {
                Ok(None) => return found,
                Ok(Some(record)) => {
                    let kind = record.fields.get("warc-type").unwrap_or_default().to_string();
                    Ok((
                        kind,
                        match record.body {
                            Body::Whole(bytes) => Some(String::from_utf8(bytes).unwrap()),
                            Body::Skipped => None,
                            Body::TooLarge => Some("too large".into()),
                        },
                    ))
                }
                Err(Broken::Record(place, reason)) => Err(format!("{place}: {reason}")),
                Err(Broken::File(error)) => panic!("{error}"),
            });
        }
    }

    fn whole(kind: &str, body: &str) -> Result<(String, Option<String>), String> {
        Ok((kind.into(), Some(body.into())))
    }

    #[test]
    fn records_are_read_and_what_is_not_wanted_is_passed_over() {
        let file = [record("a", "one\n\nWARC/1.0"), record("request", "two"), record("b", &"x".repeat(21))].concat();
        let expected = [whole("a", "one\n\nWARC/1.0"), Ok(("request".into(), None)), whole("b", "too large")];
        assert_eq!(read(&file), expected);
        assert!(read("").is_empty() && read("\r\n\r\n").is_empty());
        let folded = "WARC/1.1\nwarc-type:  a\n  b\nCONTENT-LENGTH: 0\n\n\n\n";
        assert_eq!(read(folded), [whole("a b", "")]);
    }

    #[test]
    fn a_broken_record_is_told_and_the_next_one_is_read() {
        let good = record("a", "one");
        let at = good.len();
        let long = format!("WARC/1.0\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEADER));
        for (broken, told) in [
            ("WARC/1.0\r\nWARC-Type: b\r\n\r\ntwo\r\n\r\n", "its header has no Content-Length"),
            ("WARC/1.0\r\nContent-Length: -1\r\n\r\n", "its Content-Length is -1; a number of bytes is right"),
            (
                "WARC/1.0\r\nContent-Length: 2\r\n\r\ntwo\r\n\r\n",
                "`o` stands after 2 bytes, where the next record should begin",
            ),
            ("<html>\r\nmore\r\n", "`<html>` stands where a record should begin, with WARC/1.0 or WARC/1.1"),
            (&long, "its header has more than 65536 bytes"),
        ] {
            let found = read(&[good.as_str(), broken, &good].concat());
            // Lines that belong to no record are told with the record before, whose length may be the mistake.
            let expected: Vec<_> = match broken.starts_with("WARC") {
                true => vec![whole("a", "one"), Err(format!(", record 2 at byte {at}: {told}")), whole("a", "one")],
                false => {
                    let told = told.replace(
                        "where a record should begin, with WARC/1.0 or WARC/1.1",
                        "after 3 bytes, where the next record should begin",
                    );
                    vec![Err(format!(", record 1 at byte 0: {told}")), whole("a", "one")]
                }
            };
            assert_eq!(found, expected, "{broken}");
        }
        let found = read(&format!("no archive\n{good}"));
        let told = ", record 1 at byte 0: `no archive` stands where a record should begin, with WARC/1.0 or WARC/1.1";
        assert_eq!(found, [Err(told.into()), whole("a", "one")]);
        for (end, told) in
            [(good.len() - 5, "the file ends after 2 of its 3 bytes"), (20, "the file ends in its header")]
        {
            assert_eq!(read(&good[..end]), [Err(format!(", record 1 at byte 0: {told}"))]);
        }
    }
}
