use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GBK, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

use crate::rule::{Failed, Rule};

/// A decoded text, with the charset that was used if its bytes were not UTF-8.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub text: Cow<'a, str>,
    pub charset: Option<&'static str>,
}

/// Decodes bytes in a charset of seven bits if they have its escapes, else as UTF-8 if valid, else as declared, else (with `guess`) in the best-fitting charset of the web.
///
/// Text contains almost no control characters. If more than one character in a hundred is one, the bytes are not text
/// but an image or a program, whatever charset was guessed.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    declared: Option<&'static Encoding>,
    guess: bool,
) -> Result<Decoded<'a>, Failed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let wrong = match simple_utf8(bytes) {
        Ok(text) => {
            if let Some(decoded) = decode_escapes(bytes, declared, guess) {
                return checked(decoded, bytes);
            }
            return match controls(text) {
                0 => Ok(Decoded { text: text.into(), charset: None }),
                _ => checked(Decoded { text: text.into(), charset: None }, bytes),
            };
        }
        Err(wrong) => wrong,
    };
    // A page that says so in ASCII is in none of these.
    let declared = declared.filter(|charset| ![UTF_8, UTF_16LE, UTF_16BE, REPLACEMENT].contains(charset));
    if !guess && declared.is_none() {
        return Err(Failed::new(
            Rule::Undecodable,
            format!("byte {wrong} ({:#04x}) is no UTF-8, and repair.charset is off", bytes[wrong]),
        ));
    }
    if almost_utf8(bytes) {
        let text = String::from_utf8_lossy(bytes).replace('\u{fffd}', "").into();
        return checked(Decoded { text, charset: Some("UTF-8, damaged") }, bytes);
    }
    let charset = declared.unwrap_or_else(|| {
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(bytes, true);
        detector.guess(None, Utf8Detection::Allow)
    });
    let (text, _) = charset.decode_without_bom_handling(bytes);
    checked(Decoded { text, charset: Some(charset.name()) }, bytes)
}

/// Decodes ISO-2022-JP and HZ, which write Japanese and Chinese in ASCII characters between escapes. Without `guess`, the
/// charset must be declared.
fn decode_escapes<'a>(bytes: &'a [u8], declared: Option<&'static Encoding>, guess: bool) -> Option<Decoded<'a>> {
    let has = |escape: &[u8]| memchr::memmem::find(bytes, escape).is_some();
    if declared == Some(ISO_2022_JP) || (guess && (has(b"\x1b$B") || has(b"\x1b$@"))) {
        let (text, is_damaged) = ISO_2022_JP.decode_without_bom_handling(bytes);
        let is_it = declared == Some(ISO_2022_JP) || !is_damaged;
        return is_it.then_some(Decoded { text, charset: Some(ISO_2022_JP.name()) });
    }
    // The standard of the web knows the name of HZ, and decodes it to nothing.
    let is_declared = declared == Some(REPLACEMENT);
    let (text, characters) = (is_declared || guess).then(|| decode_hz(bytes)).flatten()?;
    // Escapes may stand in a program; a Chinese text is Chinese to a large part.
    let is_hz = is_declared || characters * 8 >= bytes.len();
    is_hz.then_some(Decoded { text: text.into(), charset: Some("HZ-GB-2312") })
}

/// Decodes HZ (RFC 1843): pairs of characters between `~{` and `~}` are GB 2312. Returns the number of pairs too; `None`
/// if there is none, or one that is no character.
fn decode_hz(bytes: &[u8]) -> Option<(String, usize)> {
    memchr::memmem::find(bytes, b"~{")?;
    let (mut gbk, mut characters, mut is_chinese) = (Vec::with_capacity(bytes.len()), 0, false);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let taken = match (is_chinese, byte, after.first()) {
            (false, b'~', Some(b'{')) => {
                is_chinese = true;
                2
            }
            (true, b'~', Some(b'}')) => {
                is_chinese = false;
                2
            }
            (false, b'~', Some(b'\n')) => 2,
            (false, b'~', Some(b'~')) => {
                gbk.push(b'~');
                2
            }
            (true, b'\n' | b'\r', _) => {
                is_chinese = false;
                0
            }
            (true, first @ 0x21..=0x77, Some(second @ 0x21..=0x7e)) => {
                gbk.extend([first | 0x80, second | 0x80]);
                characters += 1;
                2
            }
            (true, ..) => return None,
            (false, ..) => {
                gbk.push(byte);
                1
            }
        };
        rest = &rest[taken..];
    }
    let (text, is_damaged) = GBK.decode_without_bom_handling(&gbk);
    (!is_damaged && characters > 0).then(|| (text.into_owned(), characters))
}

/// Returns the charset in the head of an HTML page: `<meta charset=...>` or in `content="text/html; charset=..."`.
pub(super) fn declared_in_html(bytes: &[u8]) -> Option<&'static Encoding> {
    const HEAD: usize = 1024; // where the HTML standard looks
    let head = &bytes[..bytes.len().min(HEAD)].to_ascii_lowercase();
    let at = memchr::memmem::find(head, b"charset=")? + b"charset=".len();
    let rest = head[at..].trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\'' | b';' | b'>' | b'/' | b' '))?;
    Encoding::for_label(&rest[..end])
}

fn simple_utf8(bytes: &[u8]) -> Result<&str, usize> {
    std::str::from_utf8(bytes).map_err(|error| error.valid_up_to())
}

/// True for UTF-8 with a few invalid places: more valid than invalid characters beyond ASCII.
fn almost_utf8(bytes: &[u8]) -> bool {
    let (mut whole, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    whole > 4 * broken
}

fn controls(text: &str) -> usize {
    let is_control = |letter: &char| {
        (letter.is_control() && !matches!(letter, '\n' | '\r' | '\t' | '\u{c}')) || *letter == '\u{fffd}'
    };
    text.chars().filter(is_control).count()
}

fn checked<'a>(decoded: Decoded<'a>, bytes: &[u8]) -> Result<Decoded<'a>, Failed> {
    let (controls, letters) = (controls(&decoded.text), decoded.text.chars().count());
    if controls * 100 <= letters {
        return Ok(decoded);
    }
    let is_strange = |byte: &u8| (*byte < 32 && !b"\n\r\t\x0c".contains(byte)) || *byte >= 127;
    let place = bytes.iter().position(is_strange).unwrap_or(0);
    let byte = bytes.get(place).copied().unwrap_or_default();
    let as_what = decoded.charset.unwrap_or("UTF-8");
    Err(Failed::new(
        Rule::Undecodable,
        format!(
            "byte {place} ({byte:#04x}) is no text in any charset: as {as_what}, {controls} of {letters} characters are control characters"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_charsets_are_read() {
        let french = "Où est passé l'été ? Les élèves français répètent à l'école, près du théâtre.";
        let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode(french);
        let decoded = decode(&bytes, None, true).unwrap();
        assert_eq!((&*decoded.text, decoded.charset), (french, Some("windows-1252")));
        let russian = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.";
        for charset in [encoding_rs::WINDOWS_1251, encoding_rs::KOI8_R] {
            let (bytes, _, _) = charset.encode(russian);
            assert_eq!(decode(&bytes, None, true).unwrap().text, russian, "{}", charset.name());
        }
        let failed = decode(&bytes, None, false).unwrap_err();
        assert!(failed.detail.starts_with("byte 1 (0xf9) is no UTF-8"), "{}", failed.detail);
    }

    #[test]
    fn a_declared_charset_comes_first() {
        let page = b"<html><head><meta charset=\"iso-8859-2\"></head>\xb1\xbf</html>";
        let declared = declared_in_html(page);
        assert!(decode(page, declared, true).unwrap().text.contains("ąż"));
        let old = b"<meta http-equiv='Content-Type' content='text/html; charset=KOI8-R'>";
        assert_eq!(declared_in_html(old), Some(encoding_rs::KOI8_R));
    }

    #[test]
    fn charsets_of_seven_bits_are_read() {
        let japanese = "吾輩は猫である。名前はまだ無い。";
        let mut page = b"<meta charset=\"iso-2022-jp\">".to_vec();
        page.extend_from_slice(b"\x1b$B8cGZ$OG-$G$\"$k!#L>A0$O$^$@L5$$!#\x1b(B");
        for declared in [declared_in_html(&page), None] {
            let decoded = decode(&page, declared, true).unwrap();
            assert!(decoded.text.ends_with(japanese), "{}", decoded.text);
            assert_eq!(decoded.charset, Some("ISO-2022-JP"));
        }
        let chinese = b"~{5@?I5@#,7G3#5@!#~}";
        for (text, expected) in [(chinese.as_slice(), "道可道，非常道。"), (b"~~ ~{5@~}~\n~{?I~}\n", "~ 道可\n")]
        {
            assert_eq!(decode(text, Some(REPLACEMENT), true).unwrap().text, expected);
        }
        let declared = declared_in_html(b"<meta charset='hz-gb-2312'>");
        assert_eq!(decode(chinese, declared, false).unwrap().text, "道可道，非常道。");
        assert_eq!(decode(chinese, None, true).unwrap().charset, Some("HZ-GB-2312"));
        let lisp = "(format t \"~{~a~^, ~}\" list) ; or ~{ab~}, which joins the elements of a list";
        let decoded = decode(lisp.as_bytes(), None, true).unwrap();
        assert_eq!((&*decoded.text, decoded.charset), (lisp, None));
    }

    #[test]
    fn a_page_that_says_utf_16_in_ascii_is_not() {
        let page = b"<meta charset=\"utf-16\"><p>The majestic m\xf6ose crossed the caf\xe9's na\xefve garden.</p>";
        let declared = declared_in_html(page);
        assert!(decode(page, declared, true).unwrap().text.contains("café's naïve"));
        assert!(decode(page, declared, false).unwrap_err().detail.contains("is no UTF-8"));
        let plain = "<meta charset=utf-16>é";
        assert_eq!(decode(plain.as_bytes(), declared_in_html(plain.as_bytes()), false).unwrap().text, plain);
    }

    #[test]
    fn a_broken_byte_in_much_utf8_is_left_out() {
        let mut bytes = "Ceci a été écrit à l'école, près du théâtre".as_bytes().to_vec();
        bytes.push(0xc3);
        bytes.extend_from_slice(b" hier");
        let decoded = decode(&bytes, None, true).unwrap();
        assert!(decoded.text.ends_with("théâtre hier"), "{}", decoded.text);
        assert_eq!(decoded.charset, Some("UTF-8, damaged"));
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let image: Vec<u8> =
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".iter().copied().chain((0..=255).cycle().take(2000)).collect();
        let failed = decode(&image, None, true).unwrap_err();
        assert!(failed.rule == Rule::Undecodable && failed.detail.starts_with("byte 0 (0x89)"), "{}", failed.detail);
        assert!(decode(b"plain\0\0\0\0", None, true).is_err());
    }
}
