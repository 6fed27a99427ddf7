//! What is counted of documents on their way. A tally is a sum over documents and depends on no order but theirs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::clean::{Changes, Removed, Scrubbed};
use crate::rule::{Failed, Rule};

/// Counts of everything that was read so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// All documents, and the bytes that they had in their files, markup included.
    pub read: Count,
    /// What went into the shards.
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

/// Documents and the bytes of their text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// How many documents have from 2^i up to 2^(i+1) - 1 words; those without words are in the first.
pub(crate) type Lengths = Vec<u64>;

/// Documents that were changed, by what was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Documents that were no UTF-8, by the charset that they were read in.
    pub charsets: BTreeMap<String, u64>,
    /// Documents in which mojibake was undone.
    pub mojibake: u64,
    /// Lines that C4's rules removed.
    pub lines: Removed,
    /// Personal data that was replaced, in documents that passed the rules.
    pub scrubbed: Scrubbed,
}

/// A document of which a part is shown in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its file.
    pub source: String,
    /// Its line, row or part there.
    pub row: u64,
    /// What was measured, of a dropped one.
    pub detail: String,
    /// Its first characters.
    pub excerpt: String,
    /// The earlier document that it nearly is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Samples with the smallest ranks are kept: a choice by hash, which is as good as chance and always the same.
    pub(crate) rank: u64,
}

/// The document that a near duplicate is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// Its name in the shards.
    pub id: String,
    /// Its file.
    pub source: String,
    /// Its line, row or part there.
    pub row: u64,
    /// Its first characters.
    pub excerpt: String,
}

/// So many samples are kept of each rule.
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

    pub fn kept(&self) -> Count {
        Count {
            documents: self.train.documents + self.validation.documents,
            bytes: self.train.bytes + self.validation.bytes,
        }
    }
}

/// What is counted of a text.
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
    pub(crate) fn add(&mut self, bytes: u64) {
        self.documents += 1;
        self.bytes += bytes;
    }
}

/// The first characters of a text.
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

fn choose(samples: &mut Vec<Sample>, rank: u64, sample: impl FnOnce(u64) -> Sample) {
    let place = samples.partition_point(|other| other.rank <= rank);
    if place < SAMPLES {
        samples.insert(place, sample(rank));
        samples.truncate(SAMPLES);
    }
}
