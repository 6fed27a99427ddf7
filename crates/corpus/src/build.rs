//! A run from files to shards in one process: concurrent stages for reading, cleaning, deduplication and writing.
//!
//! One thread reads documents in the order of the input, a pool cleans them, one thread deduplicates in that order, and
//! one thread writes. Queues between them are short, so memory is bounded. Every decision is made in the order of the
//! input, so the output is the same for any number of threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::candidate::Candidate;
use crate::clean::{Cleaner, signature_of};
use crate::duplicates::{Duplicate, Index};
use crate::error::{Error, Result};
use crate::filtered::FilteredDocument;
use crate::input::{InputFile, find_inputs};
use crate::report::Report;
use crate::settings::Settings;
use crate::shards::{Row, Shard, ShardWriter, read_back};
use crate::stages::{Stages, pool_of};
use crate::tally::Tally;
use crate::work::{Builder, Manifest, Start, Work};

/// Options of a run beside its settings.
#[derive(Default)]
pub struct Options<'a> {
    /// Discards the output of an earlier, unfinished run.
    pub restart: bool,
    /// Callback that periodically receives the progress of the run.
    pub on_progress: Option<&'a (dyn Fn(BuildProgress) + Sync)>,
    /// Callback for messages that are not errors: files that were skipped, an earlier run that is resumed.
    pub on_note: Option<&'a dyn Fn(&str)>,
}

/// Progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildProgress {
    /// Bytes of the input files read.
    pub bytes: u64,
    /// Bytes of all input files.
    pub total_bytes: u64,
    /// Documents that were filtered: kept or dropped.
    pub documents: u64,
    /// Documents that were kept.
    pub kept: u64,
}

/// Commands for the writer.
enum Order {
    Write(Vec<Row>),
    /// Closes the pair of shards and saves the manifest, to which their names are added.
    Seal(Box<Manifest>),
}

/// Builds a corpus, resumes an earlier run, or finds it complete; returns its report.
///
/// # Errors
/// Settings, inputs and output folders that cannot be used, before anything is written; then, in the order of the
/// input, the first document that cannot be read, unless such documents are to be skipped; and a corpus without any
/// remaining document.
pub fn build(settings: &Settings, options: &Options<'_>) -> Result<Report> {
    settings.check()?;
    let files = inputs(settings, options)?;
    let cleaner = Cleaner::new(settings)?;
    let (work, mut manifest) = match Work::start(settings, &files, options.restart, Builder::OneProcess)? {
        Start::Work(work, manifest) => (work, manifest),
        Start::Done => return load_whole(settings, options),
    };
    if manifest.pairs > 0 {
        let read = manifest.tally.read.documents;
        options.note(&format!("going on with {} behind {read} documents", work.folder.display()));
    }
    let processed =
        if manifest.finished { Ok(()) } else { process(settings, options, &files, &cleaner, &work, &mut manifest) };
    if let Err(error) = processed {
        work.leave(options)?;
        return Err(error);
    }
    finish(settings, &files, work, &manifest)
}

impl Options<'_> {
    pub(crate) fn note(&self, text: &str) {
        if let Some(on_note) = self.on_note {
            on_note(text);
        }
    }
}

/// Finds the input files, and tells which were passed over.
pub(crate) fn inputs(settings: &Settings, options: &Options<'_>) -> Result<Vec<InputFile>> {
    let (files, unknown) = find_inputs(&settings.inputs)?;
    if let Some(first) = unknown.first() {
        options.note(&format!(
            "passed over {} files whose names do not tell what they are, such as {}",
            unknown.len(),
            first.display()
        ));
    }
    Ok(files)
}

/// Loads the report of a corpus that is whole already.
pub(crate) fn load_whole(settings: &Settings, options: &Options<'_>) -> Result<Report> {
    options.note(&format!("{} is whole already, made with these settings from these files", settings.out));
    Report::load(&settings.out)
}

/// Writes the report beside the shards, and gives the corpus its name.
pub(crate) fn finish(settings: &Settings, files: &[InputFile], work: Work, manifest: &Manifest) -> Result<Report> {
    if manifest.shards.is_empty() {
        work.discard()?;
        return Err(Error::Empty(nothing_left(&manifest.tally)));
    }
    let report = Report::new(&work.folder, settings, files, manifest)?;
    work.write("report.json", &report.to_json())?;
    work.write("report.html", &report.to_html())?;
    work.write("corpus.toml", &settings.to_toml())?;
    work.finish()?;
    Ok(report)
}

fn process(
    settings: &Settings,
    options: &Options<'_>,
    files: &[InputFile],
    cleaner: &Cleaner,
    work: &Work,
    manifest: &mut Manifest,
) -> Result<()> {
    let near = settings.duplicates.near.get().is_some();
    let mut index = Index::new(near);
    read_back(&work.folder, &manifest.shards, |id, text, language| {
        let signature = if near { signature_of(text, language) } else { None };
        index.add(id, signature.as_ref());
    })?;
    let pool = pool_of(settings, 1)?;
    let start = manifest.position;
    let bytes = AtomicU64::new(files.iter().take(start.file).map(|file| file.bytes).sum());
    let progress = |tally: &Tally| {
        if let Some(on_progress) = options.on_progress {
            let total_bytes = files.iter().map(|file| file.bytes).sum();
            let (documents, kept) = (tally.read.documents, tally.kept().documents);
            on_progress(BuildProgress { bytes: bytes.load(Ordering::Relaxed), total_bytes, documents, kept });
        }
    };
    let read_before = manifest.tally.read.documents;
    let limit = if settings.max_documents == 0 { u64::MAX } else { settings.max_documents.saturating_sub(read_before) };
    let stages = Stages { settings, files, cleaner, pool: &pool };
    stages.run(start, limit, &bytes, |filtered| {
        thread::scope(|scope| {
            let (orders_to, orders_from) = sync_channel::<Order>(4);
            let writer = ShardWriter::new(&work.folder, manifest.pairs, settings.shards.zstd_level);
            let writing = scope.spawn(move || write_all(writer, &work.folder, orders_from));
            let chosen = choose(settings, files, manifest, &mut index, filtered, orders_to, &progress);
            let written = writing.join().expect("the writer does not panic");
            // The stages before stop early if the writer fails, so its error comes first.
            manifest.shards.extend(written?);
            chosen
        })
    })
}

/// Processes the documents in their order, drops duplicates, and sends commands to the writer.
fn choose(
    settings: &Settings,
    files: &[InputFile],
    manifest: &mut Manifest,
    index: &mut Index,
    from: Receiver<Vec<FilteredDocument>>,
    to: SyncSender<Order>,
    progress: &dyn Fn(&Tally),
) -> Result<()> {
    let mut text_bytes = 0;
    let mut rows = Vec::new();
    let mut next = manifest.position;
    // The writer's error is reported when its thread is joined.
    let order = |order: Order| to.send(order).is_ok();
    for chunk in from {
        for filtered in chunk {
            next = filtered.position.next();
            let source = filtered.file.clone();
            let Some(candidate) = Candidate::of(&mut manifest.tally, filtered)? else { continue };
            let (id, signature) = (candidate.clean.id, candidate.clean.signature);
            let duplicate = Duplicate::find(&settings.duplicates, index, id, signature.as_ref());
            let decided = candidate.decide(settings, &mut manifest.tally, &source, duplicate.as_ref());
            let Some(row) = decided else { continue };
            index.add(id, signature.as_ref());
            text_bytes += row.clean.text.len() as u64;
            rows.push(row);
            if text_bytes >= settings.shards.text_bytes {
                manifest.advance(next, files);
                manifest.pairs += 1;
                let sealed =
                    order(Order::Write(std::mem::take(&mut rows))) && order(Order::Seal(manifest.clone().into()));
                if !sealed {
                    return Ok(());
                }
                text_bytes = 0;
            }
        }
        if !order(Order::Write(std::mem::take(&mut rows))) {
            return Ok(());
        }
        progress(&manifest.tally);
    }
    manifest.advance(next, files);
    manifest.pairs += 1;
    manifest.finished = true;
    order(Order::Seal(manifest.clone().into()));
    Ok(())
}

/// Executes the commands, and returns the finished shards. Every saved manifest has the names of all shards finished so
/// far.
fn write_all(mut writer: ShardWriter, folder: &std::path::Path, orders: Receiver<Order>) -> Result<Vec<Shard>> {
    let mut finished = Vec::new();
    for order in orders {
        match order {
            Order::Write(rows) => rows.into_iter().try_for_each(|row| writer.write(row))?,
            Order::Seal(mut manifest) => {
                finished.extend(writer.seal()?);
                manifest.shards.extend(finished.iter().cloned());
                manifest.save(folder)?;
            }
        }
    }
    Ok(finished)
}

fn nothing_left(tally: &Tally) -> String {
    let read = tally.read.documents;
    if read == 0 {
        return "the input has no document; name files that have some".to_string();
    }
    let mut dropped: Vec<_> = tally.dropped.iter().collect();
    dropped.sort_by_key(|(_, count)| std::cmp::Reverse(count.documents));
    let reasons: Vec<String> = dropped
        .iter()
        .map(|(rule, count)| {
            let example = tally.samples.get(rule).and_then(|samples| samples.first());
            let example = example.map_or(String::new(), |sample| {
                format!(" (such as {}, {}: {})", sample.source, sample.row, sample.detail)
            });
            format!("{} by {}{example}", count.documents, rule.name())
        })
        .collect();
    format!(
        "nothing is left of {read} documents: {}; loosen a rule in its section of the settings, or switch it off",
        reasons.join(", ")
    )
}
