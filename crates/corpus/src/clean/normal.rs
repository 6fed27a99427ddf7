use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

use crate::settings::Unicode;

/// Normalizes a text: Unicode normal form, line ends as "\n", no control characters or soft hyphens, no white space at
/// line ends, at most one blank line in a row, nothing blank at start and end.
pub(super) fn normalize(text: &str, form: Unicode) -> String {
    let composed: String;
    let text = match form {
        Unicode::Nfc if !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes => {
            composed = text.nfc().collect();
            &composed
        }
        Unicode::Nfkc if !text.is_ascii() && is_nfkc_quick(text.chars()) != IsNormalized::Yes => {
            composed = text.nfkc().collect();
            &composed
        }
        _ => text,
    };
    let unified: String;
    let text = match text.contains(is_unwanted) {
        true => {
            unified = unify(text);
            &unified
        }
        false => text,
    };
    let mut clean = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split('\n') {
        let line = line.trim_end();
        match line.is_empty() {
            true => blank += 1,
            false => {
                if !clean.is_empty() {
                    clean.push_str(if blank > 0 { "\n\n" } else { "\n" });
                }
                clean.push_str(line);
                blank = 0;
            }
        }
    }
    clean
}

fn is_unwanted(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
        || matches!(letter, '\u{ad}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn unify(text: &str) -> String {
    let mut unified = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}' => unified.push('\n'),
            _ if is_unwanted(letter) => {}
            _ => unified.push(letter),
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        assert_eq!(normalize("e\u{301}t\u{e9}", Unicode::Nfc), "\u{e9}t\u{e9}");
        assert_eq!(normalize("ﬁ e\u{301}", Unicode::Nfc), "ﬁ é");
        assert_eq!(normalize("ﬁ ２", Unicode::Nfkc), "fi 2");
        assert_eq!(normalize("e\u{301}", Unicode::None), "e\u{301}");
    }

    #[test]
    fn white_space_is_made_simple() {
        assert_eq!(
            normalize("\u{feff}\n\n a \r\nb\t\r\r\n\n\n\nc\0\u{ad}d\u{2028}e\n\n", Unicode::Nfc),
            " a\nb\n\nc\u{64}\ne"
        );
        assert_eq!(normalize(" \n\t\n", Unicode::Nfc), "");
    }
}
