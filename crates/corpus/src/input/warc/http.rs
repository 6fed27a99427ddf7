use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::fields::Fields;

/// Limit of the header of a response in bytes.
const MAX_HEADER: usize = 64 << 10;
/// Buffer of the decoder of brotli in bytes.
const BUFFER: usize = 4096;

/// An HTTP response as a web archive keeps it.
pub(super) struct Response<'a> {
    pub status: String,
    pub fields: Fields,
    body: &'a [u8],
}

/// Reason for which a body cannot be had.
#[derive(Debug, PartialEq)]
pub(super) enum NoBody {
    TooLarge,
    Broken(String),
}

impl<'a> Response<'a> {
    pub fn parse(block: &'a [u8]) -> Result<Self, String> {
        let head = &block[..block.len().min(MAX_HEADER)];
        let end = |mark: &[u8]| memchr::memmem::find(head, mark).map(|at| at + mark.len());
        // A response without a body may lack the blank line.
        let length = match [end(b"\r\n\r\n"), end(b"\n\n")].into_iter().flatten().min() {
            Some(length) => length,
            None if block.len() <= MAX_HEADER => block.len(),
            None => return Err(format!("its HTTP header has more than {MAX_HEADER} bytes")),
        };
        let (head, body) = block.split_at(length);
        let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next().unwrap_or_default());
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(version), Some(status)) if version.to_ascii_uppercase().starts_with("HTTP/") => {
                Ok(Self { status: status.to_string(), fields: Fields::parse(head), body })
            }
            _ => Err(format!("its response begins with `{}`; HTTP/1.1 and a status is right", excerpt(&line))),
        }
    }

    /// Target of a redirect.
    pub fn location(&self) -> Option<&str> {
        matches!(self.status.as_str(), "301" | "302" | "303" | "307" | "308")
            .then(|| self.fields.get("location"))
            .flatten()
    }

    /// Returns the body without its transfer and content encodings, if it has at most `most` bytes.
    ///
    /// Some archives keep the fields of encodings that they removed, so that a body which does not begin as the encoding
    /// does is taken as it is. Of a body that is cut, as `is_cut` says, the part is returned that there is.
    pub fn body(&self, most: usize, is_cut: bool) -> Result<Cow<'a, [u8]>, NoBody> {
        let mut body = Cow::Borrowed(self.body);
        let is_chunked = |value: &str| value.to_ascii_lowercase().contains("chunked");
        if self.fields.get("transfer-encoding").is_some_and(is_chunked) && begins_chunk(&body) {
            body = Cow::Owned(join_chunks(&body, is_cut).map_err(NoBody::Broken)?);
        }
        let encodings: Vec<String> = self
            .fields
            .all("content-encoding")
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        for encoding in encodings.iter().rev() {
            body = match decode(&body, encoding, most, is_cut)? {
                Some(decoded) => Cow::Owned(decoded),
                None => body,
            };
        }
        if body.len() > most { Err(NoBody::TooLarge) } else { Ok(body) }
    }
}

/// Decodes a body; `None` for one that is not in the encoding.
fn decode(body: &[u8], encoding: &str, most: usize, is_cut: bool) -> Result<Option<Vec<u8>>, NoBody> {
    let reader: Box<dyn Read + '_> = match encoding {
        "gzip" | "x-gzip" if body.starts_with(&[0x1f, 0x8b]) => Box::new(MultiGzDecoder::new(body)),
        // Servers send both forms by this name.
        "deflate" if body.first().is_some_and(|first| first & 0x0f == 8) => Box::new(ZlibDecoder::new(body)),
        "deflate" => Box::new(DeflateDecoder::new(body)),
        "br" => Box::new(brotli::Decompressor::new(body, BUFFER)),
        "zstd" if body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body);
            Box::new(decoder.map_err(|error| NoBody::Broken(format!("its body is not {encoding}: {error}")))?)
        }
        _ => return Ok(None),
    };
    let mut decoded = Vec::new();
    match reader.take(most as u64 + 1).read_to_end(&mut decoded) {
        _ if decoded.len() > most => Err(NoBody::TooLarge),
        Ok(_) => Ok(Some(decoded)),
        Err(_) if is_cut => Ok(Some(decoded)),
        // These have no mark by which to know them.
        Err(_) if decoded.is_empty() && matches!(encoding, "br" | "deflate") => Ok(None),
        Err(error) => Err(NoBody::Broken(format!("its body is not {encoding} to its end: {error}"))),
    }
}

fn begins_chunk(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'\n').next().and_then(chunk_length).is_some()
}

/// Length of a chunk by the line before it, which may have extensions after a semicolon.
fn chunk_length(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(digits.trim_ascii()).ok()?;
    if digits.starts_with('+') { None } else { usize::from_str_radix(digits, 16).ok() }
}

fn join_chunks(mut body: &[u8], is_cut: bool) -> Result<Vec<u8>, String> {
    let mut joined = Vec::with_capacity(body.len());
    loop {
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Some(length) = chunk_length(line) else {
            return if is_cut { Ok(joined) } else { Err("the chunks of its body do not fit together".into()) };
        };
        body = body.get(line.len() + 1..).unwrap_or_default();
        if length == 0 {
            return Ok(joined);
        }
        joined.extend_from_slice(&body[..length.min(body.len())]);
        body = body.get(length..).unwrap_or_default();
        body = body.strip_prefix(b"\r").unwrap_or(body);
        body = body.strip_prefix(b"\n").unwrap_or(body);
    }
}

fn excerpt(line: &str) -> String {
    line.trim().chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn body(head: &str, body: &[u8], is_cut: bool) -> Result<Vec<u8>, NoBody> {
        let block = [head.as_bytes(), b"\r\n\r\n", body].concat();
        Response::parse(&block).unwrap().body(1000, is_cut).map(Cow::into_owned)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn status_and_fields_are_read() {
        let response =
            Response::parse(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nX-A: 1\r\nx-a: 2\r\n\r\n").unwrap();
        assert_eq!((response.status.as_str(), response.fields.get("content-type")), ("404", Some("text/html")));
        assert_eq!(response.fields.all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(Response::parse(b"<html>").is_err_and(|told| told.contains("begins with `<html>`")));
        let long = [b"HTTP/1.1 200\n".as_slice(), &vec![b'x'; MAX_HEADER]].concat();
        assert!(Response::parse(&long).is_err_and(|told| told.contains("more than 65536 bytes")));
    }

    #[test]
    fn encodings_are_removed_in_their_order() {
        let text = b"Call me Ishmael.";
        let packed = gzip(text);
        let chunks = [format!("{:x};x=1\r\n", packed.len()).as_bytes(), &packed, b"\r\n0\r\n\r\n"].concat();
        let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip";
        assert_eq!(body(both, &chunks, false).unwrap(), text);
        let kept = body(both, text, false).unwrap();
        assert_eq!(kept, text, "an archive that removed them and kept their fields");
        let of = |encoding: &str| format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}");
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(text).unwrap();
        assert_eq!(body(&of("deflate"), &deflate.finish().unwrap(), false).unwrap(), text);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(text).unwrap();
        assert_eq!(body(&of("deflate"), &zlib.finish().unwrap(), false).unwrap(), text);
        assert_eq!(body(&of("zstd"), &zstd::encode_all(text.as_slice(), 3).unwrap(), false).unwrap(), text);
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
        brotli.write_all(text).unwrap();
        assert_eq!(body(&of("br"), &brotli.into_inner(), false).unwrap(), text);
        assert_eq!(body(&of("gzip, gzip"), &gzip(&gzip(text)), false).unwrap(), text);
    }

    #[test]
    fn a_body_that_is_cut_or_too_large_is_known() {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip";
        let packed = gzip(&b"Call me Ishmael. ".repeat(20));
        let cut = &packed[..packed.len() - 9];
        assert!(matches!(body(head, cut, false), Err(NoBody::Broken(told)) if told.contains("not gzip to its end")));
        assert!(body(head, cut, true).unwrap().starts_with(b"Call me"));
        assert_eq!(body(head, &gzip(&vec![b' '; 5_000_000]), false), Err(NoBody::TooLarge));
        assert_eq!(body("HTTP/1.1 200 OK", &[b' '; 1001], false), Err(NoBody::TooLarge));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked";
        assert!(matches!(body(chunked, b"5\r\nhello\r\nzz", false), Err(NoBody::Broken(_))));
        assert_eq!(body(chunked, b"5\r\nhello\r\nzz", true).unwrap(), b"hello");
        assert_eq!(body(chunked, b"ffffffffffffffff\r\nhi", true).unwrap(), b"hi");
    }
}
