//! Web archives as Common Crawl and wget write them.

use std::fs::File;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::made::*;

/// A record of these header fields, one a line.
fn record(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("WARC/1.0\r\n{}\r\nContent-Length: {}\r\n\r\n", fields.trim().replace('\n', "\r\n"), body.len());
    [head.as_bytes(), body, b"\r\n\r\n"].concat()
}

/// A response to a request of a page.
fn response(url: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let fields = format!(
        "WARC-Type: response\nWARC-Target-URI: {url}\nWARC-Date: 2026-01-02T03:04:05Z\nContent-Type: application/http; msgtype=response"
    );
    record(&fields, &[head.trim().replace('\n', "\r\n").as_bytes(), b"\r\n\r\n", body].concat())
}

fn page(number: u64) -> String {
    format!(
        "<html><head><meta name=robots content=noai><link rel=license href=https://a.org/by></head><body><article><p>{}</p></article></body></html>",
        prose(number)
    )
}

/// Rows of a corpus: the columns that tell where each is from.
fn told(place: &Sandbox) -> Vec<[Option<String>; 6]> {
    let mut rows = Vec::new();
    for (name, _) in files(&place.path("out")).into_iter().filter(|(name, _)| name.ends_with(".parquet")) {
        let file = File::open(place.path("out").join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                rows.push(["text", "url", "date", "identified_languages", "robots", "license"].map(|name| {
                    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_string())
                }));
            }
        }
    }
    rows.sort();
    rows
}

fn row(number: u64, columns: [&str; 5]) -> [Option<String>; 6] {
    let [url, date, languages, robots, license] = columns.map(|value| (!value.is_empty()).then(|| value.to_string()));
    [Some(prose(number)), url, date, languages, robots, license]
}

#[test]
fn pages_of_warc_wet_and_wat_are_read_with_where_they_are_from() {
    const DATE: &str = "2026-01-02T03:04:05Z";
    let place = Sandbox::new();
    let html = "HTTP/1.1 200 OK\nContent-Type: text/html; charset=windows-1252\nX-Robots-Tag: noarchive";
    let records = [
        record("WARC-Type: warcinfo\nContent-Type: application/warc-fields", b"software: test\r\n"),
        record("WARC-Type: request\nContent-Type: application/http; msgtype=request", b"GET / HTTP/1.1\r\n\r\n"),
        response("<https://a.org/1>", html, page(1).as_bytes()),
        response("https://a.org/2", "HTTP/1.1 404 Not Found\nContent-Type: text/html", page(2).as_bytes()),
        response("https://a.org/3", "HTTP/1.1 200 OK\nContent-Type: image/png", b"\x89PNG"),
        response(
            "https://a.org/4",
            "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Encoding: gzip",
            &gzip(prose(4).as_bytes()),
        ),
        record("WARC-Type: revisit\nContent-Type: application/http", b"HTTP/1.1 200 OK\r\n\r\n"),
    ];
    place.put("crawl.warc.gz", records.iter().map(|record| gzip(record)).collect::<Vec<_>>().concat());
    let wet = record(
        "WARC-Type: conversion\nWARC-Target-URI: https://a.org/5\nWARC-Date: 2026-01-02T03:04:05Z\nContent-Type: text/plain\nWARC-Identified-Content-Language: eng,deu",
        prose(5).as_bytes(),
    );
    place.put("crawl.warc.wet", wet);
    let envelope = serde_json::json!({"Envelope": {
        "WARC-Header-Metadata": {"WARC-Type": "response"},
        "Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Head": {"Title": prose(6)}}}},
    }});
    let wat = record(
        "WARC-Type: metadata\nWARC-Target-URI: https://a.org/6\nContent-Type: application/json",
        envelope.to_string().as_bytes(),
    );
    place.put("crawl.warc.wat.zst", zstd::encode_all(wat.as_slice(), 3).unwrap());
    place.put("other.txt", prose(7));

    let report = place.build(&[]).unwrap();
    let mut expected = [
        row(1, ["https://a.org/1", DATE, "", "noarchive, noai", "https://a.org/by"]),
        row(4, ["https://a.org/4", DATE, "", "", ""]),
        row(5, ["https://a.org/5", DATE, "eng,deu", "", ""]),
        row(6, ["https://a.org/6", "", "", "", ""]),
        row(7, ["", "", "", "", ""]),
    ];
    expected.sort();
    assert_eq!(told(&place), expected);
    let dropped: Vec<_> =
        report.dropped.iter().map(|by| (by.rule.name(), by.samples[0].detail.clone(), by.samples[0].row)).collect();
    assert_eq!(dropped, [("http.status".into(), "404".into(), 4), ("http.media_type".into(), "image/png".into(), 5)]);
}

#[test]
fn the_charset_of_the_server_comes_before_a_guess() {
    let place = Sandbox::new();
    let text = format!("{} Żółw i łoś.", prose(1));
    let (bytes, _, _) = encoding_rs::ISO_8859_2.encode(&text);
    let head = "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=\"ISO-8859-2\"";
    place.put("a.warc", response("https://a.org", head, &bytes));
    place.build(&[]).unwrap();
    assert_eq!(told(&place)[0][0], Some(text));
}

#[test]
fn broken_records_are_named_and_can_be_passed_over() {
    let place = Sandbox::new();
    let head = "HTTP/1.1 200 OK\nContent-Type: text/html";
    let whole = |number: u64| response(&format!("https://a.org/{number}"), head, page(number).as_bytes());
    let no_length = b"WARC/1.0\r\nWARC-Type: response\r\n\r\n".to_vec();
    let no_http = record("WARC-Type: response\nContent-Type: application/http", b"<html>");
    let file = [whole(1), no_length.clone(), whole(2), no_http, whole(3)];
    place.put("a.warc", file.concat());
    let at = file[0].len();
    let error = place.refused(&[]);
    assert_eq!(error, format!("in/a.warc, record 2 at byte {at}: its header has no Content-Length"));
    let members: Vec<Vec<u8>> = file.iter().map(|record| gzip(record)).collect();
    std::fs::remove_file(place.path("in/a.warc")).unwrap();
    place.put("a.warc.gz", members.concat());
    let at = members[0].len();
    let error = place.refused(&[]);
    assert_eq!(
        error,
        format!("in/a.warc.gz, record 2 in the gzip member at byte {at}: its header has no Content-Length")
    );
    let report = place.build(&["skip_bad=true"]).unwrap();
    assert_eq!(place.texts().len(), 3);
    let [bad] = &report.dropped[..] else { panic!("{:?}", report.dropped) };
    let mut details: Vec<&str> = bad.samples.iter().map(|sample| sample.detail.as_str()).collect();
    details.sort_unstable();
    assert_eq!((bad.rule.name().as_str(), bad.count.documents), ("bad_record", 2));
    assert!(details[0].contains("record 2 in the gzip member") && details[1].contains("record 4 in the gzip member"));
    assert!(details[1].ends_with("its response begins with `<html>`; HTTP/1.1 and a status is right"), "{details:?}");
}

#[test]
fn a_cut_member_is_named_and_large_records_are_not_held() {
    let place = Sandbox::new();
    let head = "HTTP/1.1 200 OK\nContent-Type: text/html";
    let members = [1, 2].map(|number| gzip(&response("https://a.org", head, page(number).as_bytes())));
    let at = members[0].len();
    let file = members.concat();
    place.put("a.warc.gz", &file[..file.len() - 20]);
    let error = place.refused(&[]);
    let expected =
        format!("in/a.warc.gz is damaged: the gzip member that begins at byte {at} is cut: the file ends in it;");
    assert!(error.starts_with(&expected), "{error}");
    for end in [file.len() - 20, at + 5] {
        place.put("a.warc.gz", &file[..end]);
        let report = place.build(&["skip_bad=true"]).unwrap();
        assert_eq!((place.texts().len(), report.dropped[0].rule.name()), (1, "damaged_file".to_string()));
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }

    let bomb = response("https://a.org", &format!("{head}\nContent-Encoding: gzip"), &gzip(&vec![b' '; 3 << 20]));
    let large = response("https://a.org", head, &vec![b' '; 3 << 20]);
    std::fs::remove_file(place.path("in/a.warc.gz")).unwrap();
    place.put("b.warc", [bomb, large, response("https://a.org", head, page(3).as_bytes())].concat());
    let report = place.build(&["read.max_document_bytes=1048576", "out=large"]).unwrap();
    assert_eq!((report.kept().documents, report.dropped[0].count.documents), (1, 2));
    assert_eq!(report.dropped[0].rule.name(), "too_large");
}

#[test]
fn a_run_goes_on_in_the_middle_of_an_archive() {
    let place = Sandbox::new();
    let head = "HTTP/1.1 200 OK\nContent-Type: text/html";
    let records = |numbers: std::ops::Range<u64>| -> Vec<u8> {
        numbers.flat_map(|number| gzip(&response("https://a.org", head, page(number).as_bytes()))).collect()
    };
    let file = records(0..40);
    place.put("a.warc.gz", &file);
    place.put("b.parquet", b"PAR1"); // the run ends here
    let changes = ["shards.text_bytes=5000"];
    place.build(&changes).unwrap_err();
    assert!(place.path("out.partial/train-00000.parquet").exists());
    std::fs::remove_file(place.path("in/b.parquet")).unwrap();
    place.build(&changes).unwrap();
    let resumed = files(&place.path("out"));
    std::fs::remove_dir_all(place.path("out")).unwrap();
    assert_eq!(place.build(&changes).unwrap().kept().documents, 40);
    assert!(files(&place.path("out")) == resumed);
}
