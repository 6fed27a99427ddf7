//! Counts of documents over a run. A tally is a sum over documents and depends on their order only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::clean::{Changes, Removed, Scrubbed};
use crate::rule::{Failed, Rule};

/// Counts of all documents read so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// All documents, and their bytes in the files, markup included.
    pub read: Count,
    /// Documents that were written to training shards.
    pub train: Count,
    pub validation: Count,
    pub dropped: BTreeMap<Rule, Count>,
    pub samples: BTreeMap<Rule, Vec<Sample>>,
    pub kept_samples: Vec<Sample>,
    pub languages: BTreeMap<String, Count>,
    pub kept_lengths: Lengths,
    pub dropped_lengths: Lengths,
    pub changed: Changed,
}

/// Number of documents and the bytes of their text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// Number of documents that have from 2^i up to 2^(i+1) - 1 words; those without words are in the first.
pub(crate) type Lengths = Vec<u64>;

/// Counts of changed documents, by kind of change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Documents that were not UTF-8, by the charset used to decode them.
    pub charsets: BTreeMap<String, u64>,
    /// Documents in which mojibake was repaired.
    pub mojibake: u64,
    /// Lines that were removed by C4's rules.
    pub lines: Removed,
    /// Personal data that was replaced, in documents that passed the rules.
    pub scrubbed: Scrubbed,
}

/// A sample document of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The file.
    pub source: String,
    /// The line, row or part in the file.
    pub row: u64,
    /// The measured value, if it was dropped.
    pub detail: String,
    /// The first characters.
    pub excerpt: String,
    /// The earlier document that it nearly equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Rank of the sample; those with the smallest are kept. A choice by hash is as good as random and reproducible.
    pub(crate) rank: u64,
}

/// The document that a near duplicate is similar to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// The id in the shards.
    pub id: String,
    /// The file.
    pub source: String,
    /// The line, row or part in the file.
    pub row: u64,
    /// The first characters.
    pub excerpt: String,
}

/// Number of samples kept per rule.
const SAMPLES: usize = 5;
const EXCERPT: usize = 600;

impl Tally {
    pub fn read(&mut self, bytes: u64, changes: &Changes) {
        self.read.add(bytes);
        if let Some(charset) = changes.charset {
            *self.changed.charsets.entry(charset.to_string()).or_default() += 1;
        }
        self.changed.mojibake += u64::from(changes.mojibake);
        self.changed.lines.add(&changes.lines);
        self.changed.scrubbed += changes.scrubbed;
    }

    pub fn keep(&mut self, sample: impl FnOnce(u64) -> Sample, text: &Text<'_>, language: &str, validation: bool) {
        if validation { &mut self.validation } else { &mut self.train }.add(text.bytes);
        let mut count = self.languages.remove(language).unwrap_or_default();
        count.add(text.bytes);
        self.languages.insert(language.to_string(), count);
        lengthen(&mut self.kept_lengths, text.words);
        choose(&mut self.kept_samples, text.rank(), sample);
    }

    pub fn drop(&mut self, failed: &Failed, sample: impl FnOnce(u64) -> Sample, text: &Text<'_>) {
        self.dropped.entry(failed.rule).or_default().add(text.bytes);
        lengthen(&mut self.dropped_lengths, text.words);
        choose(self.samples.entry(failed.rule).or_default(), text.rank(), sample);
    }

    /// Adds the counts of other documents.
    pub fn merge(&mut self, other: Self) {
        let Self { read, train, validation, dropped, samples, kept_samples, languages, .. } = self;
        read.merge(other.read);
        train.merge(other.train);
        validation.merge(other.validation);
        other.dropped.into_iter().for_each(|(rule, count)| dropped.entry(rule).or_default().merge(count));
        for (rule, others) in other.samples {
            let own = samples.entry(rule).or_default();
            others.into_iter().for_each(|sample| choose(own, sample.rank, |_| sample));
        }
        other.kept_samples.into_iter().for_each(|sample| choose(kept_samples, sample.rank, |_| sample));
        other.languages.into_iter().for_each(|(code, count)| languages.entry(code).or_default().merge(count));
        merge_lengths(&mut self.kept_lengths, &other.kept_lengths);
        merge_lengths(&mut self.dropped_lengths, &other.dropped_lengths);
        for (charset, count) in other.changed.charsets {
            *self.changed.charsets.entry(charset).or_default() += count;
        }
        self.changed.mojibake += other.changed.mojibake;
        self.changed.lines.add(&other.changed.lines);
        self.changed.scrubbed += other.changed.scrubbed;
    }

    pub fn kept(&self) -> Count {
        Count {
            documents: self.train.documents + self.validation.documents,
            bytes: self.train.bytes + self.validation.bytes,
        }
    }
}

/// Properties of a text that are counted.
pub(crate) struct Text<'a> {
    pub source: &'a str,
    pub row: u64,
    pub bytes: u64,
    pub words: u64,
}

impl Text<'_> {
    fn rank(&self) -> u64 {
        XxHash3_64::oneshot_with_seed(self.row, self.source.as_bytes())
    }
}

impl Count {
    fn merge(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.documents += 1;
        self.bytes += bytes;
    }
}

/// Returns the first characters of a text.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

fn lengthen(lengths: &mut Lengths, words: u64) {
    let bin = words.max(1).ilog2() as usize;
    if lengths.len() <= bin {
        lengths.resize(bin + 1, 0);
    }
    lengths[bin] += 1;
}

fn merge_lengths(lengths: &mut Lengths, others: &Lengths) {
    lengths.resize(lengths.len().max(others.len()), 0);
    lengths.iter_mut().zip(others).for_each(|(length, other)| *length += other);
}

fn choose(samples: &mut Vec<Sample>, rank: u64, sample: impl FnOnce(u64) -> Sample) {
    let place = samples.partition_point(|other| other.rank <= rank);
    if place < SAMPLES {
        samples.insert(place, sample(rank));
        samples.truncate(SAMPLES);
    }
}
