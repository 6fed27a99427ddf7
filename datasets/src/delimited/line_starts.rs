//! Lines of a table. The reader of records tells where it began to look for one, which may be in blank lines before it.

use std::collections::VecDeque;
use std::io::{self, Read};

/// Reader that remembers where lines with content begin, until they are asked for.
pub(super) struct LineStarts<R> {
    reader: R,
    /// Bytes and lines so far.
    byte: u64,
    line: u64,
    /// True if nothing of the line has come yet but line breaks.
    is_blank: bool,
    /// First byte of each line with content, and its number.
    starts: VecDeque<(u64, u64)>,
}

impl<R> LineStarts<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, byte: 0, line: 1, is_blank: true, starts: VecDeque::new() }
    }

    /// Number of the first line with content from this byte on. Earlier ones are forgotten.
    pub fn line_from(&mut self, byte: u64) -> u64 {
        while self.starts.front().is_some_and(|(start, _)| *start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map_or(self.line, |(_, line)| *line)
    }
}

impl<R: Read> Read for LineStarts<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        for (byte, at) in buffer[..count].iter().zip(self.byte..) {
            match byte {
                b'\n' => (self.line, self.is_blank) = (self.line + 1, true),
                b'\r' => {}
                _ if self.is_blank => {
                    self.starts.push_back((at, self.line));
                    self.is_blank = false;
                }
                _ => {}
            }
        }
        self.byte += count as u64;
        Ok(count)
    }
}
