//! What a corpus was made of and what was dropped on the way: the figures of `report.json`.

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

/// The account of a corpus. The same input and settings give the same report, to the byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The folder of the corpus.
    pub out: String,
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Documents that stood in them.
    pub documents: u64,
    /// The bytes of those before anything was taken out, markup included.
    pub document_bytes: u64,
    /// Documents for training.
    pub train: Count,
    /// Documents for validation.
    pub validation: Count,
    /// What each step left over, in order.
    pub funnel: Vec<FunnelStep>,
    /// What each rule dropped, in the order in which they are asked.
    pub dropped: Vec<DroppedBy>,
    /// Documents that were changed.
    pub changed: Changed,
    /// Languages of the documents that were kept, by ISO 639-3 code.
    pub languages: BTreeMap<String, Count>,
    /// Kept documents by length: of those at place i, from 2^i up to 2^(i+1) - 1 words.
    pub kept_lengths: Vec<u64>,
    /// Dropped documents by length, as far as their text had come.
    pub dropped_lengths: Vec<u64>,
    /// Some that were kept.
    pub kept_samples: Vec<Sample>,
    /// The files of the corpus.
    pub shards: Vec<Shard>,
    /// Every setting.
    pub settings: Settings,
}

/// A step of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// Which step.
    pub step: Step,
    /// Documents that it dropped.
    pub dropped: u64,
    /// Documents that were left behind it.
    pub left: u64,
}

/// What a rule dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedBy {
    /// The rule.
    pub rule: Rule,
    /// Documents, and the bytes of their text as far as it had come.
    #[serde(flatten)]
    pub count: Count,
    /// Some of them, chosen by hash.
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
            // On how many threads it was made is no part of what it is.
            settings: Settings { threads: 0, ..settings.clone() },
        })
    }

    /// The report of a finished corpus.
    pub fn load(out: impl AsRef<Path>) -> Result<Self> {
        let path = out.as_ref().join("report.json");
        let text = std::fs::read(&path).map_err(|source| Error::io(&path, "read", source))?;
        serde_json::from_slice(&text).map_err(|error| Error::Output(format!("{}: {error}", path.display())))
    }

    /// Documents that were kept, and the bytes of their text.
    pub fn kept(&self) -> Count {
        Count {
            documents: self.train.documents + self.validation.documents,
            bytes: self.train.bytes + self.validation.bytes,
        }
    }

    /// The report as JSON with line breaks.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has text keys and finite numbers")
    }

    /// The report as one HTML page that needs nothing else.
    pub fn to_html(&self) -> String {
        crate::page::page(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} documents in {} files, {}", self.documents, self.files, megabytes(self.document_bytes))?;
        for by in &self.dropped {
            let share = 100.0 * by.count.documents as f64 / self.documents.max(1) as f64;
            writeln!(f, "{:>12} dropped by {} ({share:.1} %)", by.count.documents, by.rule.name())?;
        }
        for (name, count) in [("train", self.train), ("validation", self.validation)] {
            writeln!(f, "{:>12} kept for {name}, {}", count.documents, megabytes(count.bytes))?;
        }
        write!(f, "{}/ has {} shards, report.html and report.json", self.out, self.shards.len())
    }
}

/// Bytes as a person reads them.
pub(crate) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
