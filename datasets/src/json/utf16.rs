//! Text in UTF-16 as UTF-8, by the byte-order mark at its beginning.

use std::io::{self, Read};

use super::unreadable;

/// Reader that passes on UTF-8, and recodes UTF-16. Byte-order marks are left out. Units that are no character become
/// bytes that are no UTF-8, so that the error is found with its place where the text is parsed.
pub(crate) struct Utf8Reader<R> {
    reader: R,
    charset: Option<Charset>,
    /// UTF-8 that is to be passed on, from `passed` on.
    ready: Vec<u8>,
    passed: usize,
    /// First half of a surrogate pair.
    high: Option<u16>,
    /// First byte of a unit.
    half: Option<u8>,
}

#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

impl<R: Read> Utf8Reader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, charset: None, ready: Vec::new(), passed: 0, high: None, half: None }
    }

    /// Reads the first bytes, which tell the charset.
    fn begin(&mut self) -> io::Result<Charset> {
        let mut head = Vec::new();
        (&mut self.reader).take(4).read_to_end(&mut head)?;
        let (charset, mark) = match head.as_slice() {
            [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] => return Err(unreadable("it is UTF-32; save it as UTF-8")),
            [0xff, 0xfe, ..] => (Charset::Utf16(u16::from_le_bytes), 2),
            [0xfe, 0xff, ..] => (Charset::Utf16(u16::from_be_bytes), 2),
            [0xef, 0xbb, 0xbf, ..] => (Charset::Utf8, 3),
            _ => (Charset::Utf8, 0),
        };
        match charset {
            Charset::Utf8 => self.ready.extend(&head[mark..]),
            Charset::Utf16(unit) => self.recode(&head[mark..], unit),
        }
        Ok(charset)
    }

    fn recode(&mut self, bytes: &[u8], unit: fn([u8; 2]) -> u16) {
        let first = self.half.take();
        let mut bytes = first.into_iter().chain(bytes.iter().copied());
        while let Some(first) = bytes.next() {
            match bytes.next() {
                Some(second) => self.push(unit([first, second])),
                None => self.half = Some(first),
            }
        }
    }

    fn push(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(character)) => return self.push_character(character),
                _ => self.push_half(high),
            }
        }
        match char::from_u32(u32::from(unit)) {
            Some(character) => self.push_character(character),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => self.push_half(unit),
        }
    }

    fn push_character(&mut self, character: char) {
        self.ready.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Writes a lone surrogate as its three bytes, which are no UTF-8.
    fn push_half(&mut self, unit: u16) {
        self.ready.extend([0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8]);
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let charset = match self.charset {
            Some(charset) => charset,
            None => {
                let charset = self.begin()?;
                *self.charset.insert(charset)
            }
        };
        while self.passed == self.ready.len() {
            self.ready.clear();
            self.passed = 0;
            let Charset::Utf16(unit) = charset else { return self.reader.read(buffer) };
            let mut bytes = [0; 1 << 14];
            match self.reader.read(&mut bytes)? {
                0 => {
                    if let Some(high) = self.high.take() {
                        self.push_half(high);
                    }
                    if self.half.take().is_some() {
                        self.ready.push(0xff);
                    }
                    if self.ready.is_empty() {
                        return Ok(0);
                    }
                }
                count => self.recode(&bytes[..count], unit),
            }
        }
        let count = buffer.len().min(self.ready.len() - self.passed);
        buffer[..count].copy_from_slice(&self.ready[self.passed..self.passed + count]);
        self.passed += count;
        Ok(count)
    }
}
