//! Counts of distinct items, in bounded memory.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use palestra_display::{grouped, percent};

/// Maximum length of a name. Longer texts are truncated, because a model's answers can be long and numerous.
const MAX_NAME_LENGTH: usize = 80;

/// Number of distinct items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Distinct {
    /// Number of items counted.
    pub count: u64,
    /// True if counting stopped at this number to save memory, and there are more.
    pub more: bool,
}

/// A part of a total.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The part.
    pub count: u64,
    /// The total.
    pub of: u64,
    /// `count / of`; 0 if the total is 0.
    pub share: f64,
}

/// Frequencies of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The most frequent texts, most frequent first.
    pub top: Vec<Named>,
    /// Total count of all other texts.
    pub others: u64,
    /// Number of distinct texts.
    pub distinct: Distinct,
}

/// A text and its frequency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The text, truncated if it is long.
    pub name: String,
    /// Number of occurrences.
    pub count: u64,
}

/// Set of distinct items, identified by 64-bit hashes, up to a limit. Among a billion items, some hashes may collide.
pub(crate) struct Seen {
    hashes: HashSet<u64>,
    most: usize,
    more: bool,
}

/// Counter of texts; texts that are new after `most` distinct ones count as `others`.
pub(super) struct Counter {
    counts: HashMap<u64, Named>,
    most: usize,
    others: u64,
}

/// Returns a hash that is the same in every run.
pub(crate) fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Seen {
    pub fn new(most: usize) -> Self {
        Self { hashes: HashSet::new(), most, more: false }
    }

    /// Inserts a hash; true if it is new. After the limit, new hashes are not stored and the result is false.
    pub fn is_new(&mut self, hash: u64) -> bool {
        if self.hashes.len() < self.most {
            return self.hashes.insert(hash);
        }
        self.more |= !self.hashes.contains(&hash);
        false
    }

    pub fn contains(&self, hash: u64) -> bool {
        self.hashes.contains(&hash)
    }

    pub fn distinct(&self) -> Distinct {
        Distinct { count: self.hashes.len() as u64, more: self.more }
    }
}

impl Counter {
    pub fn new(most: usize) -> Self {
        Self { counts: HashMap::new(), most, others: 0 }
    }

    pub fn add(&mut self, name: &str) {
        self.add_as(hash_of(name), || beginning(name));
    }

    /// Counts an item that is identified by `key`; `name` is called for a new one.
    pub fn add_as(&mut self, key: u64, name: impl FnOnce() -> String) {
        if let Some(named) = self.counts.get_mut(&key) {
            named.count += 1;
        } else if self.counts.len() < self.most {
            self.counts.insert(key, Named { name: name(), count: 1 });
        } else {
            self.others += 1;
        }
    }

    pub fn tally(self, top: usize) -> Tally {
        let distinct = Distinct { count: self.counts.len() as u64, more: self.others > 0 };
        let mut all: Vec<Named> = self.counts.into_values().collect();
        all.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
        let rest = all.split_off(top.min(all.len()));
        let others = self.others + rest.iter().map(|named| named.count).sum::<u64>();
        Tally { top: all, others, distinct }
    }
}

impl Share {
    pub(crate) fn new(count: u64, of: u64) -> Self {
        Self { count, of, share: if of == 0 { 0.0 } else { count as f64 / of as f64 } }
    }
}

impl Tally {
    /// Returns the total count.
    pub fn total(&self) -> u64 {
        self.others + self.top.iter().map(|named| named.count).sum::<u64>()
    }
}

impl fmt::Display for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { "more than " } else { "" };
        write!(f, "{more}{}", grouped(self.count))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", grouped(self.count), grouped(self.of), percent(self.share))
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(MAX_NAME_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_stand_first_and_nothing_is_lost() {
        let mut counter = Counter::new(3);
        for name in ["b", "a", "c", "b", "new", "a", "b", "new"] {
            counter.add(name);
        }
        let tally = counter.tally(2);
        let named = |name: &str, count| Named { name: name.to_string(), count };
        assert_eq!(tally.top, [named("b", 3), named("a", 2)]);
        assert_eq!((tally.others, tally.total()), (3, 8));
        assert_eq!(tally.distinct.to_string(), "more than 3");
    }

    #[test]
    fn counting_stops_at_the_limit_and_says_so() {
        let mut seen = Seen::new(2);
        assert!(seen.is_new(1) && !seen.is_new(1) && seen.is_new(2));
        assert_eq!(seen.distinct(), Distinct { count: 2, more: false });
        assert!(!seen.is_new(3));
        assert_eq!(seen.distinct(), Distinct { count: 2, more: true });
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut counter = Counter::new(9);
        counter.add(&"ä".repeat(81));
        assert_eq!(counter.tally(1).top[0].name, format!("{}...", "ä".repeat(80)));
    }
}
