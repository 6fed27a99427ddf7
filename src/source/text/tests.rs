use super::*;

/// Two documents of two tokens and the beginning of a third, with the separator 0 or without.
fn rows(borders: bool, has_separator: bool) -> TextRow {
    let text = match has_separator {
        true => Text { tokens: vec![1, 2, 0, 3, 4, 0, 5, 6], ends: vec![3, 6] },
        false => Text { tokens: vec![1, 2, 3, 4, 5, 6], ends: vec![2, 4] },
    };
    let lengths = [0, 1, 2, 3, 4, 5, 6].as_slice().into();
    Rows { lengths, borders, has_separator }.row(text)
}

#[test]
fn without_borders_every_token_but_the_first_counts() {
    let row = rows(false, true);
    assert_eq!((row.counted, row.borders, row.bytes), (vec![1, 2, 3, 4, 5, 6, 7], vec![], 2 + 3 + 4 + 5 + 6));
}

#[test]
fn with_borders_a_separator_ends_one_document_and_begins_the_next() {
    let row = rows(true, true);
    assert_eq!((row.counted, row.borders), (vec![1, 2, 3, 4, 5, 6, 7], vec![2, 5]));
    let row = rows(true, false);
    assert_eq!((row.counted, row.borders, row.bytes), (vec![1, 3, 5], vec![2, 4], 2 + 4 + 6));
}

#[test]
fn a_border_at_the_end_of_a_window_changes_nothing() {
    let text = Text { tokens: vec![0, 1, 2, 0], ends: vec![1, 4] };
    let rows = Rows { lengths: [0, 1, 1].as_slice().into(), borders: true, has_separator: true };
    let row = rows.row(text);
    assert_eq!((row.counted, row.borders), (vec![1, 2, 3], vec![3]), "the last token is not read");
}
