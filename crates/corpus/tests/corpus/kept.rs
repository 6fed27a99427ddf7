//! Checks of the documents that are read and kept.

use std::sync::Arc;

use arrow_array::{ArrayRef, LargeStringArray, RecordBatch, StringArray};
use palestra_corpus::Settings;
use parquet::arrow::ArrowWriter;

use crate::made::*;

#[test]
fn every_format_and_compression_is_read() {
    let place = Sandbox::new();
    place.put("a.txt", prose(1));
    place.put("b.md.gz", gzip(format!("---\ntitle: b\n---\n{}", prose(2)).as_bytes()));
    let paragraph = |number| format!("<p>{}</p>", prose(number));
    let page = format!("<html><body><nav>Home</nav><article>{}</article></body></html>", paragraph(3));
    place.put("sub/c.html.zst", zstd::encode_all(page.as_bytes(), 3).unwrap());
    place.put("d.jsonl.gz", gzip((json(&prose(4)) + "\n" + &json(&prose(5))).as_bytes()));
    let column = |text: &str| -> ArrayRef { Arc::new(LargeStringArray::from(vec![text])) };
    let batch = RecordBatch::try_from_iter([("url", column("x")), ("text", column(&prose(6)))]).unwrap();
    let mut parquet = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    place.put("e.parquet", &parquet);
    place.put("f.parquet.gz", gzip(&parquet)); // the same text: a duplicate
    let utf16: Vec<u8> = "\u{feff}".encode_utf16().chain(prose(7).encode_utf16()).flat_map(u16::to_le_bytes).collect();
    place.put("g.txt", utf16);

    let report = place.build(&[]).unwrap();
    let expected = [
        ("a.txt", 1),
        ("b.md.gz", 2),
        ("c.html.zst", 3),
        ("d.jsonl.gz", 4),
        ("d.jsonl.gz", 5),
        ("e.parquet", 6),
        ("g.txt", 7),
    ];
    let mut expected = expected.map(|(name, number)| (name.to_string(), prose(number)));
    expected.sort();
    assert_eq!(place.texts(), expected);
    assert_eq!((report.documents, report.kept().documents, report.files), (8, 7, 7));
    let dropped: Vec<_> = report.dropped.iter().map(|by| (by.rule.name(), by.count.documents)).collect();
    assert_eq!(dropped, [("duplicates.exact".to_string(), 1)]);
    assert_eq!(report.funnel.last().unwrap().left, 7);
    assert_eq!(report.languages["eng"].documents, 7);
}

#[test]
fn broken_encodings_are_mended_and_personal_data_goes() {
    let place = Sandbox::new();
    let french = "Les élèves de l'école sont allés à la forêt. Ils ont vu des chênes très âgés, où l'été dure.";
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(french);
    place.put("latin.txt", &*latin);
    let garbled = encoding_rs::WINDOWS_1252.decode_without_bom_handling(french.as_bytes()).0;
    place.put("mojibake.txt", format!("{garbled} Un, deux."));
    place.put("mail.txt", format!("{french} Écrivez à jean@example.fr, 8.8.4.4, +33123456789. cafe\u{301}"));
    let report = place.build(&["gopher.words=[5,1000]", "c4.sentences=2", "duplicates.near=false"]).unwrap();
    let texts: Vec<String> = place.texts().into_iter().map(|(_, text)| text).collect();
    let mail = format!("{french} Écrivez à <email>, <ip>, <phone>. caf\u{e9}");
    assert_eq!(texts, [french.to_string(), mail, format!("{french} Un, deux.")]);
    assert_eq!(report.changed.charsets["windows-1252"], 1);
    assert_eq!((report.changed.mojibake, report.changed.scrubbed.email, report.changed.scrubbed.phone), (1, 1, 1));
    assert!(report.languages.contains_key("fra"));
}

#[test]
fn the_first_of_duplicates_stays_and_the_report_shows_the_pair() {
    let place = Sandbox::new();
    let near = prose(1).replacen("The", "Indeed the", 1);
    place.put("a.jsonl", json(&prose(1)) + &json(&prose(2)) + &json(&prose(1)) + &json(&near) + &json(&prose(3)));
    let report = place.build(&[]).unwrap();
    let texts: Vec<String> = place.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), 3);
    assert!(!texts.contains(&near) && texts.contains(&prose(1)));
    let [exact, like] = &report.dropped[..] else { panic!("{:?}", report.dropped) };
    assert_eq!((exact.rule.name().as_str(), exact.samples[0].row), ("duplicates.exact", 3));
    assert_eq!((like.rule.name().as_str(), like.samples[0].row), ("duplicates.near", 4));
    let original = like.samples[0].original.as_ref().unwrap();
    assert_eq!((original.row, original.excerpt.get(..20)), (1, prose(1).get(..20)));
    assert!(like.samples[0].detail.ends_with(&format!("like {}", original.id)), "{}", like.samples[0].detail);

    let all = place.build(&["duplicates.exact=false", "duplicates.near=false", "out=all"]).unwrap();
    assert_eq!(all.kept().documents, 5);
}

#[test]
fn every_dropped_document_is_counted_by_its_reason() {
    let place = Sandbox::new();
    let german =
        "Der alte Mann ging mit dem Hund durch den Wald. Es war kalt, und der Wind kam von Norden. Niemand sprach. ";
    place.put(
        "a.jsonl",
        [prose(1).as_str(), "Too short. Too. Short.", " \n ", german, &"Again and again. ".repeat(40)]
            .map(json)
            .concat(),
    );
    let report = place.build(&["language.keep=['eng']", "gopher.words=[12,1000]"]).unwrap();
    let dropped: Vec<_> = report.dropped.iter().map(|by| (by.rule.name(), by.count.documents)).collect();
    let expected =
        ["empty", "language.keep", "gopher.words", "repetition.top_ngrams"].map(|name| (name.to_string(), 1));
    assert!(dropped.iter().all(|(_, count)| *count == 1) && dropped.len() == 4, "{dropped:?}");
    assert!(expected.iter().filter(|by| dropped.contains(by)).count() >= 3, "{dropped:?}");
    assert_eq!(
        report.dropped.iter().map(|by| by.count.documents).sum::<u64>() + report.kept().documents,
        report.documents
    );
    assert!(report.dropped.iter().all(|by| by.samples.len() == 1 && !by.samples[0].detail.is_empty()));
    // The files contain the same values as the returned report.
    let read = palestra_corpus::Report::load(place.path("out")).unwrap();
    assert_eq!(read, report);
}

#[test]
fn without_filters_all_but_duplicates_stay() {
    let place = Sandbox::new();
    place.put("a.jsonl", ["Short {", "lorem ipsum", "- one\n- one\n- one", "### 12 ...", "Short {"].map(json).concat());
    let mut settings = place.settings(&[]);
    settings.switch_off_filters();
    let report = palestra_corpus::build(&settings, &palestra_corpus::Options::default()).unwrap();
    assert_eq!((report.kept().documents, report.dropped.len()), (4, 1));
}

#[test]
fn the_page_shows_text_and_runs_none_of_it() {
    let place = Sandbox::new();
    place.put("a.jsonl", json(&prose(1)) + &json("<script>alert('x')</script> & so on"));
    place.build(&[]).unwrap();
    let page = std::fs::read_to_string(place.path("out").join("report.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; so on"));
    assert!(!page.contains("<script") && page.contains("prefers-color-scheme: dark") && page.contains("c4.sentences"));
}

#[test]
fn validation_is_chosen_by_the_document() {
    let place = Sandbox::new();
    place.put("a.jsonl", (0..400).map(|number| json(&prose(number))).collect::<String>());
    let report = place.build(&["split.validation=0.25"]).unwrap();
    assert!((70..130).contains(&report.validation.documents), "{}", report.validation.documents);
    let split = |out: &str| {
        let rows = rows(&place.path(out)).into_iter().map(|row| (row.id, row.split));
        rows.collect::<std::collections::BTreeMap<_, _>>()
    };
    let first = split("out");
    assert_eq!(first.len(), 400);
    // In another set and order, the same documents are in validation.
    place.put("a.jsonl", (100..400).rev().map(|number| json(&prose(number))).collect::<String>());
    place.build(&["split.validation=0.25", "out=again"]).unwrap();
    let again = split("again");
    assert!(again.len() == 300 && again.iter().all(|(id, split)| first[id] == *split));
}

#[test]
fn long_texts_are_cut_at_blank_lines_and_stay_together() {
    let place = Sandbox::new();
    for book in 0..30 {
        let paragraphs: Vec<String> = (0..10).map(|number| prose(1000 * book + number)).collect();
        place.put(&format!("book{book}.txt"), paragraphs.join("\n\n"));
    }
    let changes = ["read.part_bytes=1500", "split.validation=0.5"];
    let report = place.build(&changes).unwrap();
    assert_eq!((report.documents, report.kept().documents), (150, 150));
    for book in 0..30 {
        let splits: std::collections::BTreeSet<_> = rows(&place.path("out"))
            .into_iter()
            .filter(|row| row.source == format!("book{book}.txt"))
            .map(|row| row.split)
            .collect();
        assert_eq!(splits.len(), 1, "book {book} is in {splits:?}");
    }
    assert!(report.train.documents > 0 && report.validation.documents > 0);
    let report = place.build(&["read.text_unit=paragraph", "out=paragraphs"]).unwrap();
    assert_eq!(report.documents, 300);
}

#[test]
fn a_file_of_json_may_be_one_array_in_any_layout_and_unicode() {
    let rows: Vec<String> = [1, 2, 3].map(|number| json(&prose(number)).trim().to_string()).into();
    let array = format!("[{}]", rows.join(",\n  "));
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let texts = |name: &str, bytes: Vec<u8>| {
        let place = Sandbox::new();
        place.put(name, bytes);
        place.build(&[]).unwrap();
        place.texts().into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let lines = texts("a.jsonl", rows.join("\n").into_bytes());
    assert_eq!(lines.len(), 3);
    for bytes in [array.clone().into_bytes(), format!("\u{feff}\r\n{array}\r\n").into_bytes(), utf16(&array)] {
        assert_eq!(texts("a.json", bytes), lines);
    }
    assert_eq!(texts("a.json.gz", gzip(array.as_bytes())), lines);
}

#[test]
fn bad_documents_can_be_passed_over_and_are_counted() {
    let place = Sandbox::new();
    place.put("a.jsonl", json(&prose(1)) + "{\"text\": 5}\nnot json\n" + &json(&prose(2)));
    place.put("b.txt", b"\x89PNG\r\n\x1a\n\0\0\0\0\0\0\x01\x02\x03\x04\x05");
    let whole = gzip(&(0..200).map(|number| json(&prose(100 + number))).collect::<String>().into_bytes());
    place.put("c.jsonl.gz", &whole[..whole.len() / 2]);
    place.put("d.parquet", b"PAR1 this is none PAR1");
    let report = place.build(&["skip_bad=true", "read.max_document_bytes=100000"]).unwrap();
    let dropped: Vec<_> = report.dropped.iter().map(|by| (by.rule.name(), by.count.documents)).collect();
    let expected =
        [("damaged_file", 2), ("bad_row", 2), ("undecodable", 1)].map(|(name, count)| (name.to_string(), count));
    assert_eq!(dropped, expected);
    assert!(report.kept().documents > 20, "what stands before the damage is kept: {}", report.kept().documents);
}

#[test]
fn a_column_of_html_and_of_bytes_is_read() {
    let place = Sandbox::new();
    let batch = RecordBatch::try_from_iter([(
        "body",
        Arc::new(StringArray::from(vec![format!("<p>{}</p><script>x</script>", prose(1))])) as ArrayRef,
    )]);
    let batch = batch.unwrap();
    let mut parquet = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    place.put("a.parquet", &parquet);
    place.build(&["read.text_column=body", "read.column_format=html"]).unwrap();
    assert_eq!(place.texts()[0].1, prose(1));
}

#[test]
fn a_deeply_nested_page_is_read() {
    let place = Sandbox::new();
    place.put("a.html", format!("{}<p>{}", "<div>".repeat(5000), prose(1)));
    place.build(&[]).unwrap();
    assert_eq!(place.texts()[0].1, prose(1));
}

#[test]
fn the_guide_has_every_setting_with_its_default() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/corpus.md")).unwrap();
    let block = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let written = Settings::parse(block, "docs/corpus.md", &[]).unwrap();
    let default = Settings { inputs: written.inputs.clone(), out: written.out.clone(), ..Settings::default() };
    assert_eq!(written, default);
    let keys = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(keys(block).len(), keys(&default.to_toml()).len());
}
