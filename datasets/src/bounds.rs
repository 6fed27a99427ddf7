//! Bounds of Parquet files, checked before the Parquet crate reads them: it takes as much memory as a file says.
//!
//! Footers and page headers are in Thrift's compact protocol. A list holds at most as many items as bytes follow it, a page
//! at most `MAX_PAGE` bytes once it is unpacked, and a dictionary at most one value for each of its bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

/// Maximum size of a page in bytes, unpacked. Writers aim at 1 MiB.
const MAX_PAGE: i64 = 256 << 20;

/// Maximum depth of Thrift structures. Parquet's have four levels.
const MAX_DEPTH: usize = 16;

/// Bytes that are read for the header of a page, and for one with long statistics.
const HEADER: [usize; 2] = [16 << 10, 1 << 20];

/// Refuses a footer whose lists are longer than itself.
pub(crate) fn check_footer(footer: &[u8]) -> Result<(), String> {
    Thrift { bytes: footer, at: 0 }.fields(0, 0, &mut |_, _, _| {}).ok_or_else(|| "its footer is damaged".to_string())
}

/// Refuses the footer of a file that the Parquet crate is about to read.
///
/// # Errors
/// A file that cannot be read; inside, the reason why its footer is refused.
pub fn check_file_footer(mut file: &File) -> std::io::Result<Result<(), String>> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut tail = [0; 8];
    if len < 12 {
        return Ok(Ok(())); // the Parquet crate tells what is wrong
    }
    file.seek(SeekFrom::Start(len - 8))?;
    file.read_exact(&mut tail)?;
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if &tail[4..] != b"PAR1" || size > len - 8 {
        return Ok(Ok(()));
    }
    file.seek(SeekFrom::Start(len - 8 - size))?;
    let mut footer = vec![0; size as usize];
    file.read_exact(&mut footer)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(check_footer(&footer))
}

/// Refuses pages that are too large, of the columns that are read. `is_read` is given a column's number in the file, where
/// fields of structures are columns too.
///
/// # Errors
/// The reason, with the place of the page.
pub fn check_pages_of(file: &File, metadata: &ParquetMetaData, is_read: impl Fn(usize) -> bool) -> Result<(), String> {
    for group in metadata.row_groups() {
        for (_, column) in group.columns().iter().enumerate().filter(|(number, _)| is_read(*number)) {
            let data = column.data_page_offset();
            let start = column.dictionary_page_offset().filter(|page| (1..data).contains(page)).unwrap_or(data);
            let (start, len) = (u64::try_from(start), u64::try_from(column.compressed_size()));
            let (Ok(start), Ok(len)) = (start, len) else { return Err("its footer is damaged".to_string()) };
            check_pages(file, start, len)?;
        }
    }
    Ok(())
}

/// Refuses a column chunk (its first byte and its length) with a page that is too large.
pub(crate) fn check_pages(source: &impl ChunkReader, start: u64, len: u64) -> Result<(), String> {
    let end = start.checked_add(len).ok_or("its footer is damaged")?;
    let mut at = start;
    while at < end {
        let damaged = || format!("the page at byte {at} is damaged");
        let read = |most: usize| {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(most);
            source.get_bytes(at, count).map_err(|error| error.to_string())
        };
        let header = match page_header(&read(HEADER[0])?) {
            Some(header) => header,
            None => page_header(&read(HEADER[1])?).ok_or_else(damaged)?,
        };
        if header.unpacked > MAX_PAGE {
            return Err(format!(
                "the page at byte {at} has {} bytes when it is unpacked; at most {MAX_PAGE} are read",
                header.unpacked
            ));
        }
        if header.packed < 0 || header.unpacked < 0 || !(0..=header.unpacked.max(1)).contains(&header.dictionary) {
            return Err(damaged());
        }
        at += header.len as u64 + header.packed as u64;
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct PageHeader {
    /// Bytes of the header itself.
    len: usize,
    unpacked: i64,
    packed: i64,
    /// Values of a dictionary page.
    dictionary: i64,
}

/// The header of the page that starts here; `None` if these are not all of its bytes.
fn page_header(bytes: &[u8]) -> Option<PageHeader> {
    let mut header = PageHeader::default();
    let mut thrift = Thrift { bytes, at: 0 };
    thrift.fields(0, 0, &mut |parent, field, number| match (parent, field) {
        (0, 2) => header.unpacked = number,
        (0, 3) => header.packed = number,
        (7, 1) => header.dictionary = number,
        _ => {}
    })?;
    header.len = thrift.at;
    Some(header)
}

/// A position in a message of Thrift's compact protocol.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    /// Passes over the fields of a structure, which is in the field `parent`. `told` is given each whole number with its
    /// field. `None` if the message is cut or cannot be.
    fn fields(&mut self, parent: i64, depth: usize, told: &mut dyn FnMut(i64, i64, i64)) -> Option<()> {
        let mut field = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.number()?,
                step => field + i64::from(step),
            };
            match head & 15 {
                1 | 2 => {}
                4..=6 => told(parent, field, self.number()?),
                kind => self.value(kind, field, depth, told)?,
            }
        }
    }

    fn value(&mut self, kind: u8, field: i64, depth: usize, told: &mut dyn FnMut(i64, i64, i64)) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let len = self.varint()?;
                self.skip(usize::try_from(len).ok()?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                self.items(count, &[head & 15], field, depth, told)
            }
            11 => {
                let count = self.varint()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                self.items(count, &[kinds >> 4, kinds & 15], field, depth, told)
            }
            12 => self.fields(field, depth + 1, told),
            13 => self.skip(16),
            _ => None,
        }
    }

    fn items(
        &mut self,
        count: u64,
        kinds: &[u8],
        field: i64,
        depth: usize,
        told: &mut dyn FnMut(i64, i64, i64),
    ) -> Option<()> {
        if count > (self.bytes.len() - self.at) as u64 {
            return None;
        }
        for _ in 0..count {
            for kind in kinds {
                self.value(*kind, field, depth + 1, told)?;
            }
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// A Parquet file of a text column, each text of `length` bytes, and a column of numbers.
    fn parquet(rows: usize, length: usize) -> Vec<u8> {
        let texts = StringArray::from_iter_values((0..rows).map(|row| format!("{row}{}", "x".repeat(length))));
        let numbers = Int64Array::from_iter_values(0..rows as i64);
        let batch =
            RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef), ("n", Arc::new(numbers))]).unwrap();
        let level = Compression::ZSTD(ZstdLevel::try_new(3).unwrap());
        let properties = WriterProperties::builder().set_compression(level).set_dictionary_enabled(false).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn footer(file: &[u8]) -> &[u8] {
        let end = file.len() - 8;
        let size = u32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
        &file[end - size..end]
    }

    fn checked(file: Vec<u8>) -> Result<(), String> {
        let bytes = Bytes::from(file);
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
        let column = metadata.row_group(0).column(0);
        check_pages(&bytes, column.data_page_offset() as u64, column.compressed_size() as u64)
    }

    #[test]
    fn whole_files_pass_and_every_cut_footer_is_refused() {
        let file = parquet(100, 10);
        check_footer(footer(&file)).unwrap();
        for cut in 0..footer(&file).len() {
            assert!(check_footer(&footer(&file)[..cut]).is_err(), "{cut}");
        }
        checked(file).unwrap();
    }

    #[test]
    fn a_list_longer_than_the_footer_is_refused() {
        // Field 2, the schema: a list of 2^31 structures in 12 bytes.
        let hostile = [0x15, 0x02, 0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x08, 0x00, 0x00, 0x00];
        assert!(check_footer(&hostile).is_err());
        // Structures within structures.
        assert!(check_footer(&[0x1c; 100_000]).is_err());
    }

    #[test]
    fn a_small_file_with_a_huge_page_is_refused() {
        let file = parquet(1, 300 << 20);
        assert!(file.len() < 100_000, "{}", file.len());
        let error = checked(file).unwrap_err();
        assert!(error.contains("when it is unpacked; at most 268435456 are read"), "{error}");
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        // Type 2 (dictionary), 4 bytes unpacked, 4 packed, dictionary_page_header with 2^30 values.
        let header = [0x15, 0x04, 0x15, 0x08, 0x15, 0x08, 0x4c, 0x15, 0x80, 0x80, 0x80, 0x80, 0x08, 0x00, 0x00];
        assert_eq!(page_header(&header), Some(PageHeader { len: 15, unpacked: 4, packed: 4, dictionary: 1 << 30 }));
        let chunk = Bytes::from([&header[..], &[0; 4]].concat());
        assert!(check_pages(&chunk, 0, chunk.len() as u64).unwrap_err().contains("is damaged"));
        assert_eq!(page_header(&header[..14]), None);
    }
}
