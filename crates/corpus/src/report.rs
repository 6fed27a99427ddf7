//! Report of a corpus: the input and the dropped documents, as in `report.json`.

use palestra_display::bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::rule::{Rule, Step};
use crate::settings::Settings;
use crate::shards::{Shard, look_up};
use crate::tally::{Changed, Count, Sample};
use crate::work::Manifest;

/// Report of a corpus. The same input and settings give the same report, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The folder of the corpus.
    pub out: String,
    /// Number of files read.
    pub files: u64,
    /// Size of the files in bytes.
    pub file_bytes: u64,
    /// Number of documents in the files.
    pub documents: u64,
    /// Bytes of these documents before anything was removed, markup included.
    pub document_bytes: u64,
    /// Documents for training.
    pub train: Count,
    /// Documents for validation.
    pub validation: Count,
    /// Number of documents that remain after each step, in order.
    pub funnel: Vec<FunnelStep>,
    /// Documents dropped by each rule, in the order in which the rules are applied.
    pub dropped: Vec<DroppedBy>,
    /// Documents that were changed.
    pub changed: Changed,
    /// Languages of the documents that were kept, by ISO 639-3 code.
    pub languages: BTreeMap<String, Count>,
    /// Kept documents by length: index i counts those with 2^i up to 2^(i+1) - 1 words.
    pub kept_lengths: Vec<u64>,
    /// Dropped documents by length, measured on their text up to that point.
    pub dropped_lengths: Vec<u64>,
    /// Samples of kept documents.
    pub kept_samples: Vec<Sample>,
    /// The files of the corpus.
    pub shards: Vec<Shard>,
    /// All settings.
    pub settings: Settings,
}

/// A step of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The step.
    pub step: Step,
    /// Documents dropped by the step.
    pub dropped: u64,
    /// Documents that remain after the step.
    pub left: u64,
}

/// Documents dropped by a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedBy {
    /// The rule.
    pub rule: Rule,
    /// Number of documents, and the bytes of their text up to that point.
    #[serde(flatten)]
    pub count: Count,
    /// Samples of them, chosen by hash.
    pub samples: Vec<Sample>,
}

impl Report {
    pub(crate) fn new(folder: &Path, settings: &Settings, files: &[InputFile], manifest: &Manifest) -> Result<Self> {
        let tally = manifest.tally.clone();
        let mut left = tally.read.documents;
        let funnel = Step::ALL.map(|step| {
            let dropped =
                tally.dropped.iter().filter(|(rule, _)| rule.step() == step).map(|(_, count)| count.documents).sum();
            left -= dropped;
            FunnelStep { step, dropped, left }
        });
        let mut samples = tally.samples;
        if let Some(near) = samples.get_mut(&Rule::NearDuplicate) {
            let id_of = |sample: &Sample| sample.detail.rsplit(' ').next().unwrap_or_default().to_string();
            let ids: Vec<String> = near.iter().map(id_of).collect();
            let originals = look_up(folder, &manifest.shards, &ids)?;
            for sample in near {
                sample.original = originals.get(&id_of(sample)).cloned();
            }
        }
        let dropped = tally.dropped.iter().map(|(rule, count)| DroppedBy {
            rule: *rule,
            count: *count,
            samples: samples.remove(rule).unwrap_or_default(),
        });
        Ok(Self {
            out: settings.out.trim_end_matches('/').to_string(),
            files: files.len() as u64,
            file_bytes: files.iter().map(|file| file.bytes).sum(),
            documents: tally.read.documents,
            document_bytes: tally.read.bytes,
            train: tally.train,
            validation: tally.validation,
            funnel: funnel.to_vec(),
            dropped: dropped.collect(),
            changed: tally.changed,
            languages: tally.languages,
            kept_lengths: tally.kept_lengths,
            dropped_lengths: tally.dropped_lengths,
            kept_samples: tally.kept_samples,
            shards: manifest.shards.clone(),
            // The number of threads does not affect the corpus.
            settings: Settings { threads: 0, ..settings.clone() },
        })
    }

    /// Reads the report of a finished corpus.
    pub fn load(out: impl AsRef<Path>) -> Result<Self> {
        let path = out.as_ref().join("report.json");
        let text = std::fs::read(&path).map_err(|source| Error::io(&path, "read", source))?;
        serde_json::from_slice(&text).map_err(|error| Error::Output(format!("{}: {error}", path.display())))
    }

    /// Returns the number of kept documents, and the bytes of their text.
    pub fn kept(&self) -> Count {
        Count {
            documents: self.train.documents + self.validation.documents,
            bytes: self.train.bytes + self.validation.bytes,
        }
    }

    /// Returns the report as JSON with line breaks.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has text keys and finite numbers")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} documents in {} files, {}", self.documents, self.files, bytes(self.document_bytes))?;
        for by in &self.dropped {
            let share = 100.0 * by.count.documents as f64 / self.documents.max(1) as f64;
            writeln!(f, "{:>12} dropped by {} ({share:.1} %)", by.count.documents, by.rule.name())?;
        }
        for (name, count) in [("train", self.train), ("validation", self.validation)] {
            writeln!(f, "{:>12} kept for {name}, {}", count.documents, bytes(count.bytes))?;
        }
        write!(f, "{}/ has {} shards, report.html and report.json", self.out, self.shards.len())
    }
}
