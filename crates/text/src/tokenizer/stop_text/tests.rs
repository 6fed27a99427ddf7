use super::super::made::{bytes, pieces};
use super::*;

fn stops(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    tokenizer.encode(text, &mut tokens).unwrap();
    tokens
}

/// The text before a stop text, and the number of tokens after which it stops. Checked against the text of all tokens so
/// far, decoded anew with each token.
fn streamed(tokenizer: &Tokenizer, tokens: &[u32], stop: &[&str]) -> (String, Option<usize>) {
    let stop = stops(stop);
    let (mut stream, mut text, mut stopped) = (StopStream::new(tokenizer, &stop), String::new(), None);
    for (at, &token) in tokens.iter().enumerate() {
        text += &stream.push(token).unwrap();
        let whole = tokenizer.decode(&tokens[..=at]).unwrap();
        let before = before_stop(&whole, &stop);
        assert_eq!(stream.is_stopped(), before.is_some(), "{stop:?} in {whole:?}");
        if let Some(before) = before {
            assert_eq!(text, before);
            stopped = Some(at + 1);
            break;
        }
        // A byte of the next character spoils the characters before it, until the next character is complete.
        let is_whole = !whole.ends_with(char::REPLACEMENT_CHARACTER);
        assert!(!is_whole || whole.starts_with(&text), "{text:?} was passed on of {whole:?}");
    }
    text += &stream.finish().unwrap();
    if stopped.is_none() {
        assert_eq!(text, tokenizer.decode(tokens).unwrap());
    }
    (text, stopped)
}

#[test]
fn a_stop_text_is_found_though_its_tokens_and_characters_are_in_parts() {
    let tokenizer = bytes();
    let found = |text: &str, stop: &[&str]| streamed(&tokenizer, &encode(&tokenizer, text), stop);
    assert_eq!(found("ab\n\nQ: c", &["\n\nQ:"]), ("ab".into(), Some(6)), "over six tokens");
    assert_eq!(found("a é数🙂数", &["数🙂"]), ("a é".into(), Some(11)), "over parts of characters");
    assert_eq!(found("é数", &["é"]), (String::new(), Some(2)), "at the beginning");
    assert_eq!(found("abab", &["bab"]), ("a".into(), Some(4)), "at the end");
    assert_eq!(found("ababac", &["abac"]), ("ab".into(), Some(6)), "after a false beginning");
    assert_eq!(found("abcab", &["abd", "cax"]), ("abcab".into(), None), "the beginning of one alone");
    assert_eq!(found("ab", &[]), ("ab".into(), None));
    let cut = [&encode(&tokenizer, "é数")[..4], &encode(&tokenizer, "x")].concat();
    assert_eq!(streamed(&tokenizer, &cut, &["éx"]), ("é\u{FFFD}x".into(), None), "after a part of a character");
}

#[test]
fn of_several_stop_texts_the_first_counts() {
    let tokenizer = pieces(&["▁a", "bc", "d", "▁x", "▁"]);
    let found = |ids: &[u32], stop: &[&str]| streamed(&tokenizer, ids, stop);
    let [a, bc, d, x, space] = [258, 259, 260, 261, 262];
    assert_eq!(found(&[a, bc, d, x], &["d", "c"]), ("ab".into(), Some(2)));
    assert_eq!(
        found(&[a, bc, d], &["c", "bcd", "abc"]),
        (String::new(), Some(2)),
        "both end in a token: the longer begins first"
    );
    assert_eq!(found(&[a, d, bc, x], &["cx", "bc x"]), ("ad".into(), Some(4)));
    assert_eq!(
        found(&[a, 0, x, 1, d, x], &["a x", "nothing"]),
        (String::new(), Some(3)),
        "special tokens have no text"
    );
    assert_eq!(
        found(&[a, space, x, d], &["  x"]),
        ("a".into(), Some(3)),
        "spaces that a decoder removes at the beginning"
    );
    // The bytes of é and of 数.
    let byte = |byte: u8| 2 + u32::from(byte);
    let text: Vec<u32> = "é数é".bytes().map(byte).collect();
    assert_eq!(found(&[&[a][..], &text, &[x]].concat(), &["数é"]), ("aé".into(), Some(8)));
}

#[test]
fn one_check_watches_several_rows() {
    let (tokenizer, stop) = (bytes(), stops(&["ab"]));
    let [a, b] = [encode(&tokenizer, "a")[0], encode(&tokenizer, "b")[0]];
    let check = StopCheck::new(&tokenizer, &stop, 3);
    let told = [(0, a), (1, b), (0, b), (1, a), (1, b)].map(|(row, token)| check.is_stopped(row, token));
    assert_eq!(told, [false, false, true, false, true]);
    assert!(!check.is_stopped(2, 9999), "no token");
    check.begin(0);
    assert_eq!([b, a, b].map(|token| check.is_stopped(0, token)), [false, false, true], "another text in the row");
}

#[test]
fn the_cost_of_a_token_does_not_grow_with_the_text() {
    let tokenizer = bytes();
    let stop = stops(&["aab", "\u{FFFD}b"]);
    // Ever the beginning of a stop text, ever an incomplete character, and ever a special token.
    let special = pieces(&["▁a"]);
    for (tokenizer, token) in
        [(&tokenizer, encode(&tokenizer, "a")[0]), (&tokenizer, encode(&tokenizer, "é")[0]), (&special, 1)]
    {
        let mut stream = StopStream::new(tokenizer, &stop);
        for _ in 0..1000 {
            stream.push(token).unwrap();
            assert!(stream.held.len() <= 3 && stream.stream.window_len() <= 40);
        }
    }
}
