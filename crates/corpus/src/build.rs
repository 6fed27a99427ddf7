//! A run from files to shards: concurrent stages for reading, cleaning, deduplication and writing.
//!
//! One thread reads documents in the order of the input, a pool cleans them, one thread deduplicates in that order, and
//! one thread writes. Queues between them are short, so memory is bounded. Every decision is made in the order of the
//! input, so the output is the same for any number of threads.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;

use crate::clean::{Cleaner, signature_of};
use crate::duplicates::Index;
use crate::error::{Error, Result};
use crate::filtered::{FilteredDocument, Outcome, filter};
use crate::input::{InputFile, RawDocument, find_inputs, read_file};
use crate::report::Report;
use crate::rule::{Failed, Rule};
use crate::settings::Settings;
use crate::shards::{Row, ShardWriter, id_text, read_back};
use crate::tally::{Sample, Tally, Text, excerpt};
use crate::work::{Manifest, Position, Start, Work};

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

/// Number of bytes per thread that are read before they are passed to the pool.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_DOCUMENTS: usize = 1024;

/// Builds a corpus, resumes an earlier run, or finds it complete; returns its report.
///
/// # Errors
/// Settings, inputs and output folders that cannot be used, before anything is written; then, in the order of the
/// input, the first document that cannot be read, unless such documents are to be skipped; and a corpus without any
/// remaining document.
pub fn build(settings: &Settings, options: &Options<'_>) -> Result<Report> {
    settings.check()?;
    let (files, unknown) = find_inputs(&settings.inputs)?;
    let note = |text: String| options.on_note.iter().for_each(|on_note| on_note(&text));
    if let Some(first) = unknown.first() {
        note(format!(
            "passed over {} files whose names do not tell what they are, such as {}",
            unknown.len(),
            first.display()
        ));
    }
    let cleaner = Cleaner::new(settings)?;
    let (work, mut manifest) = match Work::start(settings, &files, options.restart)? {
        Start::Work(work, manifest) => (work, manifest),
        Start::Done => {
            note(format!("{} is whole already, made with these settings from these files", settings.out));
            return Report::load(&settings.out);
        }
    };
    if manifest.pairs > 0 {
        let read = manifest.tally.read.documents;
        note(format!("going on with {} behind {read} documents", work.folder.display()));
    }
    let processed =
        if manifest.finished { Ok(()) } else { process(settings, options, &files, &cleaner, &work, &mut manifest) };
    if let Err(error) = processed {
        // A folder with finished shards can be resumed; any other is removed.
        match work.has_shards() {
            true => note(format!(
                "{} keeps the shards that are finished; the same command goes on behind them",
                work.folder.display()
            )),
            false => work.discard()?,
        }
        return Err(error);
    }
    if manifest.shards.is_empty() {
        work.discard()?;
        return Err(Error::Empty(nothing_left(&manifest.tally)));
    }
    let report = Report::new(&work.folder, settings, &files, &manifest)?;
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
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .stack_size(STACK)
        .build()
        .map_err(|error| Error::Settings(format!("`threads` is {}: {error}", settings.threads)))?;
    let start = manifest.position;
    let bytes = AtomicU64::new(files.iter().take(start.file).map(|file| file.bytes).sum());
    let progress = |tally: &Tally| {
        if let Some(on_progress) = options.on_progress {
            let total_bytes = files.iter().map(|file| file.bytes).sum();
            let (documents, kept) = (tally.read.documents, tally.kept().documents);
            on_progress(BuildProgress { bytes: bytes.load(Ordering::Relaxed), total_bytes, documents, kept });
        }
    };
    let chunk_bytes = CHUNK_BYTES * pool.current_num_threads();
    let read_before = manifest.tally.read.documents;
    let limit = if settings.max_documents == 0 { u64::MAX } else { settings.max_documents.saturating_sub(read_before) };
    thread::scope(|scope| {
        let (raw_to, raw_from) = sync_channel::<Vec<RawDocument>>(1);
        let (filtered_to, filtered_from) = sync_channel::<Vec<FilteredDocument>>(1);
        let (orders_to, orders_from) = sync_channel::<Order>(4);
        let bytes = &bytes;
        scope.spawn(move || {
            let on_bytes = |count| {
                bytes.fetch_add(count, Ordering::Relaxed);
            };
            read_all(files, start, limit, chunk_bytes, settings, &on_bytes, &raw_to);
        });
        let pool = &pool;
        scope.spawn(move || {
            for chunk in raw_from {
                let filter = |document| filter(document, settings, cleaner);
                let filtered: Vec<FilteredDocument> = pool.install(|| chunk.into_par_iter().map(filter).collect());
                if filtered_to.send(filtered).is_err() {
                    break; // a document was wrong, or the disk is full
                }
            }
        });
        let writer = ShardWriter::new(&work.folder, manifest.pairs, settings.shards.zstd_level);
        let writing = scope.spawn(move || write_all(writer, &work.folder, orders_from));
        let chosen = choose(settings, files, manifest, &mut index, filtered_from, orders_to, &progress);
        let written = writing.join().expect("the writer does not panic");
        // The stages before stop early if the writer fails, so its error comes first.
        let shards = written?;
        manifest.shards.extend(shards);
        chosen
    })
}

/// HTML parsers recurse as deep as a page is nested.
const STACK: usize = 64 << 20;

fn read_all(
    files: &[InputFile],
    start: Position,
    limit: u64,
    chunk_bytes: usize,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    to: &SyncSender<Vec<RawDocument>>,
) {
    let mut chunk = Vec::new();
    let (mut size, mut sent) = (0, 0);
    for (number, file) in files.iter().enumerate().skip(start.file) {
        let skip = if number == start.file { start.record } else { 0 };
        let mut sink = |document: RawDocument| {
            if sent == limit {
                return ControlFlow::Break(());
            }
            sent += 1;
            size += document.size();
            chunk.push(document);
            if size < chunk_bytes && chunk.len() < CHUNK_DOCUMENTS {
                return ControlFlow::Continue(());
            }
            size = 0;
            match to.send(std::mem::take(&mut chunk)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        if read_file(file, number, skip, settings, on_bytes, &mut sink).is_break() {
            break;
        }
    }
    // A closed channel is ignored here, because the reason is reported elsewhere.
    let _ = to.send(chunk);
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
            next = Position { file: filtered.position.file, record: filtered.position.record + 1 };
            let Some(row) = admit(settings, &mut manifest.tally, index, filtered)? else { continue };
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

/// Counts a document; returns its row if it is kept.
fn admit(settings: &Settings, tally: &mut Tally, index: &mut Index, filtered: FilteredDocument) -> Result<Option<Row>> {
    let FilteredDocument { file, row, size, split_key, provenance, changes, outcome, .. } = filtered;
    let clean = match outcome {
        Outcome::Error(error) => {
            // Other holders of the error were dropped with their chunk, or hold the same error.
            return Err(Arc::try_unwrap(error).unwrap_or_else(|error| Error::Input(error.to_string())));
        }
        Outcome::Dropped { failed, excerpt, bytes, words } => {
            tally.read(size, &changes);
            let text = Text { source: &file, row, bytes, words };
            let sample = |rank| sample(&file, row, failed.detail.clone(), excerpt, rank);
            tally.drop(&failed, sample, &text);
            return Ok(None);
        }
        Outcome::Clean(clean) => clean,
    };
    tally.read(size, &changes);
    let text = Text { source: &file, row, bytes: clean.text.len() as u64, words: u64::from(clean.words) };
    let duplicate = if settings.duplicates.exact && index.has(clean.id) {
        Some(Failed::new(Rule::ExactDuplicate, id_text(clean.id)))
    } else {
        let near = settings.duplicates.near.get().zip(clean.signature.as_ref());
        near.and_then(|(least, signature)| index.nearest(signature, least)).map(|found| {
            Failed::new(Rule::NearDuplicate, format!("{:.2} like {}", found.similarity, id_text(found.id)))
        })
    };
    if let Some(failed) = duplicate {
        let sample = |rank| sample(&file, row, failed.detail.clone(), excerpt(&clean.text), rank);
        tally.drop(&failed, sample, &text);
        return Ok(None);
    }
    index.add(clean.id, clean.signature.as_ref());
    let validation = is_validation(split_key.unwrap_or(clean.id), settings.split.validation);
    let sample = |rank| sample(&file, row, String::new(), excerpt(&clean.text), rank);
    tally.keep(sample, &text, clean.language, validation);
    Ok(Some(Row { clean, source: file, row, provenance, validation }))
}

fn sample(file: &Arc<str>, row: u64, detail: String, excerpt: String, rank: u64) -> Sample {
    Sample { source: file.to_string(), row, detail, excerpt, original: None, rank }
}

/// True if a document belongs to the validation share. The choice depends on its hash only, so it is the same in every
/// corpus.
fn is_validation(key: u64, share: f64) -> bool {
    // The hash also names the document, so the choice uses a different mix of it.
    let mixed = (key ^ (key >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (((mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d) >> 11) as f64 / (1u64 << 53) as f64) < share
}

/// Executes the commands, and returns the finished shards. Every saved manifest has the names of all shards finished so
/// far.
fn write_all(
    mut writer: ShardWriter,
    folder: &std::path::Path,
    orders: Receiver<Order>,
) -> Result<Vec<crate::shards::Shard>> {
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
