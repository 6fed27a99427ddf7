//! The list of allowed guesses, and the feedback on a guess.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use crate::{Error, Result};

/// Number of letters of a word.
pub(super) const LENGTH: usize = 5;

/// A word of lower-case letters a to z.
pub(super) type Word = [u8; LENGTH];

/// Feedback on one letter of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The answer has this letter here.
    Green,
    /// The answer has this letter elsewhere, at a position that no other letter of the guess accounts for.
    Yellow,
    /// The answer does not have this letter, or fewer times than the guess.
    Black,
}

/// Feedback on each letter of a guess.
pub(super) type Feedback = [Mark; LENGTH];

/// A list of words without repetition.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) words: Vec<Word>,
    /// The same words as actions.
    pub(super) actions: Arc<[String]>,
    index: HashMap<Word, usize>,
    best_opening: OnceLock<Word>,
}

impl Words {
    /// The built-in list of 400 words.
    pub(super) fn builtin() -> Arc<Self> {
        static BUILTIN: LazyLock<Arc<Words>> = LazyLock::new(|| {
            let words = Words::parse("words.txt", include_str!("words.txt"));
            Arc::new(words.expect("a test reads the list"))
        });
        BUILTIN.clone()
    }

    /// Reads the list from a file: one word per line.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not a word of five letters a to z, or a duplicate.
    pub(super) fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| file_error(path, &error))?;
        Self::parse(path, &text)
    }

    /// Parses a list; `path` is its name in error messages.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self> {
        let mut words = Vec::new();
        let mut index = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let word = lower_case_word(line).ok_or_else(|| {
                let shown: String = line.chars().take(40).collect();
                let reason = format!("line {number}: `{shown}` is not {LENGTH} letters a to z");
                file_error(path, &reason)
            })?;
            if index.insert(word, words.len()).is_some() {
                let reason = format!("line {number}: `{line}` is in the list twice");
                return Err(file_error(path, &reason));
            }
            words.push(word);
        }
        if words.len() < 2 {
            let reason = format!("{} words; a list needs at least 2", words.len());
            return Err(file_error(path, &reason));
        }
        Ok(Self { actions: words.iter().map(text_of).collect(), words, index, best_opening: OnceLock::new() })
    }

    /// The word of the list that an action names.
    pub(super) fn find(&self, action: &str) -> Option<Word> {
        let action = action.trim();
        let mut word: Word = action.as_bytes().try_into().ok()?;
        word.make_ascii_lowercase();
        self.index.contains_key(&word).then_some(word)
    }

    /// The most informative guess among the words that can still be the answer, after some guesses.
    pub(super) fn best_guess(&self, guesses: &[(Word, Feedback)]) -> Option<Word> {
        if guesses.is_empty() {
            return Some(*self.best_opening.get_or_init(|| most_telling(&self.words)));
        }
        let fits = |answer: &Word| {
            let mut guesses = guesses.iter();
            guesses.all(|(guess, seen)| feedback(guess, answer) == *seen)
        };
        let candidates: Vec<Word> = self.words.iter().copied().filter(fits).collect();
        (!candidates.is_empty()).then(|| most_telling(&candidates))
    }
}

/// The feedback on a guess. Each letter of the answer accounts for one letter of the guess: greens first, then
/// yellows from left to right.
pub(super) fn feedback(guess: &Word, answer: &Word) -> Feedback {
    let mut marks = [Mark::Black; LENGTH];
    let mut unaccounted = [0u8; 26];
    for place in 0..LENGTH {
        if guess[place] == answer[place] {
            marks[place] = Mark::Green;
        } else {
            unaccounted[usize::from(answer[place] - b'a')] += 1;
        }
    }
    for place in 0..LENGTH {
        let left = &mut unaccounted[usize::from(guess[place] - b'a')];
        if marks[place] == Mark::Black && *left > 0 {
            marks[place] = Mark::Yellow;
            *left -= 1;
        }
    }
    marks
}

/// A word as text.
pub(super) fn text_of(word: &Word) -> String {
    word.iter().copied().map(char::from).collect()
}

/// The candidate whose feedback leaves the fewest candidates on average. This minimizes the sum of the squared sizes of
/// the groups that the feedback splits the candidates into; the first of equals.
fn most_telling(candidates: &[Word]) -> Word {
    let left = |guess: &&Word| {
        let mut groups = [0u64; 3usize.pow(LENGTH as u32)];
        for answer in candidates {
            let number = |number, mark| 3 * number + mark as usize;
            groups[feedback(guess, answer).into_iter().fold(0, number)] += 1;
        }
        groups.iter().map(|size| size * size).sum::<u64>()
    };
    *candidates.iter().min_by_key(left).expect("there is a candidate")
}

fn lower_case_word(text: &str) -> Option<Word> {
    let word: Word = text.as_bytes().try_into().ok()?;
    word.iter().all(u8::is_ascii_lowercase).then_some(word)
}

fn file_error(path: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::File { path: path.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(guess: &str, answer: &str) -> String {
        let word = |text: &str| lower_case_word(text).unwrap();
        let letter = |mark| match mark {
            Mark::Green => 'G',
            Mark::Yellow => 'Y',
            Mark::Black => 'B',
        };
        let feedback = feedback(&word(guess), &word(answer));
        feedback.into_iter().map(letter).collect()
    }

    #[test]
    fn repeated_letters_are_accounted_for_once() {
        assert_eq!(marks("crane", "crane"), "GGGGG");
        // The answer has one e: it is assigned to the first e of the guess.
        assert_eq!(marks("eerie", "blame"), "BBBBG");
        assert_eq!(marks("speed", "abide"), "BBYBY");
        // The answer has two: both are marked.
        assert_eq!(marks("speed", "erase"), "YBYYB");
        // A green mark takes the letter before a yellow one to its left.
        assert_eq!(marks("allow", "label"), "YYYBB");
        assert_eq!(marks("geese", "these"), "BBGGG");
        assert_eq!(marks("llama", "label"), "GYYBB");
        assert_eq!(marks("apple", "paper"), "YYGBY");
    }

    #[test]
    fn the_builtin_list_has_400_words_in_order() {
        let words = Words::builtin();
        assert_eq!(words.words.len(), 400);
        assert!(words.words.is_sorted());
        assert_eq!(words.find(" About\n"), Some(*b"about"));
        assert_eq!(words.find("zzzzz"), None);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, part) in [
            ("crane\nabc\n", "list.txt: line 2: `abc` is not 5 letters a to z"),
            ("Crane\nabout", "list.txt: line 1: `Crane` is not"),
            ("crane\n\ncrane", "list.txt: line 3: `crane` is in the list twice"),
            ("crane\n", "list.txt: 1 words; a list needs at least 2"),
        ] {
            let error = Words::parse("list.txt", text).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }

    #[test]
    fn the_best_guess_may_be_the_answer() {
        let words = Words::parse("list.txt", "aaaaa\naaaab\naaabb\nccccc").unwrap();
        let guess = (*b"aaaaa", feedback(b"aaaaa", b"aaabb"));
        assert_eq!(words.best_guess(&[guess]), Some(*b"aaabb"));
        let impossible = (*b"ccccc", feedback(b"ccccc", b"ccccc"));
        assert_eq!(words.best_guess(&[guess, impossible]), None);
    }
}
