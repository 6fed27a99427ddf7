use std::io::Read;
use std::ops::ControlFlow;

use twox_hash::XxHash3_64;

use super::compressed::{open, open_text};
use super::lines::{Line, next_line};
use super::warc::without_utf16;
use super::{Content, InputFile, Reading, Records, unreadable};
use crate::settings::{Format, Settings, TextUnit};

/// Sends the documents of a text: the file in parts, its lines, or its paragraphs.
pub(super) fn read_text(
    input: &InputFile,
    format: Format,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    records: &mut Records<'_>,
) -> Reading {
    let mut reader = open_text(input, on_bytes)?;
    let (unit, part_bytes) = (settings.read.text_unit, settings.read.part_bytes);
    // A part ends at the first blank line after its size is reached; without one, at the first line end after twice its
    // size. A text without line ends is split at twice that again.
    let most_in_line = 4 * part_bytes;
    let mut lines = 0;
    let (mut part, mut started_at, mut parts) = (Vec::new(), 1, 0);
    let mut split_key = None;
    let mut line = Vec::new();
    let mut send = |part: &mut Vec<u8>, row: u64, parts: &mut u64| {
        let bytes = std::mem::take(part);
        if bytes.trim_ascii().is_empty() {
            return ControlFlow::Continue(());
        }
        *parts += 1;
        if unit != TextUnit::File {
            return records.send(row, Content::Bytes(bytes, format), None);
        }
        let key = *split_key.get_or_insert_with(|| XxHash3_64::oneshot(&bytes));
        records.send(*parts, Content::Bytes(bytes, format), Some(key))
    };
    loop {
        let read =
            read_up_to_line_end(&mut reader, &mut line, most_in_line).map_err(|error| unreadable(input, error))?;
        if read == Line::End {
            break;
        }
        lines += 1;
        let is_blank = line.trim_ascii().is_empty();
        if part.is_empty() {
            started_at = lines;
        }
        part.extend_from_slice(&line);
        let ends = match unit {
            TextUnit::Line => true,
            TextUnit::Paragraph => is_blank || part.len() >= 2 * part_bytes,
            TextUnit::File => part.len() >= part_bytes && is_blank || part.len() >= 2 * part_bytes,
        };
        if ends && send(&mut part, started_at, &mut parts).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let flow = send(&mut part, started_at, &mut parts);
    // An empty file counts as a document without text.
    match parts == 0 && flow.is_continue() {
        true => Ok(records.send(1, Content::Bytes(Vec::new(), format), None)),
        false => Ok(flow),
    }
}

/// Reads a line, up to a maximum length.
fn read_up_to_line_end(reader: &mut impl std::io::BufRead, line: &mut Vec<u8>, most: usize) -> std::io::Result<Line> {
    line.clear();
    let mut limited = reader.take(most as u64);
    next_line(&mut limited, line, most)
}

/// Sends a page as one document.
pub(super) fn read_page(
    input: &InputFile,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    records: &mut Records<'_>,
) -> Reading {
    let most = settings.read.max_document_bytes;
    let mut page = Vec::new();
    open(input, on_bytes)?
        .reader
        .take(most as u64 + 1)
        .read_to_end(&mut page)
        .map_err(|error| unreadable(input, error))?;
    if page.len() > most {
        return Ok(records.too_large(1, settings));
    }
    Ok(records.send(1, Content::Bytes(without_utf16(page), Format::Html), None))
}
