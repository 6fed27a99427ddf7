//! Web archives (WARC, ISO 28500), and those that Common Crawl makes of them: WET, which has the texts of pages, and WAT,
//! which has their metadata.
//!
//! A file is read record by record, and no more than one is held. Records that hold no page of their own (warcinfo,
//! request, revisit) are passed over.

mod fields;
mod http;
mod records;
mod wat;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use encoding_rs::Encoding;

use super::compressed::open;
use super::files::{Compression, InputFile, Kind};
use super::{Content, Reading, damaged, unreadable};
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::rule::{Failed, Rule};
use crate::settings::{Format, Settings};
use fields::Fields;
use http::{NoBody, Response};
use records::{Body, Broken, Record, Records};

pub(crate) use records::RecordPlace;

/// A page of a web archive.
#[derive(Debug, Clone)]
pub(crate) struct WebPage {
    pub bytes: Vec<u8>,
    pub format: Format,
    /// The charset that the server told.
    pub charset: Option<&'static Encoding>,
    pub provenance: Provenance,
    pub place: RecordPlace,
}

/// A page that an archive has, for a program that adds pages to it.
pub(crate) struct Answer {
    pub url: String,
    /// Target, if it is a redirect.
    pub location: Option<String>,
}

/// Reason for which a record is no document.
enum NoPage {
    /// It holds none.
    PassedOver,
    TooLarge,
    /// A page that a rule drops.
    Dropped(Failed),
    Broken(String),
}

/// Sends the pages of an archive.
pub(super) fn read_warc(
    input: &InputFile,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    documents: &mut super::Records<'_>,
) -> Reading {
    let most = settings.read.max_document_bytes;
    let broken = |place: RecordPlace, reason: String| {
        let error = Error::Document { file: input.path.display().to_string(), place: place.to_string(), reason };
        Content::Bad(Failed::new(Rule::BadRecord, error.to_string()), Some(Arc::new(error)))
    };
    let mut archive = Records::new(open(input, on_bytes)?);
    loop {
        let flow = match archive.next(most, holds_page) {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(record)) => {
                let place = record.place;
                match page_of(record, most) {
                    Ok(page) => documents.send(place.number, Content::Web(Box::new(page)), None),
                    Err(NoPage::PassedOver) => ControlFlow::Continue(()),
                    Err(NoPage::TooLarge) => documents.too_large(place.number, settings),
                    Err(NoPage::Dropped(failed)) => documents.send(place.number, Content::Bad(failed, None), None),
                    Err(NoPage::Broken(reason)) => documents.send(place.number, broken(place, reason), None),
                }
            }
            Err(Broken::Record(place, reason)) => documents.send(place.number, broken(place, reason), None),
            Err(Broken::File(error)) => return Err(unreadable(input, error)),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
}

/// Reads the pages that an archive of gzip members has, and the offset behind its last whole member.
///
/// # Errors
/// An archive that is damaged otherwise than by a cut.
pub(crate) fn answers(path: &Path) -> Result<(Vec<Answer>, u64)> {
    let bytes = std::fs::metadata(path).map_err(|source| Error::io(path, "look at", source))?.len();
    let input =
        InputFile { path: path.to_owned(), kind: Kind::Warc, compression: Compression::Gzip, bytes, object: None };
    let opened = open(&input, &|_| ())?;
    let member = opened.member.clone().unwrap_or_default();
    let mut archive = Records::new(opened);
    let mut answers = Vec::new();
    loop {
        match archive.next(usize::MAX, holds_page) {
            Ok(None) => return Ok((answers.into_iter().map(|(_, answer)| answer).collect(), bytes)),
            Err(Broken::File(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                let end = member.get();
                // The record of a member may be whole, and its checksum cut.
                let is_whole = |(begin, answer): (u64, Answer)| (begin < end).then_some(answer);
                return Ok((answers.into_iter().filter_map(is_whole).collect(), end));
            }
            Err(Broken::File(error)) => return Err(damaged(&input, error)),
            Err(Broken::Record(place, reason)) => return Err(damaged(&input, format!("{reason}{place}"))),
            Ok(Some(Record { fields, body: Body::Whole(block), place })) => {
                let response = Response::parse(&block).map_err(|reason| damaged(&input, format!("{reason}{place}")))?;
                let url = fields.get("warc-target-uri").unwrap_or_default().to_string();
                let answer = Answer { url, location: response.location().map(str::to_string) };
                answers.push((place.begin(), answer));
            }
            Ok(Some(_)) => {}
        }
    }
}

/// True for a record whose body is read.
fn holds_page(fields: &Fields) -> bool {
    let media_type = fields.get("content-type").unwrap_or("application/http");
    match fields.get("warc-type") {
        Some("response") => media_type.starts_with("application/http"),
        Some("conversion" | "resource") => true,
        Some("metadata") => media_type.starts_with("application/json"),
        _ => false,
    }
}

fn page_of(record: Record, most: usize) -> Result<WebPage, NoPage> {
    let Record { place, fields, body } = record;
    let bytes = match body {
        Body::Whole(bytes) => bytes,
        Body::TooLarge => return Err(NoPage::TooLarge),
        Body::Skipped => return Err(NoPage::PassedOver),
    };
    let text = |name: &str| fields.get(name).map(str::to_string);
    let mut provenance = Provenance {
        url: text("warc-target-uri").map(|url| url.trim_matches(['<', '>']).to_string()),
        date: text("warc-date"),
        identified_languages: text("warc-identified-content-language"),
        ..Provenance::default()
    };
    let told_type = fields.get("content-type").unwrap_or_default();
    match fields.get("warc-type") {
        Some("response") => {
            let response = Response::parse(&bytes).map_err(NoPage::Broken)?;
            if response.status != "200" {
                return Err(NoPage::Dropped(Failed::new(Rule::HttpStatus, response.status)));
            }
            response.fields.all("x-robots-tag").for_each(|value| provenance.add_robots(value));
            let told_type = response.fields.get("content-type").unwrap_or_default();
            let format = format_of(fields.get("warc-identified-payload-type").unwrap_or(told_type))?;
            let is_cut = fields.get("warc-truncated").is_some();
            let bytes = response.body(most, is_cut).map_err(|reason| match reason {
                NoBody::TooLarge => NoPage::TooLarge,
                NoBody::Broken(reason) => NoPage::Broken(reason),
            })?;
            let charset = charset_of(told_type);
            Ok(WebPage { bytes: without_utf16(bytes.into_owned()), format, charset, provenance, place })
        }
        Some("metadata") => match wat::text_of(&bytes, &mut provenance).map_err(NoPage::Broken)? {
            Some(text) => {
                Ok(WebPage { bytes: text.into_bytes(), format: Format::Text, charset: None, provenance, place })
            }
            None => Err(NoPage::PassedOver),
        },
        _ => {
            let format = format_of(told_type)?;
            let charset = charset_of(told_type);
            Ok(WebPage { bytes: without_utf16(bytes), format, charset, provenance, place })
        }
    }
}

/// Format by a media type such as `text/html; charset=utf-8`.
fn format_of(media_type: &str) -> Result<Format, NoPage> {
    let name = media_type.split(';').next().unwrap_or_default().trim();
    match name.to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => Ok(Format::Html),
        "text/plain" => Ok(Format::Text),
        "text/markdown" | "text/x-markdown" => Ok(Format::Markdown),
        _ => {
            let told = if name.is_empty() { "no media type" } else { name };
            Err(NoPage::Dropped(Failed::new(Rule::MediaType, told)))
        }
    }
}

fn charset_of(media_type: &str) -> Option<&'static Encoding> {
    let parameter = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']).to_string())
    };
    Encoding::for_label(media_type.split(';').skip(1).find_map(parameter)?.as_bytes())
}

/// Decodes UTF-16, which is known by its byte order mark.
pub(super) fn without_utf16(bytes: Vec<u8>) -> Vec<u8> {
    match Encoding::for_bom(&bytes) {
        Some((charset, _)) => match charset.decode(&bytes).0 {
            Cow::Borrowed(text) => text.as_bytes().to_vec(),
            Cow::Owned(text) => text.into_bytes(),
        },
        None => bytes,
    }
}
