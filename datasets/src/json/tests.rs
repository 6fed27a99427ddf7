use serde_json::json;

use super::*;

/// Reads all rows of a file `a.json`.
fn read(text: impl AsRef<[u8]>) -> Vec<Result<(u64, Value), String>> {
    let mut rows = JsonRows::new(Path::new("a.json"), text.as_ref());
    let next = || Some(rows.next()?.map(|(line, row)| (line, row.into())).map_err(|error| error.to_string()));
    std::iter::from_fn(next).collect()
}

fn rows(text: impl AsRef<[u8]>) -> Vec<(u64, Value)> {
    read(text).into_iter().collect::<Result<_, _>>().unwrap()
}

/// Returns the first error of a file.
fn refusal(text: impl AsRef<[u8]>) -> String {
    read(text).into_iter().find_map(Result::err).unwrap()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
}

#[test]
fn every_layout_is_read() {
    let two = |first, second| vec![(first, json!({"a": "é蛇"})), (second, json!({"b": [1, {"c": null}]}))];
    let lines = "{\"a\": \"é蛇\"}\n{\"b\": [1, {\"c\": null}]}\n";
    assert_eq!(rows(lines), two(1, 2));
    assert_eq!(rows(format!("\u{feff}{lines}")), two(1, 2));
    assert_eq!(rows(lines.replace('\n', "\r\n")), two(1, 2));
    assert_eq!(rows(lines.replace('\n', "\n \n\n")), two(1, 4));
    assert_eq!(rows(lines.replace("}\n{", "} {")), two(1, 1));
    assert_eq!(rows(lines.replace("}\n{", "}\n\u{feff}{")), two(1, 2), "two files that were joined");
    let array = "[{\"a\": \"é蛇\"},\n {\"b\": [1, {\"c\": null}]}]\n";
    assert_eq!(rows(array), two(1, 2));
    assert_eq!(rows("[\n  {\n    \"a\": \"é蛇\"\n  },\n  {\n    \"b\": [1,\n    {\"c\": null}]\n  }\n]"), two(2, 5));
    assert_eq!(rows("{\n  \"a\": \"é蛇\"\n}\n{\n  \"b\": [1,\n    {\"c\": null}]\n}"), two(1, 4));
    for text in [lines, array] {
        assert_eq!(rows(utf16(text, u16::to_le_bytes)), two(1, 2));
        assert_eq!(rows(utf16(text, u16::to_be_bytes)), two(1, 2));
    }
    for empty in ["", "\n \r\n", "[]", " [\n]\n", "\u{feff}"] {
        assert_eq!(rows(empty), []);
    }
    assert_eq!(rows("{\"a\": \"\\ud83d\\ude00\"}")[0].1, json!({"a": "😀"}));
    assert_eq!(rows(utf16("{\"a\": \"😀\"}", u16::to_le_bytes))[0].1, json!({"a": "😀"}));
}

#[test]
fn long_whole_numbers_keep_their_digits() {
    let text = "{\"a\": 9007199254740993, \"b\": 18446744073709551615, \"c\": -9223372036854775808, \"d\": 1e30, \
                \"\\\"e\\\"\": 340282366920938463463374607431768211455, \"f\": -9223372036854775809}";
    let expected = json!({
        "a": 9_007_199_254_740_993_u64, "b": u64::MAX, "c": i64::MIN, "d": 1e30,
        "\"e\"": "340282366920938463463374607431768211455", "f": "-9223372036854775809",
    });
    assert_eq!(rows(text), [(1, expected)]);
    let inner = refusal("{\"a\": [\"}\", 18446744073709551616]}");
    assert!(inner.contains("line 1, the line: 18446744073709551616 is a whole number of more than 64 bits"), "{inner}");
}

/// `tests/differential/json_rows.py` records them.
#[test]
fn random_rows_are_read_as_python_reads_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/differential/json-rows.json");
    let cases: Vec<(String, Option<String>)> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 500);
    let mut wrong = Vec::new();
    for (text, right) in cases {
        let mut found = read(&text);
        let found = found.pop().filter(|_| found.is_empty()).and_then(Result::ok).map(|(_, row)| row);
        let right: Option<Value> = right.map(|right| serde_json::from_str(&right).unwrap());
        if found != right {
            wrong.push(format!("{text}\n  right {right:?}\n  found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn faults_are_named_with_their_place_and_what_is_right() {
    for (text, expected) in [
        ("{}\n{\"a\": NaN}", "line 2, the line: is no JSON: column 7: NaN is no number in JSON; write null"),
        ("{\"é\": -Infinity}", "line 1, the line: is no JSON: column 7: -Infinity is no number"),
        ("{\"a\": nan}", "column 7: nan is no number"),
        ("{\"a\": True}", "column 7: True is Python's; JSON has true"),
        ("{\"a\": None}", "column 7: None is of another language; JSON has null"),
        ("{\"a\": 1,}", "column 9: a comma after the last value; remove it"),
        ("{\"a\": [1, ]}", "column 11: a comma after the last value"),
        ("{\"a\": 1},\n{\"a\": 2}", "line 1, the line: is no JSON: column 9: a comma after a row; rows on lines"),
        ("[{\"a\": 1},\n]", "line 2, the line: is no JSON: column 1: a comma after the last value"),
        ("[{\"a\": 1}\n{\"a\": 1}]", "line 2, the line: is no JSON: column 1: the next row where a comma"),
        ("[{\"a\": 1},\n", "line 2, the line: is no JSON: column 1: the array does not end"),
        ("[{}]\n{}", "line 2, the line: is no JSON: column 1: more text after the end of the array"),
        ("// rows\n{}", "line 1, the line: is no JSON: column 1: a comment, which JSON does not have"),
        ("{\"a\": 1 /* one */}", "column 9: a comment"),
        ("{\"a\": 1} # one", "column 10: a comment"),
        ("{'a': 1}", "column 2: a single quote"),
        ("{}\n\0\0\0\0", "line 2, the line: is no JSON: column 1: a NUL byte, as crashed programs"),
        ("{\"a\": \"\0\"}", "column 8: a control character inside of a text; write it as \\u0000"),
        ("{\"a\": \"b\n\"}", "line 1, the line: is no JSON: column 9: a line end inside of a text"),
        ("{\"a\": \"\\ud83d\"}", "half of a surrogate pair such as \\ud83d, which is no character"),
        ("{\"a\": \"\\ude00\"}", "half of a surrogate pair"),
        ("{}\n{\"a\": \"b", "line 2, the line: is no JSON: column 1: the row that begins here does not end"),
        (
            "{\n\"a\": 1\n\"b\": 2}",
            "line 3, the line: is no JSON: column 1: expected `,` or `}`; its row begins on line 1",
        ),
        ("{\"a\": 1e999}", "a number too large for 64 bits"),
        ("3", "line 1, the line: 3 where an object {...} should be"),
        ("[[1]]", "line 1, the line: [1] where an object {...} should be"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with("a.json: ") && error.contains(expected), "{error} for {text}");
    }
    let latin = refusal(b"{}\n{\"a\": \"caf\xe9\"}");
    assert!(latin.contains("line 2, the line: is no JSON: column 11: byte 0xe9 is no UTF-8"), "{latin}");
    let mut half = utf16("{\"a\": \"", u16::to_le_bytes);
    half.extend([0x3d, 0xd8, b'"', 0, b'}', 0]);
    assert!(refusal(half).contains("column 8: half of a surrogate pair"));
    assert!(refusal(b"\xff\xfe\0\0{\0\0\0").contains("a.json: cannot read it: it is UTF-32; save it as UTF-8"));
    assert!(refusal(b"{\0\"\0a\0\"\0").contains("column 2: a NUL byte"));
}

#[test]
fn the_lines_after_a_fault_are_read() {
    let found = |text: &str| read(text).into_iter().map(|row| row.ok().map(|(line, _)| line)).collect::<Vec<_>>();
    assert_eq!(found("{\"a\": NaN}\n{}\n{} x\n{}"), [None, Some(2), Some(3), None, Some(4)]);
    assert_eq!(found("{\"a\": 1,\n{}\n{}"), [None, Some(2), Some(3)], "the first row is torn");
    assert_eq!(found("{},\n{}"), [Some(1), None, Some(2)]);
    assert_eq!(found("[{}, {\"a\": NaN}, {}]"), [Some(1), None]);
}

/// Endless array, of which a reader takes as much as it needs.
struct Endless(usize);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const ROW: &[u8] = b", {\"a\": \"a text of some length\"}";
        for byte in &mut *buffer {
            *byte = if self.0 == 0 { b'[' } else { ROW[self.0 % ROW.len()] };
            self.0 += 1;
        }
        Ok(buffer.len())
    }
}

#[test]
fn an_array_of_any_length_is_read_row_by_row() {
    let mut rows = JsonRows::new(Path::new("a.json"), Endless(0));
    for _ in 0..50_000 {
        assert_eq!(rows.next().unwrap().unwrap().1["a"], "a text of some length");
    }
    assert!(rows.buffer.len() <= 2 * CHUNK, "{}", rows.buffer.len());
    // A row longer than what is read at a time.
    let long = format!("{{\"a\": \"{}\"}}\n", "é".repeat(CHUNK));
    let mut rows = JsonRows::new(Path::new("a.json"), long.as_bytes());
    assert_eq!(rows.next().unwrap().unwrap().1["a"].as_str().map(str::len), Some(2 * CHUNK));
    assert!(rows.next().is_none());
}
