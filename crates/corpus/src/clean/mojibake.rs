use std::sync::LazyLock;

use encoding_rs::WINDOWS_1252;

/// Repairs a text in which UTF-8 was decoded as windows-1252; `None` if there is nothing to repair.
///
/// A sequence of letters is repaired if its windows-1252 bytes are the UTF-8 of one letter, such as "Ã©" of "é" and
/// "â€™" of "’". Two-letter sequences occur in real words as well ("CAFÉ”" ends in the bytes of "ɔ"). So sequences of
/// Western letters are left unchanged if a quotation mark or dash follows a capital, and those of other letters,
/// "Ð¿Ñ€Ð¸" of "при", must occur two in a row. The idea, and tables for many more cases, are from ftfy (Speer 2019).
/// Text that was garbled two or three times is repaired as often.
pub(super) fn undo(text: &str) -> Option<String> {
    let mut mended = undo_once(text)?;
    for _ in 0..2 {
        match undo_once(&mended) {
            Some(better) => mended = better,
            None => break,
        }
    }
    Some(mended)
}

fn undo_once(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // Every sequence starts with a letter from À to ô, in UTF-8 C3 80 to C3 B4.
    let mut mended: Option<String> = None;
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = memchr::memchr(0xc3, &bytes[from..]).map(|at| from + at) {
        let whole = sequence(&text[at..]).filter(|found| is_mojibake(text, at, found));
        match whole {
            Some(found) => {
                let mended = mended.get_or_insert_with(|| String::with_capacity(text.len()));
                mended.push_str(&text[copied..at]);
                mended.push(found.letter);
                copied = at + found.len;
                from = copied;
            }
            None => from = at + 2,
        }
    }
    let mut mended = mended?;
    mended.push_str(&text[copied..]);
    Some(mended)
}

/// A sequence of letters whose windows-1252 bytes are one letter.
struct Sequence {
    letter: char,
    /// Length in bytes of the garbled text.
    len: usize,
    /// Length in letters of the garbled text.
    letters: usize,
    /// The second letter of the garbled text.
    second: char,
}

fn sequence(text: &str) -> Option<Sequence> {
    let mut letters = text.chars();
    let first = byte_of(letters.next()?)?;
    let count = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut bytes = [first, 0, 0, 0];
    let mut second = None;
    for byte in &mut bytes[1..count] {
        let letter = letters.next()?;
        second = second.or(Some(letter));
        *byte = byte_of(letter).filter(|byte| (0x80..0xc0).contains(byte))?;
    }
    let letter = std::str::from_utf8(&bytes[..count]).ok()?.chars().next()?;
    Some(Sequence { letter, len: text.len() - letters.as_str().len(), letters: count, second: second? })
}

fn is_mojibake(text: &str, at: usize, found: &Sequence) -> bool {
    if found.letters > 2 {
        return true;
    }
    let before = text[..at].chars().next_back();
    if byte_of(found.letter).is_some() {
        let is_mark = ('\u{2010}'..='\u{203a}').contains(&found.second);
        return !(is_mark && before.is_some_and(char::is_uppercase));
    }
    let has_neighbour = |neighbour: Option<Sequence>| neighbour.is_some_and(|other| byte_of(other.letter).is_none());
    let two_before = || {
        let start = text[..at].char_indices().rev().nth(1)?.0;
        sequence(&text[start..]).filter(|other| start + other.len == at)
    };
    has_neighbour(sequence(&text[at + found.len..])) || has_neighbour(two_before())
}

/// Returns the byte of a letter in windows-1252, whose five unassigned bytes are mapped to the control characters with
/// their number.
fn byte_of(letter: char) -> Option<u8> {
    static HIGH: LazyLock<Vec<(char, u8)>> = LazyLock::new(|| {
        let mut letters: Vec<(char, u8)> = (0x80..0xa0)
            .map(|byte| (WINDOWS_1252.decode_without_bom_handling(&[byte]).0.chars().next().unwrap_or('\0'), byte))
            .collect();
        letters.sort();
        letters
    });
    match letter {
        '\u{80}'..='\u{ff}' => Some(letter as u8),
        '\u{152}'..='\u{2122}' => {
            HIGH.binary_search_by_key(&letter, |(letter, _)| *letter).ok().map(|found| HIGH[found].1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes UTF-8 as windows-1252.
    fn garble(text: &str) -> String {
        WINDOWS_1252.decode_without_bom_handling(text.as_bytes()).0.into_owned()
    }

    #[test]
    fn garbled_text_is_put_right() {
        assert_eq!(undo("Ã©").as_deref(), Some("é"));
        for text in [
            "Où est passé l’été ? — « à l'école »",
            "größer, Äpfel, naïve, “quoted” … €5",
            "Мама мыла раму, потом ушла",
            "日本語のテキスト",
            "emoji 😀 too",
        ] {
            assert_eq!(undo(&garble(text)).as_deref(), Some(text));
            assert_eq!(undo(&garble(&garble(text))).as_deref(), Some(text), "twice");
        }
    }

    #[test]
    fn good_text_is_left() {
        for text in [
            "Où est passé l’été ? — « à l'école »",
            "“LE CAFÉ” and ‘MAÇÔ, “NÃO”, MAÇÃ”",
            "Đặng Thị Ngọc Thịnh, Ünlü Şarkı, Ærø, Ångström’s",
            "Мама мыла раму",
            "ÀÉÎÕÜ — È’",
            "plain ASCII",
        ] {
            assert_eq!(undo(text), None, "{text}");
        }
    }
}
