use std::cell::RefCell;
use std::collections::HashSet;

use twox_hash::XxHash3_64;

use super::gopher::at_most;
use crate::rule::{Failed, Rule};
use crate::settings::Repetition;

/// Checks Gopher's repetition rules. Shares are of the text's bytes, where Gopher counts characters.
pub(super) fn check(text: &str, words: &[&str], rules: &Repetition) -> Result<(), Failed> {
    if rules.lines.get().is_some() || rules.line_bytes.get().is_some() {
        let lines = Repeated::count(text.split('\n').filter(|line| !line.is_empty()));
        if let Some(most) = rules.lines.get() {
            at_most(Rule::RepeatedLines, lines.share(), most, "of lines stood before")?;
        }
        if let Some(most) = rules.line_bytes.get() {
            at_most(
                Rule::RepeatedLineBytes,
                lines.share_of_bytes(text),
                most,
                "of the text is in lines that stood before",
            )?;
        }
    }
    if rules.paragraphs.get().is_some() || rules.paragraph_bytes.get().is_some() {
        let paragraphs = Repeated::count(text.split("\n\n"));
        if let Some(most) = rules.paragraphs.get() {
            at_most(Rule::RepeatedParagraphs, paragraphs.share(), most, "of paragraphs stood before")?;
        }
        if let Some(most) = rules.paragraph_bytes.get() {
            let share = paragraphs.share_of_bytes(text);
            at_most(Rule::RepeatedParagraphBytes, share, most, "of the text is in paragraphs that stood before")?;
        }
    }
    let hashes: Vec<u64> = words.iter().map(|word| XxHash3_64::oneshot(word.as_bytes())).collect();
    COUNTER.with_borrow_mut(|counter| {
        for (n, most) in (2..).zip(rules.top_ngrams.get().into_iter().flatten()) {
            let share = top_ngram(words, &hashes, n, counter) as f64 / text.len() as f64;
            at_most(Rule::TopNgrams, share, most, &format!("of the text is the most frequent {n}-gram"))?;
        }
        for (n, most) in (5..).zip(rules.ngrams.get().into_iter().flatten()) {
            let share = repeated_ngrams(words, &hashes, n, counter) as f64 / text.len() as f64;
            at_most(Rule::RepeatedNgrams, share, most, &format!("of the text is in {n}-grams that stood before"))?;
        }
        Ok(())
    })
}

/// Counts of repeated parts of a text.
#[derive(Default)]
struct Repeated {
    parts: usize,
    repeated: usize,
    bytes: usize,
}

impl Repeated {
    fn count<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = HashSet::new();
        let mut counted = Self::default();
        for part in parts {
            counted.parts += 1;
            if !seen.insert(part) {
                counted.repeated += 1;
                counted.bytes += part.len();
            }
        }
        counted
    }

    fn share(&self) -> f64 {
        self.repeated as f64 / self.parts.max(1) as f64
    }

    fn share_of_bytes(&self, text: &str) -> f64 {
        self.bytes as f64 / text.len() as f64
    }
}

/// Returns the bytes of the most frequent n-gram times its count, if it occurs more than once; of equally frequent ones
/// the longest.
fn top_ngram(words: &[&str], hashes: &[u64], n: usize, counter: &mut Counter) -> usize {
    counter.clear(words.len());
    let (mut most, mut bytes) = (1, 0);
    for (start, hash) in ngrams(hashes, n) {
        let count = counter.add(hash);
        let size: usize =
            if count > 1 && count >= most { words[start..start + n].iter().map(|word| word.len()).sum() } else { 0 };
        if count > most || count == most && count > 1 && size > bytes {
            (most, bytes) = (count, size);
        }
    }
    most as usize * bytes
}

/// Returns the bytes of n-grams that occurred before, none counted twice: after a repeated n-gram, counting continues
/// behind it, as in DataTrove's Gopher filter.
fn repeated_ngrams(words: &[&str], hashes: &[u64], n: usize, counter: &mut Counter) -> usize {
    counter.clear(words.len());
    let mut bytes = 0;
    let mut free_from = 0;
    for (start, hash) in ngrams(hashes, n) {
        if start < free_from {
            continue;
        }
        if counter.add(hash) > 1 {
            bytes += words[start..start + n].iter().map(|word| word.len()).sum::<usize>();
            free_from = start + n;
        }
    }
    bytes
}

/// Iterates over the start and the hash of each n-gram.
fn ngrams(hashes: &[u64], n: usize) -> impl Iterator<Item = (usize, u64)> {
    let combine = |ngram: &[u64]| ngram.iter().fold(0u64, |hash, word| (hash.rotate_left(7) ^ word).wrapping_mul(ODD));
    hashes.windows(n).map(combine).enumerate()
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

thread_local! {
    static COUNTER: RefCell<Counter> = const { RefCell::new(Counter { slots: Vec::new(), round: 0 }) };
}

/// Counter of hashes. The table is reused from one n to the next, which accounts for most of the speed of these rules.
struct Counter {
    /// Hash, count, and the round of counting; entries of earlier rounds are free.
    slots: Vec<(u64, u32, u32)>,
    round: u32,
}

impl Counter {
    fn clear(&mut self, most: usize) {
        let size = (2 * most).next_power_of_two().max(64);
        // Shrinks after a long text, so that the table for a short one stays in the nearest cache.
        if self.slots.len() < size || self.slots.len() > 16 * size || self.round == u32::MAX {
            self.slots = vec![(0, 0, 0); size];
            self.round = 0;
        }
        self.round += 1;
    }

    fn add(&mut self, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut place = (hash >> 32) as usize & mask;
        loop {
            let slot = &mut self.slots[place];
            if slot.2 != self.round {
                *slot = (hash, 1, self.round);
                return 1;
            }
            if slot.0 == hash {
                slot.1 += 1;
                return slot.1;
            }
            place = (place + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limit;

    fn ask(text: &str) -> Result<(), Failed> {
        let words: Vec<&str> = text.split_whitespace().collect();
        check(text, &words, &Repetition::default())
    }

    fn prose(words: std::ops::Range<usize>) -> String {
        words.map(|number| format!("word{number} ")).collect()
    }

    #[test]
    fn each_rule_drops_what_it_is_for() {
        assert_eq!(ask(&prose(0..100)), Ok(()));
        let rule = |text: &str| ask(text).map_err(|failed| failed.rule);
        assert_eq!(rule("one\ntwo\none\ntwo\nthree"), Err(Rule::RepeatedLines));
        let long = format!("{0}\n{1}\n{0}\na\nb\nc\nd", prose(0..10), prose(10..20));
        assert_eq!(rule(&long), Err(Rule::RepeatedLineBytes));
        assert_eq!(rule("a\nb\n\nc\n\na\nb\n\ne\nf\ng\nh\ni\nj"), Ok(()));
        assert_eq!(
            ask(&format!("{}the end {}", "the end ".repeat(9), prose(0..20))).unwrap_err().rule,
            Rule::TopNgrams
        );
        let twice = format!("{} and {}", prose(0..30), prose(0..30));
        assert_eq!(rule(&twice), Err(Rule::RepeatedNgrams));
    }

    #[test]
    fn paragraphs_are_filtered_apart_from_lines() {
        let only = Repetition { lines: Limit::Off, line_bytes: Limit::Off, ..Repetition::default() };
        let ask = |text: &str| check(text, &[], &only).map_err(|failed| failed.rule);
        assert_eq!(ask("a b\n\na b\n\nc d e"), Err(Rule::RepeatedParagraphs));
        let long = format!("{0}\n\n{0}\n\na\n\nb\n\nc", prose(0..9));
        assert_eq!(ask(&long), Err(Rule::RepeatedParagraphBytes));
    }

    #[test]
    fn ngrams_are_counted_by_hand() {
        let words: Vec<&str> = "to be or not to be is to be so".split(' ').collect();
        let hashes: Vec<u64> = words.iter().map(|word| XxHash3_64::oneshot(word.as_bytes())).collect();
        let mut counter = Counter { slots: Vec::new(), round: 0 };
        assert_eq!(top_ngram(&words, &hashes, 2, &mut counter), 3 * 4);
        assert_eq!(top_ngram(&words, &hashes, 3, &mut counter), 0);
        assert_eq!(repeated_ngrams(&words, &hashes, 2, &mut counter), 2 * 4);
    }
}
