//! Faults of a text that is no JSON, each with what would be right.

use serde_json::Error;

pub(super) const TRAILING_COMMA: &str = "a comma after the last value; remove it";

/// First fault of a text.
#[derive(Debug)]
pub(super) struct Fault {
    /// Index of the faulty byte in the text.
    pub offset: usize,
    /// The problem, and what would be right.
    pub reason: String,
}

impl Fault {
    /// Returns the fault that serde found in a text.
    pub fn of(text: &[u8], error: &Error) -> Self {
        let at = offset_of(text, error);
        let told = error.to_string();
        let told = told.split(" at line ").next().unwrap_or(&told);
        let fault = |reason: &str| Self { offset: at, reason: reason.to_string() };
        if error.is_eof() {
            return fault(
                "the row that begins here does not end: the file is cut off, or a quote, a } or a ] is missing",
            );
        }
        if let Err(invalid) = std::str::from_utf8(&text[..text.len().min(at + 2)])
            && invalid.error_len().is_some()
        {
            let offset = invalid.valid_up_to();
            let reason = match text[offset..] {
                [0xed, 0xa0..=0xbf, ..] => {
                    "half of a surrogate pair, which is no character; write both halves".to_string()
                }
                _ => format!("byte {:#04x} is no UTF-8; save the file as UTF-8", text[offset]),
            };
            return Self { offset, reason };
        }
        if told.contains("surrogate") || told.contains("end of hex escape") {
            return fault(
                "half of a surrogate pair such as \\ud83d, which is no character; write both halves, or \\ufffd",
            );
        }
        if told.contains("recursion") {
            return fault("lists and objects inside each other more than 127 deep, which is not supported");
        }
        if told.contains("number out of range") {
            return fault("a number too large for 64 bits; write it as a text");
        }
        if told.contains("trailing comma") {
            return fault(TRAILING_COMMA);
        }
        let is_inside_text = told.contains("control character");
        match text[at..] {
            [b'\n' | b'\r', ..] if is_inside_text => fault("a line end inside of a text; write it as \\n"),
            [byte, ..] if is_inside_text => {
                fault(&format!("a control character inside of a text; write it as \\u{byte:04x}"))
            }
            [0, ..] => fault(
                "a NUL byte, as crashed programs and full disks leave; remove what begins here (or, if the file is UTF-16, \
                 save it as UTF-8)",
            ),
            [b'/', b'/' | b'*', ..] | [b'#', ..] => fault("a comment, which JSON does not have; remove it"),
            [b'\'', ..] => fault("a single quote; texts and names stand between double quotes"),
            _ => Self::of_word(text, at).unwrap_or_else(|| fault(told)),
        }
    }

    /// Returns the fault of a word of other languages.
    fn of_word(text: &[u8], at: usize) -> Option<Self> {
        let is_part = |byte: &&u8| byte.is_ascii_alphabetic() || **byte == b'-';
        let start = at - text[..at].iter().rev().take_while(is_part).count();
        let word: Vec<u8> = text[start..].iter().take_while(is_part).copied().collect();
        let reason = match word.strip_prefix(b"-").unwrap_or(&word) {
            b"NaN" | b"nan" | b"Infinity" | b"infinity" | b"Inf" | b"inf" => {
                "is no number in JSON; write null, or leave the field out"
            }
            b"True" => "is Python's; JSON has true",
            b"False" => "is Python's; JSON has false",
            b"None" | b"undefined" | b"nil" => "is of another language; JSON has null",
            _ => return None,
        };
        Some(Self { offset: start, reason: format!("{} {reason}", String::from_utf8_lossy(&word)) })
    }
}

/// Returns the index of the byte at which serde stopped.
fn offset_of(text: &[u8], error: &Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let line_start = match lines_before {
        0 => 0,
        count => text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(count - 1).map_or(0, |(at, _)| at + 1),
    };
    (line_start + error.column()).saturating_sub(1).min(text.len().saturating_sub(1))
}
