use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use palestra_files::{OutputFile, publish};

use super::request::Fetched;
use crate::error::{Error, Result};
use crate::input::{Answer, answers};

/// An archive that is being written: `<out>.partial`.
pub(super) struct Archive {
    file: OutputFile,
    partial: PathBuf,
    out: PathBuf,
}

impl Archive {
    /// Opens the archive behind its last whole page; returns the pages that it has.
    pub fn open(out: &Path, user_agent: &str) -> Result<(Self, Vec<Answer>)> {
        let mut partial = out.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let failed = |source| Error::io(&partial, "write", source);
        let mut known = Vec::new();
        if partial.exists() {
            let (found, end) = answers(&partial)?;
            known = found;
            let file = OpenOptions::new().write(true).open(&partial).map_err(failed)?;
            file.set_len(end).map_err(failed)?;
        }
        let file = OutputFile::append(&partial).map_err(failed)?;
        let mut archive = Self { file, partial: partial.clone(), out: out.to_owned() };
        if known.is_empty() {
            let text = format!("software: {user_agent}\r\nformat: WARC File Format 1.1\r\n");
            archive.write_record("warcinfo", "Content-Type: application/warc-fields\r\n", text.as_bytes())?;
        }
        Ok((archive, known))
    }

    /// Writes the answer of a server, and syncs it.
    pub fn write(&mut self, url: &str, page: &Fetched) -> Result<()> {
        let mut block = format!("HTTP/1.1 {}\r\n", page.status).into_bytes();
        for (name, value) in &page.fields {
            block.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        block.extend_from_slice(format!("content-length: {}\r\n\r\n", page.body.len()).as_bytes());
        block.extend_from_slice(&page.body);
        let cut = if page.is_cut { "WARC-Truncated: length\r\n" } else { "" };
        let fields = format!("WARC-Target-URI: {url}\r\n{cut}Content-Type: application/http; msgtype=response\r\n");
        self.write_record("response", &fields, &block)
    }

    /// Gives the archive its name.
    pub fn finish(self) -> Result<()> {
        drop(self.file);
        Ok(publish(&self.partial, &self.out)?)
    }

    fn write_record(&mut self, kind: &str, fields: &str, block: &[u8]) -> Result<()> {
        let failed = |source| Error::io(&self.partial, "write", source);
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let date = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let header = format!(
            "WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{}>\r\nWARC-Date: {date}\r\n{fields}Content-Length: {}\r\n\r\n",
            uuid(random),
            block.len()
        );
        let mut member = GzEncoder::new(Vec::new(), Compression::default());
        let packed = [header.as_bytes(), block, b"\r\n\r\n"].iter().try_for_each(|part| member.write_all(part));
        let packed = packed.and_then(|()| member.finish()).map_err(failed)?;
        self.file.write_all(&packed).and_then(|()| self.file.sync_data()).map_err(failed)
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
