use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use encoding_rs_io::DecodeReaderBytesBuilder;
use palestra_remote::Reader;

use super::files::{Compression, InputFile};
use super::members::Members;
use crate::error::{Error, Result};

const BUFFER: usize = 1 << 16;

/// A file that is decompressed as it is read.
pub(super) struct Opened<'a> {
    pub reader: BufReader<Box<dyn Read + 'a>>,
    /// Of a gzip file: the offset at which the member begins that the buffer of the reader holds.
    pub member: Option<Rc<Cell<u64>>>,
}

/// Opens a file or object and decompresses it; `on_bytes` receives the number of bytes read from disk or store.
pub(super) fn open<'a>(input: &InputFile, on_bytes: &'a (dyn Fn(u64) + Sync)) -> Result<Opened<'a>> {
    let file: Box<dyn Read> = match &input.object {
        Some(object) => Box::new(Reader::open(object)?),
        None => Box::new(File::open(&input.path).map_err(|source| Error::io(&input.path, "open", source))?),
    };
    let counted = Counted { file, on_bytes };
    let mut member = None;
    let bytes: Box<dyn Read + 'a> = match input.compression {
        Compression::None => Box::new(counted),
        Compression::Gzip => {
            let members = Members::new(BufReader::with_capacity(BUFFER, counted));
            member = Some(members.start());
            Box::new(members)
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, counted));
            Box::new(decoder.map_err(|source| Error::io(&input.path, "open", source))?)
        }
    };
    Ok(Opened { reader: BufReader::with_capacity(BUFFER, bytes), member })
}

/// Opens a file like [`open`], and decodes UTF-16 if there is a byte order mark, so that the text can be split into
/// lines.
pub(super) fn open_text<'a>(
    input: &InputFile,
    on_bytes: &'a (dyn Fn(u64) + Sync),
) -> Result<BufReader<Box<dyn Read + 'a>>> {
    let bytes = open(input, on_bytes)?.reader.into_inner();
    let text = DecodeReaderBytesBuilder::new().bom_override(true).utf8_passthru(true).strip_bom(true).build(bytes);
    Ok(BufReader::with_capacity(BUFFER, Box::new(text)))
}

struct Counted<'a> {
    file: Box<dyn Read>,
    on_bytes: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.on_bytes)(count as u64);
        Ok(count)
    }
}
