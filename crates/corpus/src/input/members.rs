use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

/// A gzip file: one member or many, one after the other. A call reads bytes of one member.
pub(super) struct Members<R> {
    /// `None` behind the last member.
    member: Option<GzDecoder<Positioned<R>>>,
    start: Rc<Cell<u64>>,
}

impl<R: BufRead> Members<R> {
    pub fn new(inner: R) -> Self {
        let member = GzDecoder::new(Positioned::new(inner));
        Self { member: Some(member), start: Rc::default() }
    }

    /// Offset in the file at which the member begins that was read last.
    pub fn start(&self) -> Rc<Cell<u64>> {
        self.start.clone()
    }

    fn named(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        let reason = match kind {
            ErrorKind::UnexpectedEof => "is cut: the file ends in it".to_string(),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => format!("is damaged: {error}"),
            _ => return error, // of the disk
        };
        io::Error::new(kind, format!("the gzip member that begins at byte {} {reason}", self.start.get()))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer).map_err(|error| self.named(error))?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(member) = self.member.take() else { break };
            let mut rest = member.into_inner();
            if !rest.fill_buf()?.is_empty() {
                self.start.set(rest.offset());
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// A reader that knows how many bytes were taken from it.
pub(super) struct Positioned<R> {
    inner: R,
    offset: u64,
}

impl<R> Positioned<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    /// Bytes taken so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl<R: BufRead> Read for Positioned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Positioned<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.offset += count as u64;
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read(file: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Members::new(io::BufReader::with_capacity(7, file)).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn members_are_read_one_after_the_other() {
        let parts = [gzip("one "), gzip(""), gzip("three")];
        let file = parts.concat();
        assert_eq!(read(&file).unwrap(), "one three");
        let mut members = Members::new(file.as_slice());
        let start = members.start();
        let mut places = Vec::new();
        let mut buffer = [0; 100];
        while members.read(&mut buffer).unwrap() > 0 {
            places.push(start.get() as usize);
        }
        assert_eq!(places, [0, parts[0].len() + parts[1].len()]);
    }

    #[test]
    fn a_member_that_is_cut_or_damaged_is_named_by_its_offset() {
        let first = gzip("one ");
        let at = first.len();
        let file = [first.as_slice(), &gzip(&"two ".repeat(100))].concat();
        for end in at + 1..file.len() {
            let told = read(&file[..end]).unwrap_err().to_string();
            assert_eq!(told, format!("the gzip member that begins at byte {at} is cut: the file ends in it"), "{end}");
        }
        let mut damaged = file.clone();
        damaged[at] = b'x';
        let told = read(&damaged).unwrap_err().to_string();
        assert!(told.starts_with(&format!("the gzip member that begins at byte {at} is damaged: ")), "{told}");
        let last = file.len() - 8;
        damaged = file;
        damaged[last] ^= 1;
        let told = read(&damaged).unwrap_err().to_string();
        assert!(told.starts_with(&format!("the gzip member that begins at byte {at} is damaged: ")), "{told}");
    }
}
