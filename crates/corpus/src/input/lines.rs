use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::sync::Arc;

use palestra_datasets::JsonRows;

use super::compressed::open_text;
use super::{Content, InputFile, Reading, Records, unreadable};
use crate::error::Error;
use crate::rule::{Failed, Rule};
use crate::settings::Settings;

/// Sends the rows of a file of JSON: the elements of an array, or else each line that is not blank.
pub(super) fn read_json(
    input: &InputFile,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    records: &mut Records<'_>,
) -> Reading {
    let mut reader = open_text(input, on_bytes)?;
    let most = settings.read.max_document_bytes;
    let head = reader.fill_buf().map_err(|error| unreadable(input, error))?;
    if head.trim_ascii_start().starts_with(b"[") {
        return Ok(read_array(JsonRows::new(&input.path, reader), settings, records));
    }
    for row in 1.. {
        let mut line = Vec::new();
        let flow = match next_line(&mut reader, &mut line, most).map_err(|error| unreadable(input, error))? {
            Line::End => break,
            Line::TooLong => records.too_large(row, settings),
            Line::Whole if line.trim_ascii().is_empty() => ControlFlow::Continue(()),
            Line::Whole => records.send(row, Content::Json(line), None),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn read_array(mut rows: JsonRows<impl io::Read>, settings: &Settings, records: &mut Records<'_>) -> ControlFlow<()> {
    let mut last = 1;
    while let Some(next) = rows.next_text() {
        match next {
            Ok((row, text)) if text.len() > settings.read.max_document_bytes => records.too_large(row, settings)?,
            Ok((row, text)) => {
                records.send(row, Content::Json(text), None)?;
                last = row;
            }
            Err(error) => {
                let failed = Failed::new(Rule::BadRow, error.to_string());
                records.send(last, Content::Bad(failed, Some(Arc::new(Error::from(error)))), None)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    /// The line is longer than the limit and was skipped.
    TooLong,
    End,
}

/// Reads the next line of at most `most` bytes including its line end, however long it is in the file.
pub(super) fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<Line> {
    line.clear();
    let mut read = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let end = memchr::memchr(b'\n', buffer).map(|at| at + 1);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let count = part.len();
        if read + count <= most {
            line.extend_from_slice(part);
        }
        read += count;
        reader.consume(count);
        if count == 0 || end.is_some() {
            return Ok(match read {
                0 => Line::End,
                _ if read > most => Line::TooLong,
                _ => Line::Whole,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_without_being_held() {
        let mut text = io::BufReader::with_capacity(4, &b"one\n\nmuch too long\nlast"[..]);
        let mut line = Vec::new();
        let mut next = || {
            let read = next_line(&mut text, &mut line, 6).unwrap();
            (read, if line.len() <= 6 { String::from_utf8(line.clone()).unwrap() } else { panic!("held") })
        };
        assert_eq!(next(), (Line::Whole, "one\n".into()));
        assert_eq!(next(), (Line::Whole, "\n".into()));
        assert_eq!(next().0, Line::TooLong);
        assert_eq!(next(), (Line::Whole, "last".into()));
        assert_eq!(next(), (Line::End, String::new()));
    }
}
